package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// accessLine is the one line of a request. The query is never logged: it is
// where tokens and reset links live (T136). Bytes outside visible ASCII are
// percent-encoded, so that one request is one line for every reader (T135).
type accessLine struct {
	w       *writer
	r       *http.Request
	status  int
	took    time.Duration
	aborted bool
}

// lineWriter is told the fields of an access line, one after another.
type lineWriter interface {
	text(key, v string)
	number(key string, n int64)
	millis(key string, d time.Duration)
	yes(key string)
}

// tell says what the line says, in its order.
func (l *accessLine) tell(to lineWriter) {
	r, rec := l.r, &l.w.rec
	to.text("request_id", rec.ID)
	to.text("client", rec.Client.String())
	to.text("method", printable(r.Method, 32))
	to.text("host", printable(r.Host, 255))
	to.text("path", printable(pathOf(r), 2048))
	to.text("proto", r.Proto)
	to.number("status", int64(l.status))
	to.number("bytes", l.w.bytes)
	to.millis("duration_ms", l.took)
	known(to, "route", rec.Route)
	known(to, "verdict", rec.Verdict)
	known(to, "subject", rec.Subject)
	known(to, "session", rec.Session)
	known(to, "code", rec.Code)
	if rec.Upstream != "" {
		to.text("upstream", rec.Upstream)
		to.millis("upstream_ms", rec.UpstreamTime)
	}
	known(to, "user_agent", printable(r.UserAgent(), 256))
	if rec.Err != nil {
		to.text("error", printable(rec.Err.Error(), 512))
	}
	if l.aborted {
		to.yes("aborted")
	}
}

func known(to lineWriter, key, v string) {
	if v != "" {
		to.text(key, v)
	}
}

// logAccess writes the line.
func (s *Server) logAccess(l accessLine) {
	log := s.opts.Access
	if log == nil {
		log = s.log
	}
	ctx := context.Background()
	h := log.Handler()
	if !h.Enabled(ctx, slog.LevelInfo) {
		return
	}
	if j, is := h.(accessJSON); is && j.write(l) {
		return
	}
	attrs := make(attrList, 0, accessFields)
	l.tell(&attrs)
	line := slog.NewRecord(l.w.rec.Start, slog.LevelInfo, accessMessage, 0)
	line.AddAttrs(attrs...)
	_ = h.Handle(ctx, line) // a log that cannot be written has nowhere to say so
}

const (
	accessMessage = "request"
	accessFields  = 19 // at most
)

// attrList is a line for any handler.
type attrList []slog.Attr

func (a *attrList) text(key, v string)         { *a = append(*a, slog.String(key, v)) }
func (a *attrList) number(key string, n int64) { *a = append(*a, slog.Int64(key, n)) }
func (a *attrList) yes(key string)             { *a = append(*a, slog.Bool(key, true)) }
func (a *attrList) millis(key string, d time.Duration) {
	*a = append(*a, slog.Float64(key, float64(d.Microseconds())/1000))
}

// pathOf is the path as it was sent, without the query.
func pathOf(r *http.Request) string {
	if r.URL == nil {
		return ""
	}
	if p := r.URL.EscapedPath(); p != "" {
		return p
	}
	return r.URL.Opaque
}

// printable percent-encodes everything outside visible ASCII and the space,
// and cuts at limit bytes.
func printable(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		if cut {
			return s + "..."
		}
		return s
	}
	const digits = "0123456789ABCDEF"
	out := make([]byte, i, len(s)+16)
	copy(out, s[:i])
	for ; i < len(s); i++ {
		if c := s[i]; c >= 0x20 && c < 0x7f {
			out = append(out, c)
		} else {
			out = append(out, '%', digits[c>>4], digits[c&15])
		}
	}
	if cut {
		out = append(out, "..."...)
	}
	return string(out)
}
