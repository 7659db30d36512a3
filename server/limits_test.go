package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	"gatehouse/web"
)

// impatient makes every limit on slow clients short.
func impatient(o *Options) {
	o.Patience = Patience{Header: 300 * time.Millisecond, Idle: 300 * time.Millisecond, Body: 300 * time.Millisecond, Rate: 1 << 20,
		Write: 300 * time.Millisecond, Drain: 5 * time.Second, Sweep: 20 * time.Millisecond}
}

// closes reports whether the peer ends the connection.
func closes(c net.Conn) error {
	_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the connection stays open")
	}
	return nil
}

func TestT123_SlowHandshakeAndHead(t *testing.T) {
	g := start(t, impatient)
	t.Run("no handshake", func(t *testing.T) {
		c, err := net.Dial("tcp", g.addrs.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := closes(c); err != nil {
			t.Error(err)
		}
	})
	t.Run("half a head", func(t *testing.T) {
		c := g.raw(testHost)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.exa")
		if err := closes(c); err != nil {
			t.Error(err)
		}
	})
	t.Run("idle", func(t *testing.T) {
		c := g.raw(testHost)
		resp, _ := send(t, c, "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
		if resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
		if err := closes(c); err != nil {
			t.Error(err)
		}
	})
	t.Run("idle h2", func(t *testing.T) {
		c, err := tls.Dial("tcp", g.addrs.HTTPS, &tls.Config{RootCAs: g.roots, ServerName: testHost, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		if err := closes(c); err != nil {
			t.Error(err)
		}
	})
	t.Run("plain listener", func(t *testing.T) {
		c, err := net.Dial("tcp", g.addrs.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HT")
		if err := closes(c); err != nil {
			t.Error(err)
		}
	})
	o, _ := testOptions(t)
	o.Patience = Patience{}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, srv := range []struct{ head, idle time.Duration }{
		{s.http1Server(s).Head, s.http1Server(s).Idle}, {s.http2Server(s).Head, s.http2Server(s).Idle}, {s.adminServer(&net.TCPAddr{}).ReadHeaderTimeout, s.adminServer(&net.TCPAddr{}).IdleTimeout},
	} {
		if srv.head*2 > 10*time.Second || srv.idle != time.Minute {
			t.Errorf("limits by default: %v", srv)
		}
	}
	if n := s.http2Server(s).Streams; n != 100 {
		t.Errorf("%d streams by default", n)
	}
}

// stallingReader gives a little, then nothing until it is released.
type stallingReader struct {
	first string
	done  chan struct{}
}

func (s *stallingReader) Read(p []byte) (int, error) {
	if s.first != "" {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	<-s.done
	return 0, io.EOF
}

// soon is what comes of a handler whose client makes no progress.
func soon(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(15 * time.Second):
		t.Fatal("the handler still waits for its client")
		return nil
	}
}

func TestT123_SlowBody(t *testing.T) {
	got := make(chan error, 1)
	g := start(t, func(o *Options) {
		impatient(o)
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ignored" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_ = http.NewResponseController(w).EnableFullDuplex() // as the proxy does; HTTP/2 has it always
			_, err := io.ReadAll(r.Body)
			got <- err
			if web.RecordOf(w).SlowBody.Load() {
				w.WriteHeader(http.StatusRequestTimeout)
			}
		})
	})
	both(t, func(t *testing.T, h2 bool) {
		stall := &stallingReader{first: "abc", done: make(chan struct{})}
		defer close(stall.done)
		r, err := http.NewRequest("POST", "https://"+testHost+"/", stall)
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan string, 1)
		go func() {
			resp, err := g.client(h2).Do(r)
			if err != nil {
				answer <- err.Error()
				return
			}
			_ = resp.Body.Close()
			answer <- resp.Status
		}()
		err = soon(t, got)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the handler read %v", err)
		}
		var ne interface{ Timeout() bool }
		if !errors.As(err, &ne) || !ne.Timeout() || err.Error() == "" {
			t.Errorf("%v is no timeout", err)
		}
		if status := <-answer; status != "408 Request Timeout" {
			t.Errorf("the client got %s", status)
		}
	})
	t.Run("a client that goes on sending reads the answer", func(t *testing.T) {
		c := g.raw(testHost)
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 1000\r\n\r\nabc")
		_ = soon(t, got)
		_, _ = io.WriteString(c, "defgh")
		_ = c.SetReadDeadline(time.Now().Add(15 * time.Second))
		text, err := io.ReadAll(c)
		if !strings.HasPrefix(string(text), "HTTP/1.1 408 ") || !strings.Contains(string(text), "\r\nConnection: close\r\n") || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q %v", text, err)
		}
	})
	t.Run("a body nobody reads", func(t *testing.T) {
		c := g.raw(testHost)
		_, _ = io.WriteString(c, "POST /ignored HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 1000\r\n\r\nabc")
		if err := closes(c); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "slow clients counted", func() bool {
		_, text := g.admin("/metrics")
		return strings.Contains(text, `gatehouse_slow_clients_total{kind="body"} 3`)
	})
}

func TestT123_SteadyBodyMayTakeAsLongAsItLikes(t *testing.T) {
	e := &entry{d: &watchdog{patience: Patience{Body: 20 * time.Second, Rate: 500}}, credit: 20 * time.Second}
	now := time.Now()
	e.reading = now.Add(-19 * time.Second)
	if kind := e.check(now); kind != "" {
		t.Errorf("ended too soon: %s", kind)
	}
	e.free, e.reading = true, now.Add(-time.Hour)
	if kind := e.check(now); kind != "" {
		t.Errorf("a conversation was ended: %s", kind)
	}
	// Credit is earned by bytes and capped.
	e.free, e.h2 = false, true
	e.body = io.NopCloser(strings.NewReader(strings.Repeat("x", 5000)))
	e.credit = time.Second
	n, err := (&watchedBody{e: e}).Read(make([]byte, 5000))
	if n != 5000 || err != nil || e.credit < 10*time.Second || e.credit > 11*time.Second {
		t.Errorf("read %d %v, credit %v", n, err, e.credit)
	}
	e.body = io.NopCloser(strings.NewReader(strings.Repeat("x", 50000)))
	if _, err := (&watchedBody{e: e}).Read(make([]byte, 50000)); err != nil || e.credit != 20*time.Second {
		t.Errorf("%v, credit %v is not capped", err, e.credit)
	}
}

func TestConversationsKeepTheirPace(t *testing.T) {
	g := start(t, func(o *Options) {
		impatient(o)
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			buf := make([]byte, 16)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					_, _ = w.Write(buf[:n])
					_ = rc.Flush()
				}
				if err != nil {
					if err != io.EOF {
						t.Errorf("conversation broken: %v", err)
					}
					return
				}
			}
		})
	})
	pr, pw := io.Pipe()
	r, err := http.NewRequest("POST", "https://"+testHost+"/", pr)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc+proto")
	go func() { _, _ = pw.Write([]byte("ping")) }()
	resp, err := g.client(true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i := range 3 {
		buf := make([]byte, 4)
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "ping" {
			t.Fatalf("round %d: %q %v", i, buf, err)
		}
		time.Sleep(400 * time.Millisecond) // longer than any patience
		if _, err := pw.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
	}
	_ = pw.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
}

