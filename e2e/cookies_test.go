package e2e

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// signIn signs a browser in and returns its Cookie value.
func signIn(t *testing.T, g *gatetest.Gate, host, email string) string {
	t.Helper()
	a := g.Client(host, true).Form("/_auth/login", "email", email, "password", password)
	var pairs []string
	for _, c := range a.Cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	if a.StatusCode != 303 || len(pairs) != 2 {
		t.Fatalf("sign-in: %d with %d cookies: %s", a.StatusCode, len(pairs), a.Text)
	}
	return strings.Join(pairs, "; ")
}

func cookieRoutes(upstream string) string {
	return fmt.Sprintf(`limits: {login_ip: 1000/1m}
routes:
  - {name: app, host: app.test, upstream: %[1]q}
  - {name: open, host: open.test, upstream: %[1]q, access: public}
  - {name: strip, host: strip.test, upstream: %[1]q, authorization: strip}
  - {name: pass, host: pass.test, upstream: %[1]q, authorization: pass}
  - {name: basic, host: basic.test, upstream: %[1]q, basic_auth: {username: u, password: some-app-password}}
  - {name: cors, host: cors.test, upstream: %[1]q, cors: {origins: ["https://friend.test"], credentials: true}, websocket: {origins: [same, "https://friend.test"]}}
  - {name: lax, host: lax.test, upstream: %[1]q, allow_cross_site: true}
`, upstream)
}

