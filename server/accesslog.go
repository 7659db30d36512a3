package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// logAccess writes the one line of a request. The query is never logged: it is
// where tokens and reset links live (T136). Bytes outside visible ASCII are
// percent-encoded, so that one request is one line for every reader (T135).
func (s *Server) logAccess(w *writer, r *http.Request, status int, took time.Duration, aborted bool) {
	log := s.opts.Access
	if log == nil {
		log = s.log
	}
	ctx := context.Background()
	h := log.Handler()
	if !h.Enabled(ctx, slog.LevelInfo) {
		return
	}
	rec := &w.rec
	attrs := append(w.attrs[:0],
		slog.String("request_id", rec.ID),
		slog.String("client", rec.Client.String()),
		slog.String("method", printable(r.Method, 32)),
		slog.String("host", printable(r.Host, 255)),
		slog.String("path", printable(pathOf(r), 2048)),
		slog.String("proto", r.Proto),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Float64("duration_ms", millis(took)),
	)
	text := func(key, v string) {
		if v != "" {
			attrs = append(attrs, slog.String(key, v))
		}
	}
	text("route", rec.Route)
	text("verdict", rec.Verdict)
	text("subject", rec.Subject)
	text("session", rec.Session)
	text("code", rec.Code)
	if rec.Upstream != "" {
		attrs = append(attrs, slog.String("upstream", rec.Upstream), slog.Float64("upstream_ms", millis(rec.UpstreamTime)))
	}
	text("user_agent", printable(r.UserAgent(), 256))
	if rec.Err != nil {
		attrs = append(attrs, slog.String("error", printable(rec.Err.Error(), 512)))
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	line := slog.NewRecord(rec.Start, slog.LevelInfo, "request", 0)
	// One inlined group, so that the record copies no attributes.
	line.AddAttrs(slog.Attr{Value: slog.GroupValue(attrs...)})
	_ = h.Handle(ctx, line) // a log that cannot be written has nowhere to say so
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

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

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
