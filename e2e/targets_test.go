package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// pathGate is a gate with pathRoutes and a user.
func pathGate(t *testing.T) (*gatetest.Gate, *gatetest.Upstream, string) {
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, pathRoutes(up.URL()))
	g.AddUser("ann@example.com", password, "staff")
	return g, up, gatetest.Bearer(g.Client("guarded.test", false).Login("ann@example.com", password).AccessToken)
}

func TestT030_OneSpellingOfAHost(t *testing.T) {
	t.Parallel()
	g, up, auth := pathGate(t)
	ask := func(host string) int {
		return g.Wire("guarded.test").Ask("GET /x HTTP/1.1\r\nHost: " + host + "\r\n" + auth + "\r\n\r\n").StatusCode
	}
	for _, host := range []string{"guarded.test", "GUARDED.test", "guarded.test.", "guarded.test:443", "guarded.test:8443", "Guarded.Test.:1"} {
		if got := ask(host); got != 200 {
			t.Errorf("Host %q: %d", host, got)
		}
	}
	up.Forget()
	for _, host := range []string{"nobody.test", "guarded.test.evil.test", "xguarded.test", "guarded", "guarded.test..", ".guarded.test", "guarded.test@nobody.test", "nobody.test@guarded.test", "u:p@guarded.test",
		"guarded.test:x", "guarded.test:80:80", "guarded.test/x", "guarded.test, open.test", "guarded test", "[::1]", "127.0.0.1", "b\u00fccher.test", "xn--guarded.test", "guarded\u3002test", "", "a.b.wild.test", "wild.test"} {
		if got := ask(host); got != 421 && got != 400 {
			t.Errorf("Host %q: %d", host, got)
		}
	}
	for _, lines := range []string{"Host: guarded.test\r\nHost: open.test\r\n", "Host: guarded.test\r\nHost: guarded.test\r\n", ""} {
		if a := g.Wire("guarded.test").Ask("GET /x HTTP/1.1\r\n" + lines + auth + "\r\n\r\n"); a.StatusCode != 400 {
			t.Errorf("%q: %d", lines, a.StatusCode)
		}
	}
	if n := up.Forget(); n != 0 {
		t.Errorf("the app saw %d requests for unknown hosts", n)
	}
	// The exact host's rule holds, not the wildcard's.
	if a := g.Wire("one.wild.test").Ask("GET / HTTP/1.1\r\nHost: ONE.wild.test.\r\n\r\n"); a.StatusCode != 401 {
		t.Errorf("the wildcard opened an exact host: %d", a.StatusCode)
	}
	if a := g.Wire("two.wild.test").Ask("GET / HTTP/1.1\r\nHost: two.wild.test\r\n\r\n"); a.StatusCode != 200 {
		t.Errorf("the wildcard: %d", a.StatusCode)
	}
}

