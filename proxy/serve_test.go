package proxy

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/web"
)

func TestT058_BytesArriveAsJudged(t *testing.T) {
	g := newGate(t, nil, nil)
	for _, target := range []string{"/wiki/C%23?q=%zz;a=1&&x=%2F..", "/@scope%2fname", "/a;v=1", "/proxy/http://x/", "/%F6?", "/a%20b?a=b#c"} {
		want(t, g.get(target, aliceBearer), 200, "")
		if line, _, _ := strings.Cut(g.up.last(), "\r\n"); line != "GET "+target+" HTTP/1.1" {
			t.Errorf("%s arrived as %q", target, line)
		}
	}
	want(t, g.do("HEAD", "/x", aliceBearer), 200, "")
	want(t, g.raw("PROPFIND /x HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\nDepth: 1\r\nIf: (<a>)\r\nRange: bytes=0-1\r\nContent-Length: 2\r\n\r\nhi"), 200, "")
	if l := lines(g.up.last()); l["depth"] != "1" || l["if"] != "(<a>)" || l["range"] != "bytes=0-1" {
		t.Errorf("got %q", l)
	}
}

func TestT033_T034_TargetForms(t *testing.T) {
	g := newGate(t, nil, nil)
	want(t, g.raw("GET http://app.test/abs?q HTTP/1.1\r\nHost: other.test\r\n"+aliceBearer+"\r\n\r\n"), 200, "")
	if s := g.up.last(); !strings.HasPrefix(s, "GET /abs?q HTTP/1.1\r\nHost: app.test\r\n") {
		t.Errorf("the app saw %q", s)
	}
	want(t, g.raw("GET http://app.test HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\n\r\n"), 200, "")
	want(t, g.raw("GET http://u@app.test/ HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\n\r\n"), 400, "bad_path")
	n := g.up.count()
	want(t, g.do("OPTIONS", "*"), 200, "options")
	want(t, g.do("TRACE", "/", aliceBearer), 405, "method_not_allowed")
	want(t, g.do("CONNECT", "app.test:80", aliceBearer), 405, "method_not_allowed")
	want(t, g.get("/?"+strings.Repeat("a", maxQuery+1), aliceBearer), 414, "query_too_long")
	want(t, g.get("/%41"+strings.Repeat("a", maxHardPath), aliceBearer), 414, "path_too_long")
	want(t, g.get("/", "Host: nobody.test", aliceBearer), 421, "unknown_host")
	want(t, g.get("/a/../b", aliceBearer), 400, "bad_path")
	want(t, g.get("/_AUTH/login", aliceBearer), 400, "ambiguous_path")
	want(t, g.get("/_auth/login", aliceBearer), 404, "no_route")
	if g.up.count() != n {
		t.Error("a refused request reached the app")
	}
	for _, s := range []string{"", "a", "*", "ftp://x/", "app.test:80"} {
		if _, _, ok := splitTarget(s); ok {
			t.Errorf("%q is a target", s)
		}
	}
}

