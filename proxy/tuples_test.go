package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/internal/gatetest"
	"gatehouse/web"

	"github.com/prometheus/client_golang/prometheus"
)

// hostileConfig has public islands in guarded routes and guarded islands in
// public ones, on exact and wildcard hosts.
func hostileConfig() *config.Config {
	lan := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	cfg := &config.Config{UI: config.UI{Prefix: "/_auth"}, IdentityHeaders: config.IdentityHeaders{Preset: "x-forwarded"}, Routes: []config.Route{
		{Name: "root", Host: "app.test", Path: "/", Access: signedIn(), Rules: []config.Rule{
			{Path: "/public", Access: public()},
			{Path: "/public/inner", Access: groups("admins")},
			{Path: "/api", Methods: []string{"GET"}, Access: public()},
			{Path: "/api", Methods: []string{"POST", "PUT"}, Access: groups("writers")},
			{Path: "/api", Access: groups("readers")},
			{Path: "/api/deep", Methods: []string{"DELETE"}, Access: public()},
			{Path: "/caf\u00e9", Access: public()},
			{Path: "/kelvin/s", Access: public()},
		}},
		{Name: "sub", Host: "app.test", Path: "/sub", Access: public(), Rules: []config.Rule{{Path: "/sub/admin", Access: config.Access{}}}},
		{Name: "open", Host: "open.test", Path: "/", Access: public(), Rules: []config.Rule{
			{Path: "/admin", Access: groups("admins")},
			{Path: "/secret/caf\u00e9", Access: config.Access{Kind: config.AccessConditions, Users: []string{"alice@example.com"}, MaxAuthAge: time.Hour}},
			{Path: "/lan", Access: config.Access{Kind: config.AccessConditions, Networks: lan, EmailDomains: []string{"example.com"}}},
		}},
		{Name: "wild", Host: "*.wild.test", Path: "/", Access: public(), Rules: []config.Rule{{Path: "/admin", Access: signedIn()}}},
		{Name: "one", Host: "one.wild.test", Path: "/admin", Access: groups("admins"), OnStale: "allow"},
		{Name: "strip", Host: "strip.test", Path: "/dav", Access: public(), StripPrefix: true, Rules: []config.Rule{{Path: "/dav/secret", Access: groups("admins")}}},
	}}
	for i := range cfg.Routes {
		cfg.Routes[i].HostHeader = "preserve"
		cfg.Routes[i].Upstream = config.Upstreams{{Raw: "http://127.0.0.1:1", Scheme: "http", Host: "127.0.0.1:1"}}
		cfg.Routes[i].Timeout = config.RouteTimeout{Connect: time.Second, ResponseHeader: time.Minute, Idle: time.Minute}
	}
	return cfg
}

// hostile makes paths from the words of hostileConfig, written in the ways
// that have fooled gateways.
type hostile struct{ *rand.Rand }

func pick[T any](h hostile, of ...T) T { return of[h.IntN(len(of))] }

func (h hostile) host() string {
	name := pick(h, "app.test", "app.test", "open.test", "open.test", "strip.test", "a.wild.test", "one.wild.test", "a.b.wild.test", "wild.test", "nobody.test", "")
	switch h.IntN(12) {
	case 0:
		name = strings.ToUpper(name)
	case 1:
		name += pick(h, ".", ":8443", ".:443", ":", ":x", ":123456", "..", "@evil.test", "/x", " ", "\u00fc")
	case 2:
		name = pick(h, "u@", ".", "[::1]", "evil.test:80@") + name
	}
	return name
}

func (h hostile) path() string {
	var b strings.Builder
	for range 1 + h.IntN(4) {
		b.WriteString(h.separator())
		if h.IntN(12) == 0 {
			b.WriteString(h.dots())
			continue
		}
		for _, c := range []byte(pick(h, "public", "inner", "api", "deep", "admin", "secret", "caf\u00e9", "caf%C3%A9", "kelvin", "s", "sub", "dav", "lan", "_auth", "login", "x", "")) {
			h.letter(&b, c)
		}
		if h.IntN(8) == 0 {
			b.WriteString(h.tail())
		}
	}
	if h.IntN(6) == 0 {
		b.WriteString(h.separator())
	}
	return b.String()
}

