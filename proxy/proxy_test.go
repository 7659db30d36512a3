package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/web"

	"github.com/prometheus/client_golang/prometheus"
)

// recorder is what the server's outer chain wraps requests in.
type recorder struct {
	http.ResponseWriter
	rec *web.Record
}

func (r recorder) Record() *web.Record         { return r.rec }
func (r recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// fakeAuth knows users by name: "Bearer ours.NAME" and "__Host-gatehouse=NAME".
type fakeAuth struct {
	mu    sync.Mutex
	renew []bool
	users map[string]*identity.Identity
	errs  map[string]error
	set   []string
}

func (f *fakeAuth) Authenticate(r *http.Request, _ *web.Record, mayRenew bool) (identity.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew = append(f.renew, mayRenew)
	res := identity.Result{SetCookie: f.set}
	var names []string
	if t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ours."); ok {
		res.OwnBearer, res.Via = true, identity.ViaBearer
		names = append(names, t)
	}
	if c, err := r.Cookie("__Host-gatehouse"); err == nil {
		if res.Via == identity.ViaNone {
			res.Via = identity.ViaCookie
		}
		names = append(names, c.Value)
	}
	switch {
	case len(names) == 0:
		return res, identity.ErrNone
	case len(names) == 2 && names[0] != names[1]:
		return res, fmt.Errorf("test: %w", identity.ErrConflict)
	}
	if err := f.errs[names[0]]; err != nil {
		if errors.Is(err, identity.ErrStale) {
			res.Identity = f.users["alice"]
		}
		return res, fmt.Errorf("test: %w", err)
	}
	if id := f.users[names[0]]; id != nil {
		res.Identity = id
		return res, nil
	}
	return res, identity.ErrRejected
}

type fakeAsserter struct{}

func (fakeAsserter) Assertion(id *identity.Identity, aud string) (string, error) {
	return "assert:" + id.Subject + ":" + aud, nil
}

// rawUpstream records the bytes it gets and answers with given ones.
type rawUpstream struct {
	net.Listener
	mu     sync.Mutex
	seen   []string
	answer func(head string, c net.Conn)
}

func newRawUpstream(t testing.TB, answer func(head string, c net.Conn)) *rawUpstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &rawUpstream{Listener: l, answer: answer}
	if answer == nil {
		u.answer = say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp")
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go u.serve(c)
		}
	}()
	return u
}

func say(text string) func(string, net.Conn) {
	return func(_ string, c net.Conn) { _, _ = io.WriteString(c, text) }
}

func (u *rawUpstream) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		var head strings.Builder
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
			if line == "\r\n" {
				break
			}
		}
		body := ""
		if req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head.String()), r))); err == nil && req.Header.Get("Upgrade") == "" {
			b, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			body = string(b)
		}
		u.mu.Lock()
		u.seen = append(u.seen, head.String()+body)
		u.mu.Unlock()
		u.answer(head.String(), c)
		if strings.Contains(head.String(), "Upgrade: websocket") {
			_, _ = io.Copy(c, r) // an echo of raw bytes
			return
		}
	}
}

func (u *rawUpstream) last() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.seen) == 0 {
		return ""
	}
	return u.seen[len(u.seen)-1]
}

func (u *rawUpstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.seen)
}

// gate is a proxy behind a real listener.
type gate struct {
	*Proxy
	t    testing.TB
	addr string
	up   *rawUpstream
	auth *fakeAuth
	rec  func(*web.Record)
	errs chan error
}

func testUsers() map[string]*identity.Identity {
	return map[string]*identity.Identity{
		"alice": {Subject: "sub-alice", Email: "Alice@Example.com", Name: "Alice A", Groups: []string{"admins", "readers"}, Session: "sid-a", TokenID: "jti-a", KeyID: "kid-a", Generation: 3, AuthTime: time.Now().Add(-2 * time.Hour), AMR: []string{"pwd"}},
		"bob":   {Subject: "sub-bob", Email: "bob@other.org", Session: "sid-b", TokenID: "jti-b", AuthTime: time.Now()},
		"eve":   {Subject: "sub-eve", Email: "eve@example.com", Name: "Ev\u00e9 100%\r\nX-Evil: 1", Groups: []string{"a,b", "c d"}, Session: "sid-e", TokenID: "jti-e", AuthTime: time.Now()},
	}
}

func newGate(t testing.TB, answer func(string, net.Conn), edit func(*config.Config)) *gate {
	t.Helper()
	g := &gate{t: t, up: newRawUpstream(t, answer), errs: make(chan error, 64)}
	g.auth = &fakeAuth{users: testUsers(), errs: map[string]error{"down": identity.ErrUnavailable, "stale": identity.ErrStale, "odd": errors.New("odd")}}
	cfg := &config.Config{UI: config.UI{Prefix: "/_auth"}, IdentityHeaders: config.IdentityHeaders{Preset: "x-forwarded"},
		Routes: []config.Route{g.route("app", "app.test", "/", signedIn())}}
	if edit != nil {
		edit(cfg)
		for i := range cfg.Routes {
			if cfg.Routes[i].Upstream == nil {
				r := g.route(cfg.Routes[i].Name, cfg.Routes[i].Host, cfg.Routes[i].Path, cfg.Routes[i].Access)
				cfg.Routes[i].Upstream, cfg.Routes[i].Timeout = r.Upstream, r.Timeout
			}
		}
	}
	ui, err := web.New(web.Options{Prefix: "/_auth", Title: "Sign in"})
	if err != nil {
		t.Fatal(err)
	}
	g.Proxy, err = newTestProxy(Deps{Config: cfg, Auth: g.auth, Assert: fakeAsserter{}, UI: ui, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &web.Record{ID: "req-1", Client: netip.MustParseAddr("127.0.0.1"), Secure: true, Start: time.Now()}
		if g.rec != nil {
			g.rec(rec)
		}
		if strings.HasPrefix(r.URL.Path, "/_auth/verify") {
			g.ServeVerify(recorder{w, rec}, r)
		} else {
			g.ServeHTTP(recorder{w, rec}, r)
		}
		select {
		case g.errs <- rec.Err:
		default:
		}
	}))
	srv.Config.DisableGeneralOptionsHandler = true
	srv.Start()
	t.Cleanup(func() { g.Close(); srv.Close() })
	g.addr = srv.Listener.Addr().String()
	return g
}