func TestT033_OneHostForRoutingAndForwarding(t *testing.T) {
	t.Parallel()
	g, up, _ := pathGate(t)
	// An absolute target counts, Host beside it does not (RFC 9112 section 3.2.2).
	for _, c := range []struct {
		target, host string
		status       int
		line         string
	}{
		{"https://open.test/a?q", "open.test", 200, "GET /a?q"},
		{"https://open.test", "open.test", 200, "GET /"},
		{"https://open.test?q", "open.test", 200, "GET /?q"},
		{"http://open.test/a", "guarded.test", 200, "GET /a"},
		{"https://guarded.test/x", "open.test", 401, ""},
		{"https://guarded.test/admin", "open.test", 401, ""},
		{"https://open.test/admin", "guarded.test", 401, ""},
		{"https://nobody.test/", "open.test", 421, ""},
		{"https://u@open.test/", "open.test", 400, ""},
		{"https://guarded.test@open.test/", "open.test", 400, ""},
		{"https://open.test\\@guarded.test/", "open.test", 400, ""},
		{"https://open.test#@guarded.test/", "open.test", 400, ""},
		{"https:open.test/", "open.test", 400, ""},
		{"https:/open.test/", "open.test", 400, ""},
		{"https:///x", "open.test", 0, ""},
		{"ftp://open.test/", "open.test", 400, ""},
		{"https://open.test/admin/../x", "open.test", 400, ""},
		{"https://open.test//admin", "open.test", 400, ""},
	} {
		up.Forget()
		a := g.Wire("open.test").Ask("GET " + c.target + " HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n")
		if c.status != 0 && a.StatusCode != c.status {
			t.Errorf("%s with Host %s: %d, want %d", c.target, c.host, a.StatusCode, c.status)
		}
		if seen := up.Last(); (seen != "") != (a.StatusCode == 200) || seen != "" && !strings.HasPrefix(seen, c.line+" HTTP/1.1\r\nHost: open.test\r\n") && c.status != 0 {
			t.Errorf("%s with Host %s: the app saw %q", c.target, c.host, seen)
		}
	}
	// HTTP/2: a host field beside :authority changes nothing.
	for _, c := range []struct {
		authority, host string
		status          int
	}{{"guarded.test", "open.test", 401}, {"open.test", "guarded.test", 200}, {"open.test:443", "guarded.test", 200}, {"u@open.test", "open.test", 400}, {"open.test/x", "open.test", 400}, {"", "open.test", 200}, {"nobody.test", "open.test", 421}} {
		up.Forget()
		fields := []string{":method", "GET", ":scheme", "https", ":path", "/x", ":authority", c.authority, "host", c.host}
		if c.authority == "" {
			fields = slices.Delete(fields, 6, 8)
		}
		status, err := g.AskHTTP2("open.test", fields...)
		if seen := up.Last(); err != nil || status != c.status || seen != "" && (status != 200 || !strings.Contains(seen, "\r\nHost: open.test")) {
			t.Errorf(":authority %q with host %q: %d %v, want %d; the app saw %q", c.authority, c.host, status, err, c.status, seen)
		}
	}
}

func TestT034_TargetsThatAreNoPath(t *testing.T) {
	t.Parallel()
	g, up, auth := pathGate(t)
	for _, c := range []struct {
		method, target string
		status         int
	}{
		{"GET", "*", 400}, {"GET", "admin", 400}, {"GET", "open.test:443", 400}, {"GET", "?x", 400}, {"GET", "", 400}, {"GET", "%2f", 400}, {"POST", "*", 400}, {"DELETE", "x/../y", 400},
		{"OPTIONS", "*", 200}, {"OPTIONS", "x", 400}, {"CONNECT", "open.test:443", 405}, {"CONNECT", "/x", 405}, {"TRACE", "/x", 405},
	} {
		a := g.Wire("open.test").Ask(c.method + " " + c.target + " HTTP/1.1\r\nHost: open.test\r\n" + auth + "\r\n\r\n")
		if a.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.target, a.StatusCode, c.status)
		}
	}
	if n := up.Forget(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
}

func TestT035_T041_T032_BytesPassAsSent(t *testing.T) {
	t.Parallel()
	g, up, auth := pathGate(t)
	many := "/x?" + strings.Repeat("a&", 4000)
	for _, target := range []string{"/caf\xe9", "/x/\xff\xfe", "/x/caf\u00e9", "/x?a;b=c;d", "/x?%zz&=&&", "/x?a=%00%2e%2e/", "/x?" + "\xe9", many, "/x?path=/admin&next=//evil.test", "/x??a", "/x?#", "/x/%20%E2%82%AC", "/x/~!$&'()*+,=:@"} {
		a := g.Wire("guarded.test").Ask("GET " + target + " HTTP/1.1\r\nHost: guarded.test\r\n" + auth + "\r\n\r\n")
		if line, _, _ := strings.Cut(a.Text, "\r\n"); a.StatusCode != 200 || line != "GET "+target+" HTTP/1.1" {
			t.Errorf("%.60q: %d, arrived as %.60q", target, a.StatusCode, line)
		}
	}
	// A query neither opens nor closes anything.
	for target, status := range map[string]int{"/x?/static/": 401, "/x?a=/static/../static": 401, "/static/a?/inner": 200, "/static?../x": 200, "/static/a?%2e%2e/": 200} {
		if a := g.Wire("guarded.test").Ask("GET " + target + " HTTP/1.1\r\nHost: guarded.test\r\n\r\n"); a.StatusCode != status {
			t.Errorf("%s: %d, want %d", target, a.StatusCode, status)
		}
	}
	up.Forget()
	if a := g.Wire("guarded.test").Ask("GET /x?" + strings.Repeat("a", 8<<10+1) + " HTTP/1.1\r\nHost: guarded.test\r\n" + auth + "\r\n\r\n"); a.StatusCode != 414 || up.Forget() != 0 {
		t.Errorf("a query over 8 KiB: %d", a.StatusCode)
	}
}

