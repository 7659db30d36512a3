package server

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/web"
)

func TestLogs(t *testing.T) {
	out := &lines{}
	l, err := NewLogs(out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	l.Access.Info("request", "n", 1)
	if out.String() != "" {
		t.Error("an access line was not gathered")
	}
	l.Log.Debug("hidden")
	l.Log.Info("shown", "bidi", "a\u202eb", "err", errors.New("x\ny\u202e"), "secret", config.NewSecret("hunter2"), "ok", "Zoë")
	text := out.String()
	if strings.Index(text, "request") > strings.Index(text, "shown") || strings.Contains(text, "hidden") || strings.Contains(text, "hunter2") {
		t.Errorf("%s", text)
	}
	got := out.records(t, "shown")[0]
	if got["bidi"] != `a\u202Eb` || got["err"] != "x\ny\\u202E" || got["ok"] != "Zoë" || strings.Count(text, "\n") != 2 {
		t.Errorf("%v", got)
	}
	if err := l.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	l.Log.Debug("now shown")
	if len(out.records(t, "now shown")) != 1 {
		t.Error("the level did not change")
	}
	l.Access.Info("request", "n", 2)
	eventually(t, "the flush of a second", func() bool { return len(out.records(t, "request")) == 2 })
	l.Access.Info("request", "n", 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if len(out.records(t, "request")) != 3 {
		t.Error("the last line is missing")
	}
}

func TestLogsAreWrittenWhenTheBufferIsFull(t *testing.T) {
	out := &lines{}
	l, err := NewLogs(out, "text", "warn")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	for out.String() == "" && time.Since(start) < 10*time.Second {
		l.Access.Warn("request", "pad", strings.Repeat("x", 8<<10))
	}
	if n := len(out.String()); n < outputSize {
		t.Errorf("%d bytes at once", n)
	}
}

func TestLogsRefuseOtherWords(t *testing.T) {
	if _, err := NewLogs(io.Discard, "xml", "info"); err == nil {
		t.Error("format")
	}
	if _, err := NewLogs(io.Discard, "json", "loud"); err == nil {
		t.Error("level")
	}
}

func TestT135_Printable(t *testing.T) {
	for in, want := range map[string]string{"/a b": "/a b", "a\nb": "a%0Ab", "ä": "%C3%A4", "\x7f": "%7F", "": "", "abcdefgh": "abcde...", "\u202eabcdefgh": "%E2%80%AEab..."} {
		if got := printable(in, 5); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestErrSlowBodyIsATimeout(t *testing.T) {
	var err error = errSlowBody{}
	var timeout interface {
		Timeout() bool
		Temporary() bool
	}
	if !errors.As(err, &timeout) || !timeout.Timeout() || timeout.Temporary() {
		t.Error("not a timeout")
	}
}

func BenchmarkAccessLine(b *testing.B) {
	out := lazyOutput{&output{w: io.Discard}}
	b.Run("ours", func(b *testing.B) { benchAccess(b, newAccessJSON(out, nil)) })
	b.Run("slog", func(b *testing.B) { benchAccess(b, slog.NewJSONHandler(out, nil)) })
}

func benchAccess(b *testing.B, h slog.Handler) {
	l := slog.New(h)
	s := benchServer(b, Options{Access: l, Patience: Patience{}.withDefaults()})
	w := &writer{bytes: 1024, rec: web.Record{
		Start: time.Now(), ID: strings.Repeat("0a", 16), Client: netip.MustParseAddr("198.51.100.9"), Route: "app", Verdict: "allow", Subject: strings.Repeat("s", 26),
		Session: strings.Repeat("t", 26), Upstream: "http://127.0.0.1:8080", UpstreamTime: time.Millisecond,
	}}
	r := request("198.51.100.9:1", true)
	b.ReportAllocs()
	for b.Loop() {
		s.logAccess(accessLine{w, r, 200, time.Millisecond, false})
	}
}