func TestChallenge(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		old := c.Routes[0]
		old.Name, old.Host, old.Access = "old", "old.test", config.Access{Kind: config.AccessConditions, MaxAuthAge: time.Hour}
		grp := c.Routes[0]
		grp.Name, grp.Host, grp.Access = "grp", "grp.test", groups("admins")
		lax := c.Routes[0]
		lax.Name, lax.Host, lax.OnStale = "lax", "lax.test", "allow"
		deny := c.Routes[0]
		deny.Name, deny.Host, deny.Access = "deny", "deny.test", config.Access{}
		c.Routes = append(c.Routes, old, grp, lax, deny)
	})
	g.auth.set = []string{"__Host-gatehouse=; Max-Age=0"}
	a := g.get("/deep/link?a=b&c=%2F", "Accept: text/html")
	want(t, a, 303, "login_required")
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || u.Path != "/_auth/login" || u.Query().Get("rd") != "/deep/link?a=b&c=%2F" {
		t.Errorf("sent to %q", a.Header.Get("Location"))
	}
	if a.Header.Get("Set-Cookie") != g.auth.set[0] {
		t.Error("the refusal lost the cookie of the gate")
	}
	a = g.get("/", "Accept: application/json")
	want(t, a, 401, "unauthorized")
	if a.Header.Get("WWW-Authenticate") == "" || a.Header.Get("Set-Cookie") == "" {
		t.Errorf("401 with %v", a.Header)
	}
	a = g.get("/", "Authorization: Bearer ours.expired")
	if want(t, a, 401, "unauthorized"); !strings.Contains(a.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("challenge %q", a.Header.Get("WWW-Authenticate"))
	}
	want(t, g.get("/", aliceCookie, "Authorization: Bearer ours.bob"), 400, "conflicting_credentials") // T14
	for _, who := range []string{"down", "stale", "odd"} {
		a = g.get("/", "Authorization: Bearer ours."+who)
		if want(t, a, 503, "unavailable"); a.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	want(t, g.get("/", "Host: lax.test", "Authorization: Bearer ours.stale"), 200, "")
	if lines(g.up.last())["x-forwarded-user"] != "sub-alice" {
		t.Error("a stale identity that is accepted is not named")
	}
	want(t, g.get("/", "Host: grp.test", "Authorization: Bearer ours.bob"), 403, "forbidden")
	want(t, g.get("/", "Host: grp.test", aliceBearer), 200, "")
	want(t, g.get("/", "Host: deny.test", aliceBearer), 403, "forbidden")
	a = g.get("/", "Host: old.test", aliceCookie, "Accept: text/html")
	if want(t, a, 303, "login_required"); !strings.Contains(a.Header.Get("Location"), "prompt=login") {
		t.Errorf("sent to %q", a.Header.Get("Location"))
	}
	want(t, g.get("/", "Host: old.test", aliceBearer), 401, "login_too_old")
	if a = g.get("/", aliceBearer); a.Header.Get("Set-Cookie") != g.auth.set[0] {
		t.Error("the app's answer lost the cookie of the gate")
	}
}

func TestPublicRoutesTakeEveryRefusalAsAnonymous(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) { c.Routes[0].Access = public() })
	for _, h := range []string{"X-A: 1", "Authorization: Bearer ours.down", "Authorization: Bearer ours.stale", "Authorization: Bearer ours.nobody", "Cookie: __Host-gatehouse=odd", aliceCookie + "\r\nAuthorization: Bearer ours.bob"} {
		want(t, g.get("/", h), 200, "")
		if v, ok := lines(g.up.last())["x-forwarded-user"]; ok {
			t.Errorf("%s: the app saw user %q", h, v)
		}
	}
	want(t, g.get("/", aliceCookie), 200, "")
	if lines(g.up.last())["x-forwarded-user"] != "sub-alice" {
		t.Error("a signed-in visitor of a public route is not named")
	}
	for _, renew := range g.auth.renew {
		if renew {
			t.Error("a public route renewed a session")
		}
	}
}

func TestT072_CrossSiteRequests(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		open := c.Routes[0]
		open.Name, open.Host, open.AllowCrossSite = "open", "open.test", true
		cors := c.Routes[0]
		cors.Name, cors.Host, cors.CORS = "cors", "cors.test", &config.CORS{Origins: []string{"https://friend.test"}, Credentials: true}
		c.Routes = append(c.Routes, open, cors)
	})
	for _, c := range []struct {
		method, host, head string
		status             int
	}{
		{"POST", "app.test", "Sec-Fetch-Site: cross-site", 403}, {"POST", "app.test", "Sec-Fetch-Site: same-site", 403}, {"DELETE", "app.test", "Origin: https://evil.test", 403},
		{"POST", "app.test", "Origin: null", 403}, {"POST", "app.test", "Origin: https://app.test/", 403}, {"POST", "app.test", "Origin: https://app.test?", 403}, {"POST", "app.test", "Origin: https://app.test.evil.test", 403},
		{"POST", "app.test", "Origin: https://app.test@evil.test", 403}, {"POST", "app.test", "Origin: https://app.test:8443", 403}, {"POST", "app.test", "Origin: https://app.test.", 403}, {"POST", "app.test", "Origin: app.test", 403}, {"POST", "app.test", "Origin: ", 403}, {"POST", "app.test", "Origin: http://app.test", 403}, {"POST", "app.test", "Sec-Fetch-Site: odd", 403},
		{"POST", "app.test", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site", 403}, {"POST", "app.test", "Connection: Sec-Fetch-Site\r\nSec-Fetch-Site: cross-site", 403},
		{"POST", "app.test", "Sec-Fetch-Site: same-origin", 200}, {"POST", "app.test", "Sec-Fetch-Site: none", 200}, {"POST", "app.test", "Origin: https://APP.test:443", 200}, {"POST", "app.test", "X-A: 1", 200},
		{"GET", "app.test", "Sec-Fetch-Site: cross-site", 200}, {"POST", "open.test", "Sec-Fetch-Site: cross-site", 200},
		{"POST", "cors.test", "Sec-Fetch-Site: cross-site\r\nOrigin: https://friend.test", 200}, {"POST", "cors.test", "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.test", 403},
	} {
		if a := g.do(c.method, "/", "Host: "+c.host, aliceCookie, c.head); a.StatusCode != c.status {
			t.Errorf("%s %s %q: %d, want %d", c.method, c.host, c.head, a.StatusCode, c.status)
		}
		if a := g.do(c.method, "/", "Host: "+c.host, aliceBearer, c.head); a.StatusCode != 200 {
			t.Errorf("%s %s %q with a bearer token: %d", c.method, c.host, c.head, a.StatusCode)
		}
	}
}