func TestT060_T061_OurCredentialsStayAndOthersPassAsTheyAre(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, cookieRoutes(up.URL()))
	g.AddUser("ann@example.com", password)
	tok := g.Client("app.test", false).Login("ann@example.com", password)
	line := func(head, name string) string {
		var all []string
		for _, l := range parseHead(head) {
			if l.name == name {
				all = append(all, l.value)
			}
		}
		return strings.Join(all, " | ")
	}
	own := strings.Split(signIn(t, g, "app.test", "ann@example.com"), "; ")
	if !strings.HasPrefix(own[0], "__Host-gatehouse=") {
		own[0], own[1] = own[1], own[0]
	}
	for _, c := range []struct{ sent, arrives string }{
		{"A; B", ""}, {"a=1; A; B", "a=1"}, {"A; a=1; B", "a=1"}, {"A;B;a=1;b=2", "a=1;b=2"}, {"a=1;A;b=2;B;c=3", "a=1;b=2;c=3"},
		{`A; a="x; y"; b=é; c=%20; ; d`, `a="x; y"; b=é; c=%20; ; d`},
		{"A; a=1;  b = 2 ;c=3;;B", "a=1;  b = 2 ;c=3;"},
		{"$Version=1; A; $Path=/; a=1", "$Version=1; $Path=/; a=1"},
		{"A; __Host-gatehouse-x=1; x__Host-gatehouse=2; gatehouse=3; __Secure-gatehouse=4", "__Host-gatehouse-x=1; x__Host-gatehouse=2; gatehouse=3; __Secure-gatehouse=4"},
		{"a=1; A; __HOST-GATEHOUSE=upper; b=2", "a=1; b=2"},
	} {
		sent := strings.NewReplacer("A", own[0], "B", own[1]).Replace(c.sent)
		if strings.Contains(c.sent, "GATEHOUSE") {
			sent = strings.Replace(c.sent, "A", own[0], 1)
		}
		a := g.Wire("app.test").Ask("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: " + sent + "\r\n\r\n")
		if got := line(a.Text, "Cookie"); a.StatusCode != 200 || got != c.arrives {
			t.Errorf("%q: %d, arrived as %q, want %q", c.sent, a.StatusCode, got, c.arrives)
		}
	}
	a := g.Wire("app.test").Ask("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: a=1\r\nCookie: " + own[0] + "\r\ncookie: b=2; " + own[1] + "\r\n\r\n")
	if got := line(a.Text, "Cookie"); got != "a=1 | b=2" {
		t.Errorf("over three lines: %q", got)
	}
	a = g.Client("app.test", true).Must("GET", "/", "", "Cookie: a=1; "+own[0]+"; b=2")
	if got := line(a.Text, "Cookie"); got != "a=1; b=2" {
		t.Errorf("over HTTP/2: %q", got)
	}
	bearer := "Bearer " + tok.AccessToken
	for _, c := range []struct{ host, authorization, cookie, arrives string }{
		{"app.test", bearer, "", ""}, {"app.test", "bearer " + tok.AccessToken, "", ""}, {"pass.test", bearer, "", ""}, {"open.test", bearer, "", ""}, {"open.test", "BEARER " + tok.AccessToken, "", ""},
		{"open.test", "Bearer  " + tok.AccessToken, "", ""}, {"open.test", "Bearer\t" + tok.AccessToken, "", ""}, {"open.test", bearer + "x", "", ""}, {"open.test", "Bearer " + tok.AccessToken[:len(tok.AccessToken)-4], "", ""},
		{"open.test", "Basic Zm9v", "", "Basic Zm9v"}, {"open.test", "Bearer npm_x", "", "Bearer npm_x"}, {"open.test", "Negotiate abc", "", "Negotiate abc"},
		{"app.test", "Basic Zm9v", own[0], "Basic Zm9v"}, {"app.test", "Bearer npm_x", own[0], "Bearer npm_x"}, {"strip.test", "Basic Zm9v", own[0], ""}, {"pass.test", "Digest a=b", own[0], "Digest a=b"},
		{"app.test", bearer, own[0], ""}, {"basic.test", "Basic Zm9v", own[0], "Basic dTpzb21lLWFwcC1wYXNzd29yZA=="}, {"basic.test", bearer, "", "Basic dTpzb21lLWFwcC1wYXNzd29yZA=="},
	} {
		cookie := ""
		if c.cookie != "" {
			cookie = "Cookie: " + c.cookie + "\r\n"
		}
		a := g.Wire(c.host).Ask("GET / HTTP/1.1\r\nHost: " + c.host + "\r\nAuthorization: " + c.authorization + "\r\n" + cookie + "\r\n")
		if got := line(a.Text, "Authorization"); a.StatusCode != 200 || got != c.arrives {
			t.Errorf("%s %.20q: %d, arrived as %q, want %q", c.host, c.authorization, a.StatusCode, got, c.arrives)
		}
	}
	refresh := "Authorization: Bearer " + tok.RefreshToken
	for _, host := range []string{"open.test", "pass.test", "app.test"} {
		for _, header := range []string{refresh, strings.ReplaceAll(refresh, "Bearer ", "bearer  "), refresh + "=", refresh[:len(refresh)-1]} {
			for _, cookie := range []string{"", "Cookie: " + own[0] + "\r\n"} {
				a := g.Wire(host).Ask("GET / HTTP/1.1\r\nHost: " + host + "\r\n" + header + "\r\n" + cookie + "\r\n")
				if got := line(a.Text, "Authorization"); got != "" || (a.StatusCode == 200) != (host == "open.test") {
					t.Errorf("%s with a refresh token for an access token, cookie %v: %d, arrived as %q", host, cookie != "", a.StatusCode, got)
				}
			}
		}
	}
	for _, seen := range up.Seen() {
		for _, secret := range []string{tok.AccessToken, tok.RefreshToken, strings.SplitN(own[0], "=", 2)[1], strings.SplitN(own[1], "=", 2)[1]} {
			if strings.Contains(seen, secret) {
				t.Errorf("the app saw a secret: %q", seen)
			}
		}
	}
}

// settingUpstream answers with what an app might try: to take over our
// cookies, and to speak for us.
func settingUpstream(head string) string {
	lines := "Set-Cookie: app=1; Path=/\r\nset-cookie: other=2\r\n"
	for _, name := range []string{"__Host-gatehouse", "__HOST-GATEHOUSE", "__host-gatehouse-refresh", "__Secure-gatehouse", "__Http-gatehouse", "__Host-Http-gatehouse", "gatehouse", "GateHouse-Refresh", " __Host-gatehouse ", "=__Host-gatehouse", "\"__Host-gatehouse\"", "\u2000__Host-gatehouse", "__Host-__Secure-gatehouse"} {
		lines += "Set-Cookie: " + name + "=taken; Path=/; Secure\r\nset-cookie:" + name + "=; Max-Age=0\r\n"
	}
	lines += "Set-Cookie: __Host-gatehouse\r\nClear-Site-Data: \"cookies\", \"storage\"\r\nGatehouse-Response: allowed\r\nStrict-Transport-Security: max-age=0\r\n"
	switch {
	case strings.HasPrefix(head, "GET /wipe"):
		return "HTTP/1.1 200 OK\r\nClear-Site-Data: \"*\"\r\nContent-Length: 0\r\n\r\n"
	case strings.HasPrefix(head, "GET /ws"):
		return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + lines + "\r\n"
	case strings.HasPrefix(head, "GET /early"):
		return "HTTP/1.1 103 Early Hints\r\n" + lines + "\r\nHTTP/1.1 100 Continue\r\n" + lines + "\r\nHTTP/1.1 200 OK\r\n" + lines + "Content-Length: 0\r\n\r\n"
	case strings.HasPrefix(head, "GET /trailers"):
		return "HTTP/1.1 200 OK\r\n" + lines + "Trailer: Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + lines + "\r\n"
	case strings.HasPrefix(head, "GET /gone"):
		return "HTTP/1.1 404 Not Found\r\n" + lines + "Content-Length: 0\r\n\r\n"
	}
	return "HTTP/1.1 200 OK\r\n" + lines + "Content-Length: 0\r\n\r\n"
}