func (h hostile) separator() string {
	if h.IntN(5) > 0 {
		return "/"
	}
	return pick(h, "//", "/", "%2f", "%2F", "%252f", "%25252f", "%5c", "%255c", `\`, "/%2f", "%2f/", "///", ";/", "/;/", "")
}

func (h hostile) dots() string {
	return pick(h, ".", "..", "...", "%2e", "%2e%2e", ".%2E", "%252e%252e", "%25252e.", "..;", "..;a=b", "..%3b", "..%3bx", "%c0%ae%c0%ae", "..%00", ". .", "..%20", "..x", ".well-known", "..?", "..%3f", "..%23", "x%3f..", "x%23..", "x;..", ";..")
}

func (h hostile) tail() string {
	return pick(h, ";", ";a=1", ";a/b", "%3b", "%3ba=1", "%253b", "?", "%3f", "%3fx", "%23", "%23x", "%23/x", "%3f/x", "%2523", "%253f", "#", "%00", "%0d%0a", "%09", "%", "%z", "%zz", "%2", "%25", "%2525", "%u002f", "\x01", "\x7f", " ", "+", "\xff", "%ff", "%e2%84%aa", "\u212a", "%c0%af", "%e0%80%af", "~", "%41", "*", "@", ",", "&", "=", ":")
}

// letter writes c as it is, or in another spelling of it.
func (h hostile) letter(b *strings.Builder, c byte) {
	switch h.IntN(40) {
	case 0:
		_, _ = fmt.Fprintf(b, "%%%02x", c)
	case 1:
		_, _ = fmt.Fprintf(b, "%%%02X", c)
	case 2:
		_, _ = fmt.Fprintf(b, "%%25%02x", c)
	case 3:
		_, _ = fmt.Fprintf(b, "%%25%%32%%35%02x", c)
	case 4:
		b.WriteString(strings.ToUpper(string([]byte{c})))
	case 5:
		b.WriteString(map[byte]string{'k': "\u212a", 's': "\u017f", 'i': "\u0130"}[c])
	default:
		b.WriteByte(c)
	}
}

func (h hostile) method() string {
	return pick(h, "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "FOO", "get", "Get", "post", "CONNECT", "TRACE")
}

// sink is an upstream in memory: it keeps what it was asked.
type sink struct {
	mu  sync.Mutex
	got *outbound
}

func (*sink) Start() {}
func (*sink) Close() {}

func (s *sink) RoundTrip(_ context.Context, out *outbound) (*http.Response, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = out
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, "sink", nil
}

func (s *sink) take() *outbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.got
	s.got = nil
	return out
}

func sinkProxy(t testing.TB, cfg *config.Config, auth Authenticator) (*Proxy, *sink) {
	t.Helper()
	ui, err := web.New(web.Options{Prefix: "/_auth", Title: "Sign in"})
	if err != nil {
		t.Fatal(err)
	}
	up := &sink{}
	p, err := newProxy(Deps{Config: cfg, Auth: auth, Assert: fakeAsserter{}, UI: ui, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()},
		func(*Proxy, *route) (group, error) { return up, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, up
}

// tupleCaller is a credential and what authentication makes of it.
type tupleCaller struct {
	headers []string
	as      refCaller
	cookie  bool
}

func tupleCallers(f *fakeAuth) []tupleCaller {
	lan, far := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("203.0.113.9")
	alice, bob := f.users["alice"], f.users["bob"]
	bearer := func(who string) string { return "Authorization: Bearer ours." + who }
	return []tupleCaller{
		{nil, refCaller{nil, identity.ErrNone, far}, false},
		{[]string{"Authorization: Basic Zm9v"}, refCaller{nil, identity.ErrNone, lan}, false},
		{[]string{aliceCookie}, refCaller{alice, nil, lan}, true},
		{[]string{bearer("alice")}, refCaller{alice, nil, far}, false},
		{[]string{aliceCookie, bearer("alice")}, refCaller{alice, nil, far}, false},
		{[]string{bearer("bob")}, refCaller{bob, nil, lan}, false},
		{[]string{bearer("nobody")}, refCaller{nil, identity.ErrRejected, lan}, false},
		{[]string{bearer("stale")}, refCaller{alice, identity.ErrStale, lan}, false},
		{[]string{bearer("down")}, refCaller{nil, identity.ErrUnavailable, lan}, false},
		{[]string{bearer("odd")}, refCaller{nil, identity.ErrUnavailable, lan}, false},
		{[]string{aliceCookie, bearer("bob")}, refCaller{nil, identity.ErrConflict, lan}, false},
	}
}

// status is what the reference says a client is answered.
func (m reference) status(o refOutcome, method string, c tupleCaller, crossSite bool, now time.Time) int {
	switch {
	case method == "CONNECT" || method == "TRACE":
		return 405
	case o.refusal == refHost:
		return 421
	case o.refusal == refNone:
		return 404
	case o.refusal != "":
		return 400
	}
	switch m.verdict(o, c.as, now) {
	case Challenge:
		if c.as.err == identity.ErrConflict { //nolint:errorlint // the test's own bare value
			return 400
		}
		return 401
	case Forbid:
		return 403
	case Unavailable:
		return 503
	}
	if safe := method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PROPFIND"; c.cookie && crossSite && !safe {
		return 403
	}
	return 200
}

// TestT023_T024_T025_T026_T027_T028_T029_T031_T035_T036_T040_T072_EveryTupleAsTheReferenceSays
// holds the whole way of a request against the reference: what the client is
// answered, whether the app was asked, and for which bytes.
func TestT023_T024_T025_T026_T027_T028_T029_T031_T035_T036_T040_T072_EveryTupleAsTheReferenceSays(t *testing.T) {
	t.Parallel()
	workers, total := runtime.GOMAXPROCS(0), gatetest.Scale(8_000, 1_000_000)
	var group sync.WaitGroup
	counts := make([]map[int]int, workers)
	for w := range workers {
		group.Go(func() { counts[w] = runTuples(t, uint64(w), total/workers) })
	}
	group.Wait()
	all := map[int]int{}
	for _, c := range counts {
		for status, n := range c {
			all[status] += n
		}
	}
	t.Logf("%d tuples, answers by status: %v", total, all)
	for _, status := range []int{200, 400, 401, 403, 404, 405, 421, 503} {
		if all[status] == 0 {
			t.Errorf("no tuple was answered %d: the generator has lost its bite", status)
		}
	}
}

func runTuples(t *testing.T, seed uint64, n int) map[int]int {
	auth := &fakeAuth{users: testUsers(), errs: map[string]error{"down": identity.ErrUnavailable, "stale": identity.ErrStale, "odd": fmt.Errorf("odd")}}
	cfg := hostileConfig()
	p, up := sinkProxy(t, cfg, auth)
	model, callers, h := reference{cfg}, tupleCallers(auth), hostile{rand.New(rand.NewPCG(5, seed))}
	counts := map[int]int{}
	for range n {
		auth.renew = nil
		host, path, method, c, crossSite := h.host(), h.path(), h.method(), pick(h, callers...), h.IntN(4) == 0
		target := path + pick(h, "", "", "?q=1", "?a=/../admin&b=%00;#x", "?"+strings.Repeat("p&", 40))
		path, _, _ = strings.Cut(path, "?") // the generator's own question marks begin a query
		if path != "" && path[0] == '/' && h.IntN(20) == 0 {
			target = pick(h, "http://", "HTTPS://") + host + target
		}
		r := &http.Request{Method: method, Host: host, RequestURI: target, URL: &url.URL{Path: "/"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody}
		for _, l := range c.headers {
			name, v, _ := strings.Cut(l, ": ")
			r.Header.Add(name, v)
		}
		if crossSite {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		w := httptest.NewRecorder()
		rec := &web.Record{ID: "r", Client: c.as.client, Secure: true}
		p.ServeHTTP(recorder{w, rec}, r)
		asked := up.take()
		o := model.match(host, path, method)
		want := model.status(o, method, c, crossSite, time.Now())
		if o.refusal == "" && want == 200 && cfg.Routes[o.route].StripPrefix {
			want = stripped(model, cfg, o, host, path, method, want)
		}
		counts[w.Code]++
		if w.Code != want && !(method == "CONNECT" || method == "TRACE") || (asked != nil) != (want == 200) {
			t.Errorf("%s %q for host %q as %q, cross-site %v: %d (app asked: %v), the reference says %d (%v)", method, target, host, c.headers, crossSite, w.Code, asked != nil, want, o)
			return counts
		}
		if want != 405 && o.refusal == "" && rec.Route != cfg.Routes[o.route].Name {
			t.Errorf("%s %q for host %q: route %q, the reference says %v", method, target, host, rec.Route, o)
			return counts
		}
		if asked != nil && !forwardsWhatWasJudged(cfg, o, asked, target) {
			t.Errorf("%s %q for host %q: the app was asked for %q", method, target, host, asked.Target)
			return counts
		}
	}
	return counts
}

// stripped is the second look at a path that loses its prefix: what is left
// has to select the same rule behind the prefix as it is written.
func stripped(m reference, cfg *config.Config, o refOutcome, host, path, method string, status int) int {
	prefix := cfg.Routes[o.route].Path
	rest := strings.TrimPrefix(path, prefix)
	if rest == "" || rest == path {
		return status
	}
	if m.match(host, prefix+rest, method) != o {
		return 400
	}
	return status
}

// forwardsWhatWasJudged compares bytes: the target as sent, less the authority
// and a prefix to strip.
func forwardsWhatWasJudged(cfg *config.Config, o refOutcome, out *outbound, target string) bool {
	if _, rest, ok := strings.Cut(target, "://"); ok && target[0] != '/' {
		target = rest[strings.IndexByte(rest, '/'):]
	}
	if rt := cfg.Routes[o.route]; rt.StripPrefix {
		rest := target[len(rt.Path):]
		if !strings.HasPrefix(rest, "/") {
			rest = "/" + rest
		}
		target = rest
	}
	return out.Target == target && !slices.Contains([]string{"CONNECT", "TRACE"}, out.Method)
}