func TestT037_Preflight(t *testing.T) {
	g := newGate(t, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\r\n"), func(c *config.Config) {
		c.Routes[0].CORS = &config.CORS{Origins: []string{"https://friend.test"}, Headers: []string{"X-A"}, Credentials: true, MaxAge: time.Minute}
		own := c.Routes[0]
		own.Name, own.Host, own.CORS = "own", "own.test", nil
		c.Routes = append(c.Routes, own)
	})
	a := g.do("OPTIONS", "/", "Origin: https://friend.test", "Access-Control-Request-Method: PUT")
	want(t, a, 204, "cors_preflight")
	if a.Header.Get("Access-Control-Allow-Origin") != "https://friend.test" || a.Header.Get("Access-Control-Allow-Methods") != "GET, HEAD, POST" || a.Header.Get("Access-Control-Max-Age") != "60" {
		t.Errorf("preflight %v", a.Header)
	}
	if a = g.do("OPTIONS", "/", "Origin: https://evil.test", "Access-Control-Request-Method: PUT"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a stranger got permission")
	}
	if g.up.count() != 0 {
		t.Error("a preflight reached the app")
	}
	want(t, g.do("OPTIONS", "/", "Origin: https://friend.test"), 401, "unauthorized")
	want(t, g.do("OPTIONS", "/", "Host: own.test", "Origin: https://friend.test", "Access-Control-Request-Method: PUT"), 401, "unauthorized")
	if a = g.get("/", aliceBearer, "Origin: https://evil.test"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("the app's own mark survived on a route that makes them")
	}
	if a = g.get("/", aliceBearer, "Origin: https://friend.test"); a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("marked %v", a.Header)
	}
}

// A link from another site still opens the app of somebody whose access cookie
// has just run out; a form of another site renews nothing.
func TestRenewal(t *testing.T) {
	g := newGate(t, nil, nil)
	g.get("/", aliceCookie, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
	g.do("POST", "/", aliceCookie, "Sec-Fetch-Site: cross-site")
	g.do("POST", "/", aliceCookie, "Sec-Fetch-Site: same-origin")
	g.get("/", aliceCookie, "Origin: https://sibling.app.test", "Connection: Upgrade", "Upgrade: websocket")
	if got := g.auth.renew; len(got) != 4 || !got[0] || got[1] || !got[2] || got[3] {
		t.Errorf("renewals allowed: %v", got)
	}
}

// The cookies of a renewal ride on whatever the browser asked for, a picture
// that everybody may keep included.
func TestT144_ARenewalIsNeverCached(t *testing.T) {
	g := newGate(t, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: public, max-age=31536000\r\n\r\n"), nil)
	if a := g.get("/logo.png", aliceCookie); a.Header.Get("Cache-Control") != "public, max-age=31536000" {
		t.Errorf("the app's word was changed: %v", a.Header)
	}
	g.auth.set = []string{"__Host-gatehouse=new"}
	if a := g.get("/logo.png", aliceCookie); len(a.Header["Cache-Control"]) != 1 || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Set-Cookie") != g.auth.set[0] {
		t.Errorf("a renewal with %v", a.Header)
	}
}

func TestNoContentTypeIsInvented(t *testing.T) {
	g := newGate(t, say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), nil)
	if a := g.get("/", aliceBearer); a.Header.Get("Content-Type") != "" || a.body != "<html>" {
		t.Errorf("%v %q", a.Header, a.body)
	}
}

