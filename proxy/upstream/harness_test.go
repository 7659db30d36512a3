package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/config"
)

// app is a TCP server under the test's control. handle gets every connection
// and its number; the connection is closed when it returns.
type app struct {
	net.Listener
	t     testing.TB
	conns atomic.Int64
	mu    sync.Mutex
	seen  []string
}

func newApp(t testing.TB, handle func(a *app, c net.Conn, r *bufio.Reader, n int)) *app {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{Listener: l, t: t}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			n := int(a.conns.Add(1))
			wg.Go(func() {
				defer func() {
					_ = c.Close()
					mu.Lock()
					delete(open, c)
					mu.Unlock()
				}()
				handle(a, c, bufio.NewReader(c), n)
			})
		}
	})
	return a
}

// request reads one request with its body and keeps it; "" means that the
// connection ended.
func (a *app) request(r *bufio.Reader) string {
	head, err := readLines(r)
	if err != nil {
		return ""
	}
	var body []byte
	if req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head))); err == nil && len(req.TransferEncoding) > 0 {
		if body, err = io.ReadAll(httputil.NewChunkedReader(r)); err != nil {
			return ""
		}
		if end, err := r.ReadString('\n'); err != nil || end != "\r\n" {
			return ""
		}
	} else if err == nil && req.ContentLength > 0 {
		body = make([]byte, req.ContentLength)
		if _, err := io.ReadFull(r, body); err != nil {
			return ""
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, head+string(body))
	return head + string(body)
}

func (a *app) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

func readLines(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// answering serves request after request with the same bytes.
func answering(text string) func(*app, net.Conn, *bufio.Reader, int) {
	return func(a *app, c net.Conn, r *bufio.Reader, _ int) {
		for a.request(r) != "" {
			_, _ = io.WriteString(c, text)
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func (a *app) url() config.UpstreamURL {
	return config.UpstreamURL{Raw: "http://" + a.Addr().String(), Scheme: "http", Host: a.Addr().String()}
}

var patience = config.RouteTimeout{Connect: 5 * time.Second, ResponseHeader: 10 * time.Second, Idle: 10 * time.Second}

func (a *app) group(edit ...func(*Options)) *Group {
	a.t.Helper()
	o := Options{URLs: []config.UpstreamURL{a.url()}, Timeout: patience}
	for _, f := range edit {
		f(&o)
	}
	g, err := New(o)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(g.Close)
	return g
}

// outcome is an exchange read to its end; err is how it failed, or its body.
type outcome struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error
	cut     error // the body ended like this
}

func send(t testing.TB, g *Group, r *Request) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	resp, _, err := g.RoundTrip(ctx, r)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	b, cut := io.ReadAll(resp.Body)
	return outcome{resp.StatusCode, resp.Header, resp.Trailer, string(b), nil, cut}
}

func get(t testing.TB, g *Group, target string, header ...string) outcome {
	t.Helper()
	r := &Request{Method: "GET", Target: target, Host: "app.test", Header: http.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return send(t, g, r)
}

func wantOK(t testing.TB, o outcome, body string) {
	t.Helper()
	if o.err != nil || o.cut != nil || o.status != 200 || o.body != body {
		t.Fatalf("got %d %q, %v, %v; want 200 %q", o.status, o.body, o.err, o.cut, body)
	}
}

func wantErr(t testing.TB, o outcome, sentinel error) {
	t.Helper()
	if !errors.Is(o.err, sentinel) {
		t.Fatalf("got %d %q, error %v; want %v", o.status, o.body, o.err, sentinel)
	}
}

// eventually waits for what another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// coalesced holds writes back until Flush, so that several TLS records arrive
// in one piece.
type coalesced struct {
	net.Conn
	held []byte
}

func (c *coalesced) Write(p []byte) (int, error) { c.held = append(c.held, p...); return len(p), nil }

func (c *coalesced) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *coalesced) flush() error {
	_, err := c.Conn.Write(c.held)
	c.held = nil
	return err
}

// trust makes the address's clients trust a certificate of the test's.
func trust(g *Group, conf func(*tls.Config)) {
	for _, a := range g.addrs {
		if e, ok := a.client.(either); ok {
			conf(e.h1.tls)
		}
	}
}