func TestT036_T037_MethodsAndPreflights(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, pathRoutes(up.URL())+fmt.Sprintf("  - {name: cors, host: cors.test, upstream: %q, cors: {origins: [https://friend.test], credentials: true}}\n", up.URL()))
	ask := func(host, method, path string, lines ...string) gatetest.Answer {
		return g.Wire(host).Ask(method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n")
	}
	for method, open := range map[string]bool{"GET": true, "HEAD": true, "POST": false, "PUT": false, "DELETE": false, "PATCH": false, "OPTIONS": false, "PROPFIND": false, "get": false, "Get": false, "GETX": false, "G": false, "HEADS": false, "QUERY": false, "MOVE": false} {
		up.Forget()
		a := ask("guarded.test", method, "/api/x", "X-HTTP-Method-Override: GET", "X-Method-Override: GET", "X-HTTP-Method: GET")
		if a.StatusCode == 200 != open || up.Forget() > 0 != open {
			t.Errorf("%s at a rule for GET: %d", method, a.StatusCode)
		}
	}
	origin, request := "Origin: https://friend.test", "Access-Control-Request-Method: PUT"
	for _, c := range []struct {
		host, method string
		lines        []string
		status       int
	}{
		{"cors.test", "OPTIONS", []string{origin, request}, 204},
		{"cors.test", "OPTIONS", []string{"Origin: https://evil.test", request}, 204},
		{"cors.test", "OPTIONS", []string{origin}, 401},
		{"cors.test", "OPTIONS", []string{request}, 401},
		{"cors.test", "OPTIONS", []string{origin, origin, request}, 401},
		{"cors.test", "OPTIONS", []string{origin, request, request}, 401},
		{"cors.test", "OPTIONS", []string{origin, request, "Content-Length: 1", "", "x"}, 401},
		{"cors.test", "GET", []string{origin, request}, 401},
		{"cors.test", "options", []string{origin, request}, 401},
		{"guarded.test", "OPTIONS", []string{origin, request}, 401},
	} {
		a := ask(c.host, c.method, "/x", c.lines...)
		if allowed := a.Header.Get("Access-Control-Allow-Origin"); a.StatusCode != c.status || allowed != "" && allowed != "https://friend.test" {
			t.Errorf("%s %s %q: %d, want %d, allows %q", c.method, c.host, c.lines, a.StatusCode, c.status, allowed)
		}
	}
	if seen := up.Last(); seen != "" {
		t.Errorf("the app saw %q", seen)
	}
}

// What clients say about themselves and about the path opens nothing.
func TestT011_T038_T039_NoHeaderOpensAPath(t *testing.T) {
	t.Parallel()
	g, up, _ := pathGate(t)
	w := g.Wire("guarded.test")
	for _, line := range []string{
		"User-Agent: kube-probe/1.30", "User-Agent: GoogleHC/1.0", "User-Agent: ELB-HealthChecker/2.0", "User-Agent: Prometheus/2.42", "User-Agent: UptimeRobot", "X-Health-Check: 1",
		"X-Original-URL: /static/a", "X-Rewrite-URL: /static/a", "X-Original-Uri: /static/a", "X-Forwarded-Uri: /static/a", "X-Forwarded-Path: /static/a", "X-Envoy-Original-Path: /static/a", "X-Forwarded-Prefix: /static",
		"X-Original-URL: https://open.test/\r\nX-Original-Method: GET", "X-Forwarded-Host: open.test\r\nX-Forwarded-Uri: /", "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1",
		"X-Host: open.test", "X-Forwarded-Server: open.test", "Forwarded: for=127.0.0.1;host=open.test", "Referer: https://guarded.test/static/", "Authorization: ", "Cookie: __Host-gatehouse=", "X-Forwarded-User: root",
	} {
		for _, path := range []string{"/x", "/healthz", "/ping", "/health", "/oauth2/auth", "/validate"} {
			a := w.Ask("GET " + path + " HTTP/1.1\r\nHost: guarded.test\r\n" + line + "\r\n\r\n")
			if a.StatusCode != 401 {
				t.Errorf("%s with %q: %d", path, line, a.StatusCode)
			}
		}
		// Forward-auth listens to trusted peers alone.
		if a := w.Ask("GET /_auth/verify HTTP/1.1\r\nHost: guarded.test\r\n" + line + "\r\n\r\n"); a.StatusCode != 401 {
			t.Errorf("verify with %q: %d", line, a.StatusCode)
		}
		if a := g.Wire("open.test").Ask("GET /admin HTTP/1.1\r\nHost: open.test\r\n" + line + "\r\n\r\n"); a.StatusCode != 401 {
			t.Errorf("/admin with %q: %d", line, a.StatusCode)
		}
	}
	if n := up.Forget(); n != 0 {
		t.Errorf("the app saw %d requests", n)
	}
}