func TestT059_Loop(t *testing.T) {
	g := newGate(t, nil, nil)
	want(t, g.get("/", aliceBearer, "Via: 1.1 a, 1.1 "+g.via.id), 508, "loop_detected")
}

func TestT062_T064_T144_ResponseHeaders(t *testing.T) {
	g := newGate(t, say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Hop\r\nX-Hop: 1\r\nStrict-Transport-Security: max-age=0\r\nGatehouse-Response: fake\r\n"+
		"Set-Cookie: app=1; Path=/\r\nSet-Cookie: __Host-gatehouse=x\r\nSet-Cookie: __HOST-Gatehouse-Refresh=; Max-Age=0\r\nSet-Cookie: gatehouse=1\r\nSet-Cookie: __Secure-gatehouse=1\r\nSet-Cookie: __Host-Http-gatehouse=1\r\nSet-Cookie: =__Host-gatehouse=1\r\nSet-Cookie:  __Host-gatehouse =1\r\n"+
		"Clear-Site-Data: \"cookies\", \"cache\"\r\nX-App: 1\r\n\r\n"), func(c *config.Config) { c.Routes[0].SetResponseHeaders = map[string]string{"X-Frame-Options": "DENY"} })
	a := g.get("/", aliceBearer)
	if c := a.Header["Set-Cookie"]; len(c) != 1 || c[0] != "app=1; Path=/" {
		t.Errorf("cookies %q", c)
	}
	for name, v := range map[string]string{"Gatehouse-Response": "", "Strict-Transport-Security": "", "X-Hop": "", "Clear-Site-Data": `"cache"`, "X-App": "1", "X-Frame-Options": "DENY", "Cache-Control": "private"} {
		if a.Header.Get(name) != v {
			t.Errorf("%s: %q, want %q", name, a.Header.Get(name), v)
		}
	}
	if got := keepCookies([]string{`"*"`}); len(got) != 1 || strings.Contains(got[0], "cookies") || !strings.Contains(got[0], "storage") {
		t.Errorf(`"*" became %q`, got)
	}
	if keepCookies([]string{`"cookies"`}) != nil {
		t.Error("cookies alone left something")
	}
}

func TestRewrite(t *testing.T) {
	rt := &route{prefix: "/app", cfg: config.Route{StripPrefix: true, HostHeader: "preserve", Upstream: config.Upstreams{{Scheme: "http", Host: "127.0.0.1:9000"}}}}
	o := outside{rt, "w.test:8443", "https"}
	for in, out := range map[string]string{
		"/x": "/app/x", "x": "x", "//cdn.test/x": "//cdn.test/x", "http://127.0.0.1:9000/x?y": "https://w.test:8443/app/x?y", "http://127.0.0.1:9000": "https://w.test:8443/app/",
		"http://w.test/x": "https://w.test:8443/app/x", "http://w.test:8443/x": "https://w.test:8443/app/x", "https://w.test/x": "https://w.test/x", "https://other.test/x": "https://other.test/x", "mailto:x@y": "mailto:x@y",
	} {
		if got := o.address(in); got != out {
			t.Errorf("%q: %q, want %q", in, got, out)
		}
	}
	h := http.Header{"Location": {"/x"}, "Content-Location": {"/y"}, "Refresh": {"5; url='/z'"}, "Set-Cookie": {"a=1; Path=/; Domain=127.0.0.1; Secure", "b=2; path=/q; domain=w.test", "c"}}
	o.rewrite(h)
	if h.Get("Location") != "/app/x" || h.Get("Content-Location") != "/app/y" || h.Get("Refresh") != "5; url='/app/z'" ||
		h["Set-Cookie"][0] != "a=1; Path=/app/; Secure" || h["Set-Cookie"][1] != "b=2; Path=/app/q; domain=w.test" || h["Set-Cookie"][2] != "c" {
		t.Errorf("got %q", h)
	}
}