func TestT123_SlowReader(t *testing.T) {
	ended := make(chan error, 1)
	g := start(t, func(o *Options) {
		impatient(o)
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 256<<10)
			for {
				if _, err := w.Write(chunk); err != nil {
					ended <- err
					return
				}
			}
		})
	})
	t.Run("h1", func(t *testing.T) {
		c := g.raw(testHost)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
		if err := soon(t, ended); err == nil {
			t.Error("no error")
		}
	})
	t.Run("h2 stream", func(t *testing.T) {
		// The body is not read: the stream's window fills, the connection lives.
		resp, err := g.client(true).Get("https://" + testHost + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := soon(t, ended); err == nil {
			t.Error("no error")
		}
	})
}

// T123: over HTTP/2 a body of length zero may still have to end, and one that
// never does is too slow. Then a client that takes nothing of the answer is held
// to it like any other.
func TestT123_ABodyThatNeverEnds(t *testing.T) {
	for _, length := range []string{"0", "10"} {
		read, ended := make(chan error, 1), make(chan error, 1)
		g := start(t, func(o *Options) {
			impatient(o)
			o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				read <- err
				_, err = w.Write(make([]byte, 64<<10))
				ended <- err
			})
		})
		f, _ := g.dialFrames()
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		open(f, 0, "POST", false, [2]string{"content-length", length})
		if err := soon(t, read); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("length %s: the body ended with %v", length, err)
		}
		if err := soon(t, ended); err == nil {
			t.Errorf("length %s: the answer was taken", length)
		}
	}
}

// T123: an answer that is flushed in small pieces is held to the same.
func TestT123_AStreamThatIsNotTaken(t *testing.T) {
	ended := make(chan error, 1)
	g := start(t, func(o *Options) {
		impatient(o)
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = io.WriteString(w, "piece")
				err = errors.Join(err, http.NewResponseController(w).Flush())
			}
			ended <- err
		})
	})
	f, _ := g.dialFrames()
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	openStream(f, 0)
	if err := soon(t, ended); err == nil {
		t.Error("the answer was taken")
	}
}