func TestT062_T063_T064_AnAppCannotTouchOurCookies(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, settingUpstream)
	g := gatetest.Start(t, cookieRoutes(up.URL()))
	for _, target := range []string{"/", "/early", "/trailers", "/gone", "/ws"} {
		upgrade := ""
		if target == "/ws" {
			upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n"
		}
		a := g.Wire("open.test").Ask("GET " + target + " HTTP/1.1\r\nHost: open.test\r\nTE: trailers\r\n" + upgrade + "\r\n")
		if got := a.Header["Set-Cookie"]; len(got) != 2 || got[0] != "app=1; Path=/" || got[1] != "other=2" {
			t.Errorf("HTTP/1.1 %s: %d sets %q", target, a.StatusCode, got)
		}
		if a.StatusCode < 200 && target != "/ws" || a.Header.Get("Clear-Site-Data") != `"storage"` || a.Header.Get("Gatehouse-Response") != "" {
			t.Errorf("HTTP/1.1 %s: %d %v", target, a.StatusCode, a.Header)
		}
		if sts := a.Header["Strict-Transport-Security"]; len(sts) != 1 || sts[0] != "max-age=31536000" {
			t.Errorf("HTTP/1.1 %s: %q", target, sts)
		}
		if len(a.Trailer["Set-Cookie"]) > 0 {
			t.Errorf("%s: trailers %v", target, a.Trailer)
		}
		if target == "/ws" {
			continue
		}
		h2 := g.Client("open.test", true).Must("GET", target, "")
		if got := h2.Header["Set-Cookie"]; len(got) != 2 || len(h2.Trailer["Set-Cookie"]) > 0 || h2.Header.Get("Gatehouse-Response") != "" {
			t.Errorf("HTTP/2 %s: %d sets %q, trailers %v", target, h2.StatusCode, got, h2.Trailer)
		}
	}
	wipe := g.Client("open.test", true).Must("GET", "/wipe", "").Header.Get("Clear-Site-Data")
	if strings.Contains(wipe, "*") || strings.Contains(wipe, "cookies") || !strings.Contains(wipe, `"storage"`) {
		t.Errorf(`"*" arrives as %q`, wipe)
	}
}

