package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// auditFields is the order of the known fields.
var auditFields = [...]string{"actor", "subject", "session", "ip", "ua", "route", "outcome", "request_id"}

// auditHandler writes events to the file.
type auditHandler struct {
	a     *Audit
	attrs []slog.Attr
	group string
}

// Enabled implements slog.Handler: every event is kept.
func (h *auditHandler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (h *auditHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = append(append([]slog.Attr(nil), h.attrs...), prefixed(h.group, attrs)...)
	return &next
}

// WithGroup implements slog.Handler; groups become dotted names.
func (h *auditHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

func prefixed(group string, attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		v := a.Value.Resolve()
		if v.Kind() == slog.KindGroup {
			sub := group
			if a.Key != "" {
				sub += a.Key + "."
			}
			out = append(out, prefixed(sub, v.Group())...)
			continue
		}
		out = append(out, slog.Attr{Key: group + a.Key, Value: v})
	}
	return out
}

// Handle implements slog.Handler. slog drops its error, so that it is logged
// here: an event that could not be written must be noticed.
func (h *auditHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, prefixed(h.group, []slog.Attr{a})...)
		return true
	})
	at := r.Time
	if h.a.now != nil {
		at = h.a.now()
	}
	err := h.a.append(auditLine(at, r.Message, attrs))
	if err != nil {
		h.a.log.Error("audit event could not be written", slog.String("event", r.Message), slog.Any("error", err))
	}
	return err
}

// auditLine formats an event without its end: known fields in their order,
// then the others as they came. Of a name given twice the last value counts.
func auditLine(at time.Time, event string, attrs []slog.Attr) []byte {
	values := make(map[string]string, len(attrs))
	var others []string
	for _, a := range attrs {
		if a.Key == "" {
			continue
		}
		if _, seen := values[a.Key]; !seen {
			others = append(others, a.Key)
		}
		values[a.Key] = a.Value.String()
	}
	b := make([]byte, 0, 512)
	b = append(b, `{"time":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, '"')
	field := func(key, v string) {
		b = append(b, ',')
		b = appendASCII(b, key)
		b = append(b, ':')
		b = appendASCII(b, v)
	}
	field("event", event)
	for _, key := range auditFields {
		v, ok := values[key]
		if ok {
			field(key, v)
			delete(values, key)
		}
	}
	for _, key := range others {
		if v, ok := values[key]; ok && len(b) < maxAuditLine/2 {
			switch key {
			case "time", "event", "prev", "hash":
				key += "_" // these names are ours
			}
			field(key, v)
		}
	}
	return b
}

// appendASCII appends s as a JSON string of visible ASCII, so that no reader
// is shown something else than what is there (T135).
func appendASCII(b []byte, s string) []byte {
	if len(s) > maxAuditValue {
		s = s[:maxAuditValue] + "..."
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= 0x20 && r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

// auditToLog writes events to the process's log, marked as such, at every
// level of it.
type auditToLog struct{ slog.Handler }

// Enabled implements slog.Handler: no level hides an event.
func (auditToLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h auditToLog) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(slog.Bool("audit", true))
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h auditToLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return auditToLog{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h auditToLog) WithGroup(name string) slog.Handler { return auditToLog{h.Handler.WithGroup(name)} }