func TestT028_StripPrefixAndDestination(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		r := &c.Routes[0]
		r.Path, r.StripPrefix = "/dav", true
		r.Rules = []config.Rule{{Path: "/dav/secret", Access: groups("nobody")}}
	})
	for in, out := range map[string]string{"/dav": "/", "/dav/": "/", "/dav/a%2fb?c": "/a%2fb?c", "/dav?x": "/?x"} {
		want(t, g.get(in, aliceBearer), 200, "")
		if line, _, _ := strings.Cut(g.up.last(), "\r\n"); line != "GET "+out+" HTTP/1.1" {
			t.Errorf("%s arrived as %q", in, line)
		}
	}
	if lines(g.up.last())["x-forwarded-prefix"] != "/dav" {
		t.Error("no X-Forwarded-Prefix")
	}
	for dest, status := range map[string]int{"https://app.test/dav/new": 200, "/dav/new": 200, "https://app.test/dav/secret/x": 403, "https://other.test/dav/x": 502, "https://app.test/x": 502, "https://app.test/dav/../x": 400, "ftp://app.test/dav/x": 502} {
		a := g.do("MOVE", "/dav/old", aliceBearer, "Destination: "+dest)
		if a.StatusCode != status {
			t.Errorf("%s: %d, want %d", dest, a.StatusCode, status)
		}
		if status == 200 && lines(g.up.last())["destination"] != "http://app.test/new" {
			t.Errorf("%s arrived as %q", dest, lines(g.up.last())["destination"])
		}
	}
}

func TestHostHeaderModes(t *testing.T) {
	for mode, wantHost := range map[string]string{"preserve": "app.test", "upstream": "UP", "literal.test": "literal.test"} {
		g := newGate(t, nil, func(c *config.Config) { c.Routes[0].HostHeader = mode })
		g.get("/", aliceBearer)
		if wantHost == "UP" {
			wantHost = g.up.Addr().String()
		}
		if got := lines(g.up.last()); got["host"] != wantHost || got["x-forwarded-host"] != "app.test" {
			t.Errorf("%s: host %q", mode, got["host"])
		}
	}
}

func TestT056_TruncationIsVisible(t *testing.T) {
	g := newGate(t, func(_ string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		_ = c.Close()
	}, nil)
	if a := g.get("/", aliceBearer); a.err == nil {
		t.Errorf("a truncated answer looked whole: %q", a.body)
	}
	g = newGate(t, func(_ string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		_ = c.Close()
	}, nil)
	if a := g.get("/", aliceBearer); a.err == nil {
		t.Errorf("a truncated chunked answer looked whole: %q", a.body)
	}
}

func TestT127_BodyLimits(t *testing.T) {
	n := 1
	g := newGate(t, nil, func(c *config.Config) { c.Routes[0].MaxBody, c.Routes[0].MaxInFlight = 4, &n })
	want(t, g.raw("POST / HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\nContent-Length: 4\r\n\r\nabcd"), 200, "")
	want(t, g.do("POST", "/", aliceBearer, "Content-Length: 5"), 413, "body_too_large")
	before := g.up.count()
	want(t, g.raw("POST / HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"), 413, "body_too_large")
	want(t, g.raw("POST / HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400, "bad_body") // T45
	if g.up.count() != before {
		t.Error("the app saw a refused body as complete")
	}
	g.state.Load().routes[0].inFlight.Add(1)
	want(t, g.get("/", aliceBearer), 503, "route_busy")
}

func TestRequestLimits(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Limits.RequestsIP, c.Limits.RequestsUser = config.Rate{Count: 3, Per: time.Hour}, config.Rate{Count: 1, Per: time.Hour}
	})
	want(t, g.get("/", aliceBearer), 200, "")
	a := g.get("/", aliceBearer)
	if want(t, a, 429, "rate_limited"); a.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	want(t, g.get("/", "Authorization: Bearer ours.bob"), 200, "")
	want(t, g.get("/", "Authorization: Bearer ours.bob"), 429, "rate_limited")
}

