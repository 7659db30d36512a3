package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/web"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a log that tests can read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// records returns the JSON lines with the given message.
func (l *lines) records(t *testing.T, msg string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("a log line is not JSON: %q: %v", line, err)
		}
		if m["msg"] == msg {
			out = append(out, m)
		}
	}
	return out
}

// gate is a running server.
type gate struct {
	*Server
	t     *testing.T
	dir   string
	log   *lines
	addrs Addrs
	roots *x509.CertPool
	reg   *prometheus.Registry
	stop  func() error // ends the run; the same answer every time
}

const testHost = "app.example.com"

func testConfig(dir string) *config.Config {
	c := &config.Config{DataDir: dir}
	c.Listen.HTTPS, c.Listen.HTTP, c.Listen.Admin = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.TLS.SelfSigned = true
	c.TLS.HSTS.MaxAge = 8760 * time.Hour
	c.Tokens.Issuer = "https://" + testHost
	c.UI.Prefix = "/_auth"
	c.Routes = []config.Route{{Host: testHost}, {Host: "other.example.com"}}
	c.Log.Access = true
	return c
}

// named answers with its name, so that a test sees who was asked.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Handler", name)
		_, _ = io.WriteString(w, name)
	})
}

func testOptions(t *testing.T) (Options, *lines) {
	t.Helper()
	ui, err := web.New(web.Options{Prefix: "/_auth", Title: "Sign in", Issuer: "https://" + testHost})
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	hosts := []string{testHost, "other.example.com"}
	return Options{
		Config: testConfig(t.TempDir()), Own: named("own"), Verify: named("verify"), Proxy: named("proxy"),
		KnownHost: func(h string) bool { return h == hosts[0] || h == hosts[1] },
		UI:        ui, Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: safeAttr})),
		Registry: prometheus.NewRegistry(),
		Patience: Patience{Drain: 5 * time.Second},
	}, log
}

func start(t *testing.T, change func(*Options)) *gate {
	t.Helper()
	o, log := testOptions(t)
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	g := &gate{Server: s, t: t, dir: o.Config.DataDir, log: log, reg: o.Registry}
	g.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	wait, giveUp := context.WithTimeout(ctx, 10*time.Second)
	defer giveUp()
	if g.addrs, err = s.Addrs(wait); err != nil {
		t.Fatalf("not serving: %v (%v)", err, g.stop())
	}
	g.roots = x509.NewCertPool()
	if pem, err := os.ReadFile(filepath.Join(g.dir, "ca.crt")); err == nil {
		g.roots.AppendCertsFromPEM(pem)
	}
	return g
}

// client speaks one protocol to the gate, whatever host a URL names.
func (g *gate) client(h2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetHTTP2(h2)
	tr := &http.Transport{
		Protocols:       p,
		TLSClientConfig: &tls.Config{RootCAs: g.roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			to := g.addrs.HTTPS
			if strings.HasSuffix(addr, ":80") {
				to = g.addrs.HTTP
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
		DisableCompression: true,
	}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get sends a request with header pairs and returns answer and body.
func (g *gate) get(c *http.Client, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatalf("%s %s: read: %v", method, url, err)
	}
	return resp, string(text)
}

// raw opens a TLS connection that speaks HTTP/1.1.
func (g *gate) raw(sni string) *tls.Conn {
	g.t.Helper()
	c, err := tls.Dial("tcp", g.addrs.HTTPS, &tls.Config{RootCAs: g.roots, ServerName: sni, NextProtos: []string{"http/1.1"}})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// send writes bytes and reads one answer.
func send(t *testing.T, c net.Conn, text string) (*http.Response, *bufio.Reader) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return resp, br
}

func (g *gate) admin(path string) (int, string) {
	g.t.Helper()
	resp, err := http.Get("http://" + g.addrs.Admin + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// eventually waits for something another goroutine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// both runs a test over HTTP/1.1 and HTTP/2.
func both(t *testing.T, run func(t *testing.T, h2 bool)) {
	t.Run("h1", func(t *testing.T) { run(t, false) })
	t.Run("h2", func(t *testing.T) { run(t, true) })
}
