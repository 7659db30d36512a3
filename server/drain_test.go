package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestT133_DrainEndsUpgradesAndFinishesRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	upgraded := make(chan net.Conn, 1)
	var drained atomic.Bool
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ws" {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				upgraded <- c
				return
			}
			close(entered)
			<-release
			_, _ = io.WriteString(w, "finished")
		})
		o.OnDrain = func(ctx context.Context) {
			if _, has := ctx.Deadline(); !has {
				t.Error("the drain has no end")
			}
			c := <-upgraded
			_, _ = c.Write([]byte{0x88, 0x02, 0x03, 0xe9}) // close, 1001
			_ = c.Close()
			drained.Store(true)
			close(release)
		}
	})
	ws := g.raw(testHost)
	_, br := send(t, ws, "GET /ws HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	got := make(chan string, 1)
	go func() {
		resp, err := g.client(false).Get("https://" + testHost + "/slow")
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- string(b)
	}()
	<-entered
	if err := g.stop(); err != nil {
		t.Fatalf("drain: %v", err)
	}
	if frame, _ := io.ReadAll(br); string(frame) != "\x88\x02\x03\xe9" {
		t.Errorf("the WebSocket got %x", frame)
	}
	if body := <-got; body != "finished" {
		t.Errorf("the request in flight got %q", body)
	}
	if !drained.Load() {
		t.Error("OnDrain was not awaited")
	}
	if _, err := net.Dial("tcp", g.addrs.HTTPS); err == nil {
		t.Error("the listener is still open")
	}
}

func TestT133_DrainEndsAtItsDeadline(t *testing.T) {
	entered := make(chan struct{})
	g := start(t, func(o *Options) {
		o.Patience.Drain = 200 * time.Millisecond
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ws" {
				_, _, _ = http.NewResponseController(w).Hijack() // nobody ever closes it
				close(entered)
				return
			}
			close(entered)
			<-r.Context().Done()
		})
	})
	for _, path := range []string{"/stream", "/ws"} {
		entered = make(chan struct{})
		c := g.raw(testHost)
		_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
		<-entered
		defer func() {
			if err := closes(c); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}()
	}
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestReadiness(t *testing.T) {
	var storeErr atomic.Pointer[error]
	hold := make(chan struct{})
	g := start(t, func(o *Options) {
		o.Ready = []ReadyCheck{
			{Name: "keys", Check: func(context.Context) error { return nil }},
			{Name: "redis", Check: func(context.Context) error { return errors.New("away") }, Advisory: true},
			{Name: "store", Check: func(context.Context) error {
				if e := storeErr.Load(); e != nil {
					return *e
				}
				return nil
			}},
		}
		o.OnDrain = func(context.Context) { <-hold }
	})
	check := func(status int, word, store string) {
		t.Helper()
		code, text := g.admin("/readyz")
		var got readiness
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if code != status || got.Status != word || got.Components["store"] != store || got.Components["keys"] != "ok" || got.Components["redis"] != "failed" {
			t.Errorf("readyz: %d %s", code, text)
		}
		if strings.Contains(text, "disk") {
			t.Error("the cause is shown")
		}
	}
	check(200, "ready", "ok")
	broken := errors.New("disk on fire")
	storeErr.Store(&broken)
	check(503, "failing", "failed")
	if len(g.log.records(t, "not ready")) != 3 { // redis, which is advisory, both times
		t.Error("the cause is not in the log")
	}
	storeErr.Store(nil)
	check(200, "ready", "ok")
	stopped := make(chan error)
	go func() { stopped <- g.stop() }()
	eventually(t, "not ready while draining", func() bool { code, _ := g.admin("/readyz"); return code == 503 })
	check(503, "draining", "ok")
	if code, _ := g.admin("/healthz"); code != 200 {
		t.Errorf("healthz while draining: %d", code)
	}
	close(hold)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Between SIGTERM and the end of listen.drain_delay everything is served, on new
// connections too; readiness is off, and every answer ends its connection.
func TestDrainDelayServesOn(t *testing.T) {
	over := make(chan time.Time)
	g := start(t, func(o *Options) {
		o.Config.Listen.DrainDelay = 7 * time.Second
		o.After = func(d time.Duration) <-chan time.Time {
			if d != 7*time.Second {
				t.Errorf("waits for %v", d)
			}
			return over
		}
	})
	kept := g.raw(testHost)
	plain := "GET / HTTP/1.1\r\nHost: " + testHost + "\r\n\r\n"
	if resp, _ := send(t, kept, plain); resp.Close {
		t.Fatal("a connection ends for no reason")
	}
	h2 := g.client(true)
	before := connOf(t, g, h2)
	stopped := make(chan error)
	go func() { stopped <- g.stop() }()
	eventually(t, "not ready", func() bool { code, _ := g.admin("/readyz"); return code == 503 })
	for name, c := range map[string]net.Conn{"an old": kept, "a new": g.raw(testHost)} {
		if resp, _ := send(t, c, plain); resp.StatusCode != 200 || !resp.Close {
			t.Errorf("%s connection: %d, closed %v", name, resp.StatusCode, resp.Close)
		}
		if err := closes(c); err != nil {
			t.Errorf("%s connection: %v", name, err)
		}
	}
	connOf(t, g, h2) // tells the client to go
	if connOf(t, g, h2) == before {
		t.Error("HTTP/2 was not told to go elsewhere")
	}
	close(over)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", g.addrs.HTTPS); err == nil {
		t.Error("the listener is still open")
	}
}

// connOf performs a request and returns the client's address of its connection.
func connOf(t *testing.T, g *gate, c *http.Client) (addr string) {
	t.Helper()
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { addr = i.Conn.LocalAddr().String() }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+testHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	return addr
}

func TestT142_AdminIsNotOnThePublicPort(t *testing.T) {
	g := start(t, nil)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/healthz", "/readyz"} {
		for _, h2 := range []bool{false, true} {
			if _, body := g.get(g.client(h2), "GET", "https://"+testHost+path, nil); body != "proxy" {
				t.Errorf("%s on https did not go to the proxy: %.60s", path, body)
			}
		}
		if resp, _ := g.get(g.client(false), "GET", "http://"+testHost+path, nil); resp.StatusCode != 403 {
			t.Errorf("%s on http: %d", path, resp.StatusCode)
		}
		if code, body := g.admin(path); code != 200 || body == "" {
			t.Errorf("%s on admin: %d", path, code)
		}
	}
	r, err := http.NewRequest("GET", "http://"+g.addrs.Admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "attacker.example"
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != 421 {
		t.Errorf("a rebound name reaches the admin listener: %d", resp.StatusCode)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	g := start(t, func(o *Options) { o.NotifySocket = path })
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("got %q %v, want %s", buf[:n], err, want)
		}
	}
	o, log := testOptions(t)
	o.NotifySocket = path + "-gone"
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.notify("READY=1")
	if len(log.records(t, "service manager could not be told")) != 1 {
		t.Error("the failure was not logged")
	}
}

func TestListenersThatAreOff(t *testing.T) {
	g := start(t, func(o *Options) { o.Config.Listen.HTTP, o.Config.Listen.Admin = "", "" })
	if g.addrs.HTTP != "" || g.addrs.Admin != "" || g.addrs.HTTPS == "" {
		t.Errorf("%+v", g.addrs)
	}
}

func TestAddrsGivesUp(t *testing.T) {
	o, _ := testOptions(t)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Addrs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}
