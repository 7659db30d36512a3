package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/web"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWriterPassesWhatItWraps(t *testing.T) {
	under := httptest.NewRecorder()
	w := &writer{ResponseWriter: under, hsts: []string{"max-age=1"}}
	if n, err := w.ReadFrom(strings.NewReader("hello")); n != 5 || err != nil {
		t.Errorf("ReadFrom: %d, %v", n, err)
	}
	w.Flush()
	w.WriteHeader(500) // too late
	if w.status != 200 || w.bytes != 5 || !under.Flushed || under.Code != 200 {
		t.Errorf("status %d, bytes %d, flushed %v", w.status, w.bytes, under.Flushed)
	}
	if _, _, err := w.Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("Hijack: %v", err)
	}
	if web.RecordOf(w) != &w.rec {
		t.Error("the record is not found")
	}
}

func TestReadFromOfTheConnection(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, bytes.NewReader(make([]byte, 1<<20)))
		})
	})
	both(t, func(t *testing.T, h2 bool) {
		_, body := g.get(g.client(h2), "GET", "https://"+testHost+"/", nil)
		if len(body) != 1<<20 {
			t.Errorf("%d bytes", len(body))
		}
	})
	eventually(t, "bytes in the log", func() bool {
		for _, r := range g.log.records(t, "request") {
			if r["bytes"] != float64(1<<20) {
				return false
			}
		}
		return true
	})
}

func TestHijackedConnection(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
			_ = rw.Flush()
		})
	})
	resp, br := send(t, g.raw(testHost), "GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	rest, _ := io.ReadAll(br)
	if resp.StatusCode != 101 || string(rest) != "hello" {
		t.Errorf("%d %q", resp.StatusCode, rest)
	}
	eventually(t, "the access line of an upgrade", func() bool {
		all := g.log.records(t, "request")
		return len(all) == 1 && all[0]["status"] == 101.0
	})
}

func TestNewNeedsItsParts(t *testing.T) {
	good, _ := testOptions(t)
	for name, spoil := range map[string]func(*Options){
		"config": func(o *Options) { o.Config = nil }, "own": func(o *Options) { o.Own = nil }, "known": func(o *Options) { o.KnownHost = nil },
		"ui": func(o *Options) { o.UI = nil }, "log": func(o *Options) { o.Log = nil }, "registry": func(o *Options) { o.Registry = nil },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	o := good
	c := *o.Config
	c.TLS.SelfSigned = false
	o.Config = &c
	if _, err := New(o); err == nil {
		t.Error("no certificates: no error")
	}
}

func TestBindErrorsNameTheKey(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o, _ := testOptions(t)
	o.Config.Listen.Admin = taken.Addr().String()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "listen.admin") {
		t.Errorf("err = %v", err)
	}
}

func BenchmarkChain(b *testing.B) {
	o := Options{Patience: Patience{}.withDefaults(), Access: slog.New(slog.NewJSONHandler(lazyOutput{&output{w: io.Discard}}, nil)),
		KnownHost: func(string) bool { return true }, Own: named("own"), Verify: named("verify"),
		Proxy: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })}
	s := benchServer(b, o)
	r := request("198.51.100.9:1", true)
	r.Host = testHost
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}

func benchServer(b *testing.B, o Options) *Server {
	b.Helper()
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg)
	if err != nil {
		b.Fatal(err)
	}
	conns, err := newConnTable(100, time.Minute, reg)
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{opts: o, log: slog.New(slog.DiscardHandler), now: time.Now, prefix: "/_auth", metrics: m, conns: conns, watch: newWatchdog(o.Patience)}
	s.writers.New = func() any { return new(writer) }
	s.state.Store(&state{hsts: []string{"max-age=1"}, access: true, certs: noCerts{}})
	return s
}