func TestT072_UnsafeRequestsOfOtherSites(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, cookieRoutes(up.URL()))
	g.AddUser("ann@example.com", password)
	cookie := "Cookie: " + signIn(t, g, "app.test", "ann@example.com")
	bearer := gatetest.Bearer(g.Client("app.test", false).Login("ann@example.com", password).AccessToken)
	ask := func(host, method, credential, lines string) int {
		up.Forget()
		a := g.Wire(host).Ask(method + " / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n" + credential + "\r\n" + lines + "\r\n\r\n")
		if n := up.Forget(); (n == 1) != (a.StatusCode == 200) {
			t.Errorf("%s %s %q: %d, and the app saw %d requests", method, host, lines, a.StatusCode, n)
		}
		return a.StatusCode
	}
	foreign := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: Same-Origin", "Sec-Fetch-Site: x", "Origin: https://evil.test", "Origin: null", "Origin: http://app.test", "Origin: https://app.test:8443", "Origin: https://app.test.evil.test",
		"Origin: https://evil.test/app.test", "Origin: https://app.test@evil.test", "Origin: https://xapp.test", "Origin: app.test", "Origin: https://app.test\r\nOrigin: https://evil.test", "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site",
		"Connection: Sec-Fetch-Site, Origin\r\nSec-Fetch-Site: cross-site", "Sec-Fetch-Site: cross-site\r\nOrigin: https://app.test", "Sec-Fetch-Site: cross-site\r\nX-HTTP-Method-Override: GET", "Sec-Fetch-Site: cross-site\r\nX-Requested-With: XMLHttpRequest"}
	for _, lines := range foreign {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "MOVE", "post", "FOO"} {
			if got := ask("app.test", method, cookie, lines); got != 403 {
				t.Errorf("%s with the cookie, %q: %d", method, lines, got)
			}
		}
		if got := ask("app.test", "GET", cookie, lines); got != 200 {
			t.Errorf("GET with the cookie, %q: %d", lines, got)
		}
		if got := ask("app.test", "POST", bearer, lines); got != 200 {
			t.Errorf("POST with a bearer token, %q: %d", lines, got)
		}
		if got := ask("lax.test", "POST", cookie, lines); got != 200 {
			t.Errorf("POST where it is allowed, %q: %d", lines, got)
		}
	}
	for _, lines := range []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: https://app.test", "Origin: https://APP.test:443", "X-A: 1"} {
		if got := ask("app.test", "POST", cookie, lines); got != 200 {
			t.Errorf("POST from the same origin, %q: %d", lines, got)
		}
	}
	for lines, status := range map[string]int{"Origin: https://friend.test": 200, "Sec-Fetch-Site: cross-site\r\nOrigin: https://friend.test": 200, "Sec-Fetch-Site: cross-site": 403, "Origin: https://xfriend.test": 403, "Origin: https://friend.test.evil.test": 403, "Origin: http://friend.test": 403} {
		if got := ask("cors.test", "POST", cookie, lines); got != status {
			t.Errorf("POST to a route with cors, %q: %d, want %d", lines, got, status)
		}
	}
}

func TestT130_T131_WebSocketsNeedASignInAndAnOrigin(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, cookieRoutes(up.URL()))
	g.AddUser("ann@example.com", password)
	cookie := "Cookie: " + signIn(t, g, "app.test", "ann@example.com")
	c := g.Client("app.test", false)
	tok := c.Login("ann@example.com", password)
	ask := func(host, lines string) int { // 0: the connection was cut
		w := g.Wire(host)
		defer func() { _ = w.Close() }()
		a, _ := w.Try("GET /ws HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n" + lines + "\r\n\r\n")
		return a.StatusCode
	}
	open := func(host, lines string) int {
		up.Forget()
		status := ask(host, lines)
		if n := up.Forget(); (n == 1) != (status == 101) {
			t.Errorf("%s %q: %d, and the app saw %d requests", host, lines, status, n)
		}
		return status
	}
	for lines, status := range map[string]int{
		"X-A: 1": 401, "Origin: https://app.test": 401, "Authorization: Bearer nonsense": 401, "Cookie: __Host-gatehouse=nonsense\r\nOrigin: https://app.test": 401, "Sec-WebSocket-Protocol: bearer, " + tok.AccessToken: 401,
		cookie: 403, cookie + "\r\nOrigin: https://evil.test": 403, cookie + "\r\nOrigin: null": 403, cookie + "\r\nOrigin: https://app.test.evil.test": 403, cookie + "\r\nOrigin: http://app.test": 403,
		cookie + "\r\nOrigin: https://app.test\r\nOrigin: https://app.test": 403, cookie + "\r\nOrigin: https://sibling.app.test": 403, cookie + "\r\nOrigin: https://app.test/": 403, cookie + "\r\nSec-Fetch-Site: same-origin": 403, cookie + "\r\nOrigin: https://friend.test": 403,
		cookie + "\r\nOrigin: https://app.test": 101, cookie + "\r\nOrigin: https://app.test:443": 101, gatetest.Bearer(tok.AccessToken): 101, gatetest.Bearer(tok.AccessToken) + "\r\nOrigin: https://evil.test": 101,
	} {
		if got := open("app.test", lines); got != status {
			t.Errorf("%.30q ... %q: %d, want %d", lines, lines[max(0, len(lines)-40):], got, status)
		}
	}
	for lines, status := range map[string]int{cookie + "\r\nOrigin: https://friend.test": 101, cookie + "\r\nOrigin: https://cors.test": 101, cookie + "\r\nOrigin: https://evil.test": 403} {
		if got := open("cors.test", lines); got != status {
			t.Errorf("a route with a list, %q: %d, want %d", lines[len(lines)-30:], got, status)
		}
	}
	g.Must("", "session", "revoke", "--user", "ann@example.com")
	// One that was let in already, and ended while the app was asked, is refused, too.
	within(t, "a handshake of an ended session is refused", func() bool { return ask("app.test", gatetest.Bearer(tok.AccessToken)) == 401 })
	if got := open("app.test", gatetest.Bearer(tok.AccessToken)); got != 401 {
		t.Errorf("a handshake of an ended session: %d, want 401", got)
	}
}