func signedIn() config.Access { return config.Access{Kind: config.AccessSignedIn} }
func public() config.Access   { return config.Access{Kind: config.AccessPublic} }
func groups(g ...string) config.Access {
	return config.Access{Kind: config.AccessConditions, Groups: g}
}

func (g *gate) route(name, host, path string, a config.Access) config.Route {
	if path == "" {
		path = "/"
	}
	return config.Route{Name: name, Host: host, Path: path, Access: a, HostHeader: "preserve", RewriteResponse: true, OnStale: "deny",
		Upstream: config.Upstreams{{Raw: "http://" + g.up.Addr().String(), Scheme: "http", Host: g.up.Addr().String()}},
		Timeout:  config.RouteTimeout{Connect: time.Second, ResponseHeader: 5 * time.Second, Idle: 5 * time.Second}}
}

// answer is a response read to its end; err is how the body ended.
type answer struct {
	*http.Response
	body string
	err  error
}

// raw sends bytes and reads one answer.
func (g *gate) raw(text string) answer {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		g.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return answer{&http.Response{Header: http.Header{}}, "", err}
	}
	b, err := io.ReadAll(resp.Body)
	return answer{resp, string(b), err}
}

const (
	aliceCookie = "Cookie: __Host-gatehouse=alice"
	aliceBearer = "Authorization: Bearer ours.alice"
)

// do sends method and target with header lines to app.test.
func (g *gate) do(method, target string, headers ...string) answer {
	g.t.Helper()
	head := method + " " + target + " HTTP/1.1\r\n"
	if len(headers) == 0 || !strings.HasPrefix(headers[0], "Host:") {
		head += "Host: app.test\r\n"
	}
	for _, h := range headers {
		head += h + "\r\n"
	}
	return g.raw(head + "\r\n")
}

func (g *gate) get(target string, headers ...string) answer {
	g.t.Helper()
	return g.do("GET", target, headers...)
}

func want(t testing.TB, a answer, status int, code string) {
	t.Helper()
	if a.Response == nil || a.StatusCode != status || a.Header.Get("Gatehouse-Response") != code {
		t.Errorf("got %d %q (%v %v), want %d %q", a.StatusCode, a.Header.Get("Gatehouse-Response"), a.body, a.err, status, code)
	}
}

// lines returns the header lines of a request head as a set.
func lines(head string) map[string]string {
	m := map[string]string{}
	for _, l := range strings.Split(head, "\r\n") {
		if n, v, ok := strings.Cut(l, ": "); ok {
			if old, dup := m[strings.ToLower(n)]; dup {
				v = old + "|" + v
			}
			m[strings.ToLower(n)] = v
		}
	}
	return m
}

// testGroup is the smallest client that shows what it was given.
type testGroup struct{ addr string }

func (testGroup) Start() {}
func (testGroup) Close() {}

type halfCloser struct {
	*net.TCPConn
	r io.Reader
}

func (h halfCloser) Read(p []byte) (int, error) { return h.r.Read(p) }

func (g testGroup) RoundTrip(ctx context.Context, out *outbound) (*http.Response, string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", g.addr)
	if err != nil {
		return nil, g.addr, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	fail := func(err error) (*http.Response, string, error) { _ = c.Close(); stop(); return nil, g.addr, err }
	var b strings.Builder
	host := out.Host
	if host == "" {
		host = g.addr
	}
	b.WriteString(out.Method + " " + out.Target + " HTTP/1.1\r\nHost: " + host + "\r\n")
	_ = out.Header.Write(&b)
	switch {
	case out.Upgrade != "":
		b.WriteString("Connection: Upgrade\r\nUpgrade: websocket\r\n")
	case out.ContentLength < 0:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case out.Body != nil:
		b.WriteString("Content-Length: " + strconv.FormatInt(out.ContentLength, 10) + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c, b.String()); err != nil {
		return fail(err)
	}
	if out.Body != nil {
		data, err := io.ReadAll(out.Body)
		if err != nil {
			return fail(err)
		}
		if out.ContentLength < 0 {
			_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", len(data), data)
		} else {
			_, _ = c.Write(data)
		}
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, &http.Request{Method: out.Method})
	if err != nil {
		return fail(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = struct {
			halfCloser
		}{halfCloser{c.(*net.TCPConn), br}}
	}
	return resp, g.addr, nil
}

func newTestProxy(d Deps) (*Proxy, error) {
	return newProxy(d, func(_ *Proxy, rt *route) (group, error) { return testGroup{rt.cfg.Upstream[0].Host}, nil })
}

// config returns the loaded routes as a configuration to change and reload.
func (g *gate) config() *config.Config {
	c := &config.Config{UI: config.UI{Prefix: "/_auth"}, IdentityHeaders: config.IdentityHeaders{Preset: "x-forwarded"}}
	for _, rt := range g.state.Load().routes {
		c.Routes = append(c.Routes, rt.cfg)
	}
	return c
}
