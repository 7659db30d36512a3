package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Logs are the two logs of a process over one writer. Lines about the process
// are written at once; access lines are gathered and written when a buffer is
// full, once a second, before any other line, and at the end.
type Logs struct {
	Log    *slog.Logger
	Access *slog.Logger
	Level  *slog.LevelVar // may be changed at any time

	out  *output
	stop context.CancelFunc
	done chan struct{}
}

// NewLogs builds the logs. format is json or text, level one of debug, info,
// warn, error. Close writes what is left.
func NewLogs(w io.Writer, format, level string) (*Logs, error) {
	l := &Logs{Level: new(slog.LevelVar), out: &output{w: w}, done: make(chan struct{})}
	if err := l.SetLevel(level); err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: l.Level, ReplaceAttr: safeAttr}
	access := &slog.HandlerOptions{Level: l.Level} // its values are ASCII already
	switch format {
	case "json":
		l.Log = slog.New(slog.NewJSONHandler(l.out, opts))
		l.Access = slog.New(newAccessJSON(lazyOutput{l.out}, access))
	case "text":
		l.Log = slog.New(slog.NewTextHandler(l.out, opts))
		l.Access = slog.New(slog.NewTextHandler(lazyOutput{l.out}, access))
	default:
		return nil, fmt.Errorf("log format %q is neither json nor text", format)
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.flushEvery(ctx, time.Second)
	return l, nil
}

// SetLevel changes the level of both logs.
func (l *Logs) SetLevel(level string) error {
	var v slog.Level
	if err := v.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("log level %q is none of debug, info, warn, error", level)
	}
	l.Level.Set(v)
	return nil
}

// Close stops the flusher and writes what is left.
func (l *Logs) Close() error {
	l.stop()
	<-l.done
	return l.out.flush()
}

func (l *Logs) flushEvery(ctx context.Context, d time.Duration) {
	defer close(l.done)
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = l.out.flush() // the next write reports the same trouble
		}
	}
}

const outputSize = 64 << 10

// output gathers lines; every write to the file below holds whole lines.
type output struct {
	mu  sync.Mutex
	buf []byte
	w   io.Writer
}

// Write implements io.Writer and does not wait.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, p...)
	return len(p), o.flushLocked()
}

func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flushLocked()
}

func (o *output) flushLocked() error {
	if len(o.buf) == 0 {
		return nil
	}
	_, err := o.w.Write(o.buf)
	o.buf = o.buf[:0]
	return err
}

// lazyOutput waits for the buffer to fill.
type lazyOutput struct{ o *output }

// Write implements io.Writer.
func (l lazyOutput) Write(p []byte) (int, error) {
	l.o.mu.Lock()
	defer l.o.mu.Unlock()
	l.o.buf = append(l.o.buf, p...)
	if len(l.o.buf) < outputSize {
		return len(p), nil
	}
	return len(p), l.o.flushLocked()
}

// safeAttr escapes what reorders or hides text in a terminal (T135); the
// handlers themselves escape line breaks and control characters.
func safeAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); strings.ContainsFunc(s, unsafeRune) {
			a.Value = slog.StringValue(escapeRunes(s))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok && err != nil {
			a.Value = slog.StringValue(escapeRunes(err.Error()))
		}
	}
	return a
}

func unsafeRune(r rune) bool {
	return r > 0x7e && (unicode.In(r, unicode.Cf, unicode.Cc, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar)
}

func escapeRunes(s string) string {
	if !strings.ContainsFunc(s, unsafeRune) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			fmt.Fprintf(&b, "\\u%04X", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