func TestT144_AnswersToSignedInUsersAreNotForSharedCaches(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, func(head string) string {
		lines := ""
		if strings.HasPrefix(head, "GET /said") {
			lines = "Cache-Control: public, max-age=60\r\n"
		}
		return "HTTP/1.1 200 OK\r\n" + lines + "Content-Length: 0\r\n\r\n"
	})
	g := gatetest.Start(t, "tokens: {issuer: \"https://gate.test\", access_ttl: 1m}\n"+cookieRoutes(up.URL()))
	g.AddUser("ann@example.com", password)
	cookies := strings.Split(signIn(t, g, "app.test", "ann@example.com"), "; ")
	refresh := cookies[0]
	if !strings.Contains(refresh, "-refresh=") {
		refresh = cookies[1]
	}
	c := g.Client("app.test", true)
	bearer := gatetest.Bearer(c.Login("ann@example.com", password).AccessToken)
	for _, x := range []struct {
		host, target, line, want string
		status                   int
	}{
		{"app.test", "/", bearer, "private", 200}, {"app.test", "/said", bearer, "public, max-age=60", 200}, {"open.test", "/", bearer, "private", 200}, {"open.test", "/", "X-A: 1", "", 200},
		{"app.test", "/", "Accept: text/html", "no-store", 303}, {"app.test", "/", "Accept: application/json", "no-store", 401}, {"app.test", "/a/../b", bearer, "no-store", 400}, {"app.test", "/_auth/userinfo", bearer, "no-store", 200},
		{"app.test", "/_auth/login", "Accept: text/html", "no-store", 200}, {"app.test", "/_auth/nothing", bearer, "no-store", 404},
		{"app.test", "/said", "Cookie: " + refresh, "no-store", 200}, // the session is renewed in passing
	} {
		a := g.Client(x.host, true).Must("GET", x.target, "", x.line)
		if got := strings.Join(a.Header["Cache-Control"], " | "); a.StatusCode != x.status || got != x.want {
			t.Errorf("%s%s %.20q: %d, Cache-Control %q, want %q", x.host, x.target, x.line, a.StatusCode, got, x.want)
		}
	}
}

// TestT153_FailuresAreAnsweredHere: no second upstream, no error page of
// somebody else, and nothing of the inside in ours.
func TestT153_FailuresAreAnsweredHere(t *testing.T) {
	t.Parallel()
	other := gatetest.NewUpstream(t)
	dead := gatetest.FreeAddr(t)
	garbage := gatetest.NewUpstreamFunc(t, func(string) string { return "nonsense\r\n\r\n" })
	g := gatetest.Start(t, fmt.Sprintf("routes:\n  - {name: dead, host: dead.test, upstream: \"http://%s\"}\n  - {name: odd, host: odd.test, upstream: %q}\n  - {name: other, host: other.test, upstream: %q, access: public}\n", dead, garbage.URL(), other.URL()))
	g.AddUser("ann@example.com", password)
	tok := g.Client("dead.test", false).Login("ann@example.com", password)
	for _, host := range []string{"dead.test", "odd.test"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			a := g.Client(host, true).Must(method, "/secret", "", gatetest.Bearer(tok.AccessToken))
			if a.StatusCode != 502 && a.StatusCode != 503 || a.Header.Get("Gatehouse-Response") == "" {
				t.Errorf("%s %s: %d %q", method, host, a.StatusCode, a.Header.Get("Gatehouse-Response"))
			}
			for _, inside := range []string{dead, garbage.Addr, "127.0.0.1", "refused", "nonsense", tok.AccessToken, "ann@example.com"} {
				if strings.Contains(a.Text, inside) {
					t.Errorf("%s %s: the answer shows %q: %s", method, host, inside, a.Text)
				}
			}
		}
	}
	if other.Last() != "" {
		t.Errorf("another app saw %q", other.Last())
	}
}