// TestT040_OrderDecidesNothing writes the same routes and rules in both orders.
func TestT040_OrderDecidesNothing(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	rules := []string{"{path: /a, access: public}", "{path: /a/b, access: signed_in}", "{path: /a/b/c, access: public}", "{path: /a, methods: [POST], access: deny}"}
	routes := []string{"  - {name: root, host: x.test, upstream: %q, rules: [%s]}\n", "  - {name: sub, host: x.test, path: /sub, upstream: %q, access: public}\n", "  - {name: wild, host: \"*.test\", upstream: %q, access: public}\n"}
	decide := func(reverse bool) string {
		rules, routes := slices.Clone(rules), slices.Clone(routes)
		routes[0] = fmt.Sprintf(routes[0], up.URL(), strings.Join(rules, ", "))
		if reverse {
			slices.Reverse(rules)
			routes[0] = fmt.Sprintf("  - {name: root, host: x.test, upstream: %q, rules: [%s]}\n", up.URL(), strings.Join(rules, ", "))
		}
		routes[1], routes[2] = fmt.Sprintf(routes[1], up.URL()), fmt.Sprintf(routes[2], up.URL())
		if reverse {
			slices.Reverse(routes)
		}
		g := gatetest.Start(t, "routes:\n"+strings.Join(routes, ""))
		out := ""
		for _, path := range []string{"/", "/a", "/a/x", "/a/b", "/a/b/x", "/a/b/c/x", "/sub", "/sub/a", "/subx"} {
			for _, method := range []string{"GET", "POST"} {
				out += fmt.Sprint(method, " ", path, " ", g.Wire("x.test").Ask(method+" "+path+" HTTP/1.1\r\nHost: x.test\r\nContent-Length: 0\r\n\r\n").StatusCode, "\n")
			}
		}
		return out
	}
	forward, backward := decide(false), decide(true)
	if forward != backward || !strings.Contains(forward, "GET /a/b/x 401") || !strings.Contains(forward, "GET /a/b/c/x 200") || !strings.Contains(forward, "POST /a/x 403") {
		t.Errorf("in order:\n%sin reverse:\n%s", forward, backward)
	}
	for _, twice := range []string{
		"  - {name: a, host: x.test, path: /p, upstream: %[1]q}\n  - {name: b, host: X.test, path: /p/, upstream: %[1]q, access: public}\n",
		"  - {name: a, host: x.test, upstream: %[1]q, rules: [{path: /p, access: deny}, {path: /p/, access: public}]}\n",
		"  - {name: a, host: x.test, upstream: %[1]q, rules: [{path: /p, methods: [GET], access: deny}, {path: /p, methods: [POST, GET], access: public}]}\n",
		"  - {name: a, host: x.test, upstream: %[1]q, rules: [{path: /p, access: deny}, {path: /P, access: public}]}\n",
	} {
		g := gatetest.New(t, "routes:\n"+fmt.Sprintf(twice, up.URL()))
		if out, errs, code := g.Command("", "check"); code != 2 {
			text, _ := os.ReadFile(g.File())
			t.Errorf("exit %d for\n%s\n%s%s", code, text, out, errs)
		}
	}
}