func TestFailuresShowNothing(t *testing.T) {
	g := newGate(t, nil, nil)
	_ = g.up.Close()
	a := g.get("/", aliceBearer)
	if a.StatusCode != 502 && a.StatusCode != 503 || strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "refused") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestT039_Verify(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Routes[0].Rules = []config.Rule{{Path: "/admin", Access: groups("nobody")}, {Path: "/read", Methods: []string{"GET"}, Access: public()}}
	})
	trusted := true
	g.rec = func(r *web.Record) { r.PeerTrusted = trusted }
	v := "/_auth/verify"
	a := g.get(v, "Host: gw.test", "X-Forwarded-Host: app.test", "X-Forwarded-Uri: /x?y", "X-Forwarded-Method: GET", "X-Forwarded-Proto: https", aliceCookie)
	if want(t, a, 200, "verified"); a.Header.Get("X-Forwarded-User") != "sub-alice" {
		t.Errorf("verified with %v", a.Header)
	}
	a = g.get(v, "X-Original-URL: https://app.test/deep?a", "X-Original-Method: GET", "Accept: text/html")
	if want(t, a, 302, "login_required"); a.Header.Get("Location") != "https://app.test/_auth/login?rd=%2Fdeep%3Fa" {
		t.Errorf("sent to %q", a.Header.Get("Location"))
	}
	want(t, g.get(v, "X-Forwarded-Uri: /"), 401, "unauthorized")
	want(t, g.get(v, "X-Forwarded-Uri: /read"), 400, "bad_target") // a proxy that hides a POST
	want(t, g.get(v, "X-Original-URL: https://app.test/read"), 400, "bad_target")
	want(t, g.get(v, "X-Forwarded-Uri: /read", "X-Forwarded-Method: HEAD"), 200, "verified")
	want(t, g.get(v, "X-Forwarded-Uri: /read", "X-Forwarded-Method: POST"), 401, "unauthorized")
	want(t, g.get(v, "X-Forwarded-Uri: /admin/x", aliceCookie), 403, "forbidden")
	want(t, g.get(v, "X-Forwarded-Uri: /%61dmin/x", aliceCookie), 400, "ambiguous_path")
	want(t, g.get(v, "X-Forwarded-Uri: /", "X-Original-URL: /", aliceCookie), 400, "bad_target")
	want(t, g.get(v, "X-Forwarded-Uri: /", "X-Forwarded-Uri: /admin", aliceCookie), 400, "bad_target")
	want(t, g.get(v, "X-Forwarded-Uri: /", "X-Forwarded-Host: nobody.test", aliceCookie), 421, "unknown_host")
	want(t, g.get(v, "X-Forwarded-Uri: /", "X-Forwarded-Method: POST", "Sec-Fetch-Site: cross-site", aliceCookie), 403, "cross_site")
	want(t, g.get(v, "Authorization: Bearer ours.down"), 503, "unavailable")
	trusted = false // T39: from anybody else it is the caller's own "/"
	want(t, g.get(v, "X-Forwarded-Uri: /admin/x", "X-Forwarded-Host: nobody.test", aliceCookie), 200, "verified")
	for _, renew := range g.auth.renew {
		if renew {
			t.Error("verify spent a refresh token")
		}
	}
}

func TestExplain(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Routes[0].Rules = []config.Rule{{Path: "/admin", Methods: []string{"GET"}, Access: groups("admins")}, {Path: "/no", Access: groups("x")}}
	})
	e, err := NewExplainer(g.config(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	alice, addr := g.auth.users["alice"], netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		url     string
		id      *identity.Identity
		verdict string
		status  int
	}{
		{"https://app.test/admin/x?y", alice, "allow", 0}, {"https://app.test/no", alice, "forbid", 403}, {"https://app.test/", nil, "challenge", 401},
		{"https://app.test/%61dmin", alice, "refused", 400}, {"https://nobody.test/", alice, "refused", 421}, {"https://app.test/_auth/login", alice, "refused", 404},
	} {
		got, err := e.Explain("GET", c.url, c.id, addr)
		if err != nil || got.Verdict != c.verdict || got.Status != c.status {
			t.Errorf("%s: %+v %v", c.url, got, err)
		}
		if c.status == 0 && (got.Target != "/admin/x?y" || got.Headers.Get("X-Forwarded-User") != "sub-alice" || !got.Rules[1].Selected || got.Rules[0].Selected) {
			t.Errorf("%s: %+v", c.url, got)
		}
	}
	if _, err := e.Explain("GET", "/x", nil, addr); err == nil {
		t.Error("a path alone was explained")
	}
}

func TestT140_ReloadIsWholeOrNothing(t *testing.T) {
	g := newGate(t, nil, nil)
	before := g.state.Load()
	cfg := g.config()
	cfg.Routes = append(cfg.Routes, cfg.Routes[0])
	if err := g.Load(cfg); err == nil || g.state.Load() != before {
		t.Fatal("a bad configuration was taken")
	}
	cfg = g.config()
	cfg.Routes[0].Access = public()
	if err := g.Load(cfg); err != nil {
		t.Fatal(err)
	}
	if g.state.Load().routes[0].backend != before.routes[0].backend {
		t.Error("an unchanged upstream was replaced")
	}
	want(t, g.get("/"), 200, "")
	if !g.KnownHost("app.test") || g.KnownHost("x.test") {
		t.Error("hosts are wrong")
	}
}
