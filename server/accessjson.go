package server

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// accessJSON writes access lines as slog's JSON handler does, byte for byte, and
// much faster: it knows the few kinds of value they have. Whatever else it is
// given goes to the handler it embeds. It is safe for concurrent use, and takes
// no ReplaceAttr.
type accessJSON struct {
	slog.Handler
	out   io.Writer
	lines *sync.Pool // *[]byte
}

func newAccessJSON(out io.Writer, opts *slog.HandlerOptions) accessJSON {
	return accessJSON{slog.NewJSONHandler(out, opts), out, &sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}}
}

// Handle implements slog.Handler.
func (h accessJSON) Handle(ctx context.Context, r slog.Record) error {
	if r.Time.IsZero() {
		return h.Handler.Handle(ctx, r)
	}
	pooled := h.lines.Get().(*[]byte)
	defer h.lines.Put(pooled)
	line, ok := append((*pooled)[:0], `{"time":"`...), true
	line = r.Time.Round(0).AppendFormat(line, time.RFC3339Nano)
	line = append(append(line, `","level":"`...), r.Level.String()...)
	if line, ok = appendText(append(line, `","msg":`...), r.Message); ok {
		r.Attrs(func(a slog.Attr) bool {
			line, ok = appendMember(line, a)
			return ok
		})
	}
	*pooled = line
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	*pooled = append(line, "}\n"...)
	_, err := h.out.Write(*pooled)
	return err
}

// appendMember appends a member of the object, or the members of a group
// without a name. It reports whether it could.
func appendMember(line []byte, a slog.Attr) (_ []byte, ok bool) {
	if a.Value.Kind() == slog.KindGroup && a.Key == "" {
		for _, a := range a.Value.Group() {
			if line, ok = appendMember(line, a); !ok {
				return line, false
			}
		}
		return line, true
	}
	if line, ok = appendText(append(line, ','), a.Key); !ok {
		return line, false
	}
	line = append(line, ':')
	switch a.Value.Kind() {
	case slog.KindString:
		return appendText(line, a.Value.String())
	case slog.KindInt64:
		return strconv.AppendInt(line, a.Value.Int64(), 10), true
	case slog.KindFloat64:
		f := a.Value.Float64()
		return strconv.AppendFloat(line, f, 'f', -1, 64), f == 0 || f >= 1e-6 && f < 1e21
	case slog.KindBool:
		return strconv.AppendBool(line, a.Value.Bool()), true
	}
	return line, false
}

// appendText appends a JSON string that needs no other escapes than those of
// the quotation mark and the backslash (RFC 8259 section 7).
func appendText(line []byte, s string) (_ []byte, ok bool) {
	line = append(line, '"')
	from := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			line = append(append(line, s[from:i]...), '\\')
			from = i
		case c < ' ' || c >= utf8.RuneSelf:
			return line, false
		}
	}
	return append(append(line, s[from:]...), '"'), true
}