func TestConnectionCap(t *testing.T) {
	g := start(t, func(o *Options) { o.MaxConnections = 2 })
	for range 2 {
		c := g.raw(testHost)
		if resp, _ := send(t, c, "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
	}
	resp, _ := send(t, g.raw(testHost), "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !resp.Close {
		t.Errorf("over the cap: %d %v", resp.StatusCode, resp.Header)
	}
	// Far over the cap nothing is promised, and the admin listener still works.
	var refused bool
	for range 30 {
		c, err := net.Dial("tcp", g.addrs.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == io.EOF {
			refused = true
			break
		}
	}
	if !refused {
		t.Error("every connection was kept")
	}
	if status, _ := g.admin("/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

func TestConnectionLimitComesFromOpenFiles(t *testing.T) {
	if n := limitFromFiles(); n < 16 {
		t.Errorf("limit %d", n)
	}
	reg := prometheus.NewRegistry()
	if _, err := newConnTable(0, time.Second, reg); err != nil {
		t.Fatal(err)
	}
	if _, err := newConnTable(0, time.Second, reg); err == nil {
		t.Error("two tables share one metric")
	}
}

func TestT125_StreamsPerConnection(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 200)
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
	})
	f, _ := g.dialFrames()
	for i := range 101 {
		openStream(f, i)
	}
	for range 100 {
		<-entered
	}
	select {
	case <-entered:
		t.Fatal("101 streams of one connection are served at a time")
	case <-time.After(100 * time.Millisecond):
	}
	until(t, f, func(got http2.Frame) bool {
		r, ok := got.(*http2.RSTStreamFrame)
		return ok && r.StreamID == 201 && r.ErrCode == http2.ErrCodeRefusedStream
	})
	close(release)
	for range 100 {
		until(t, f, func(got http2.Frame) bool { return got.Header().Flags.Has(http2.FlagDataEndStream) })
	}
}

// T124: who sends what is no request waits for the answer, so that sending it
// over and over takes time.
func TestT124_RefusalsTakeTheirTime(t *testing.T) {
	g := start(t, nil)
	for text, status := range map[string]int{
		"GET / HTTP/1.1\r\nHost: app.example.com\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n": 431,
		"GET / HTTP/1.1\r\nHost : app.example.com\r\n\r\n":                                          400,
	} {
		c := g.raw(testHost)
		asked := time.Now()
		resp, _ := send(t, c, text)
		if took := time.Since(asked); resp.StatusCode != status || took < refusalPause {
			t.Errorf("%.30q: %d after %v", text, resp.StatusCode, took)
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, callerOf(nil, r).client) })
	tlsOver := func(g *gate, first string) (*http.Response, string, error) {
		c, err := net.Dial("tcp", g.addrs.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, first)
		tc := tls.Client(c, &tls.Config{RootCAs: g.roots, ServerName: testHost})
		if err := tc.HandshakeContext(context.Background()); err != nil {
			return nil, "", err
		}
		resp, _ := send(t, tc, "GET / HTTP/1.1\r\nHost: app.example.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
		body, err := io.ReadAll(resp.Body)
		return resp, string(body), err
	}
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x05\x7f\x00\x00\x01\x30\x39\x01\xbb"
	t.Run("from a trusted proxy", func(t *testing.T) {
		g := start(t, func(o *Options) {
			o.Config.Listen.ProxyProtocol = true
			o.Config.Listen.TrustedProxies = prefixes("127.0.0.0/8")
			o.Proxy = echo
		})
		for name, head := range map[string]string{"v1": "PROXY TCP4 203.0.113.5 127.0.0.1 12345 443\r\n", "v2": v2} {
			if _, body, err := tlsOver(g, head); err != nil || body != "203.0.113.5" {
				t.Errorf("%s: %q %v", name, body, err)
			}
		}
		if _, _, err := tlsOver(g, ""); err == nil {
			t.Error("a trusted proxy without the header was served")
		}
	})
	t.Run("from anybody else", func(t *testing.T) {
		g := start(t, func(o *Options) {
			o.Config.Listen.ProxyProtocol = true
			o.Config.Listen.TrustedProxies = prefixes("10.0.0.0/8")
			o.Proxy = echo
		})
		if _, body, err := tlsOver(g, ""); err != nil || body != "127.0.0.1" {
			t.Errorf("%q %v", body, err)
		}
		if _, _, err := tlsOver(g, "PROXY TCP4 203.0.113.5 127.0.0.1 12345 443\r\n"); err == nil {
			t.Error("a stranger's PROXY header was taken")
		}
	})
}
