package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"gatehouse/config"
)

func TestT001_IdentityHeadersOfTheClientNeverPass(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Routes = append(c.Routes, config.Route{Name: "pub", Host: "pub.test", Access: public(), Authorization: "auto"})
		c.Routes[1].IdentityHeaders = &config.IdentityHeaders{Map: []config.HeaderField{{Header: "x-my-user", Field: "email"}}}
	})
	evil := []string{"X-Forwarded-User: e", "X-FORWARDED-EMAIL: e", "x_forwarded_user: e", "X.Forwarded.User: e", "X-Remote-User: e", "X_Remote_User: e", "Remote-User: e",
		"X-Webauth-User: e", "X-Auth-Request-Email: e", "X-My-User: e", "x-my_user: e", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-HTTP-Method-Override: PUT",
		"X-Forwarded-Uri: /e", "X-Forwarded-Access-Token: e", "X-SSL-Client-Cert: e", "X-User-Id: e", "Proxy: e", "X-Gatehouse-Assertion: e", "X-ProxyUser-Ip: 9.9.9.9",
		"X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9", "X-Real-IP: 9.9.9.9", "X-Envoy-Original-Path: /e", "X!Forwarded!User: e", "Front-End-Https: on", "odd.name: e", "odd_name: e"}
	for _, host := range []string{"app.test", "pub.test"} {
		h := append([]string{"Host: " + host, "X-Fine: yes"}, evil...)
		if host == "app.test" {
			h = append(h, aliceCookie)
		}
		if a := g.get("/", h...); a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", host, a.StatusCode, a.body)
		}
		head := g.up.last()
		for l := range strings.SplitSeq(head, "\r\n") {
			if strings.HasSuffix(l, ": e") || strings.Contains(l, "9.9.9.9") || strings.Contains(l, "/admin") || strings.HasSuffix(l, ": PUT") || strings.HasSuffix(l, ": on") {
				t.Errorf("%s: the app saw %q", host, l)
			}
		}
		if lines(head)["x-fine"] != "yes" {
			t.Errorf("%s: an ordinary header was lost: %q", host, head)
		}
	}
}

func TestT002_T006_OneLinePerValueAndNoneForNothing(t *testing.T) {
	g := newGate(t, nil, nil)
	g.get("/", aliceCookie)
	got := lines(g.up.last())
	for name, v := range map[string]string{"x-forwarded-user": "sub-alice", "x-forwarded-email": "Alice@Example.com", "x-forwarded-preferred-username": "Alice A", "x-forwarded-groups": "admins,readers"} {
		if got[name] != v {
			t.Errorf("%s = %q, want %q", name, got[name], v)
		}
	}
	g.get("/", "Cookie: __Host-gatehouse=bob", "X-Forwarded-Groups: admins", "X-Forwarded-Preferred-Username: root")
	got = lines(g.up.last())
	for _, name := range []string{"x-forwarded-groups", "x-forwarded-preferred-username"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s = %q for a user who has none", name, v)
		}
	}
}

func TestT004_ConfiguredNamesAreCanonical(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Routes[0].IdentityHeaders = &config.IdentityHeaders{Map: []config.HeaderField{{Header: "x-role", Field: "groups"}, {Header: "x-sid", Field: "sid"}, {Header: "x-amr", Field: "amr"}}}
		c.Routes = append(c.Routes, config.Route{Name: "pub", Host: "pub.test", Access: public()})
	})
	g.get("/", aliceCookie, "X-Role: root", "x-role: root")
	got := g.up.last()
	for _, line := range []string{"X-Role: admins,readers", "X-Sid: sid-a", "X-Amr: pwd"} {
		name, _, _ := strings.Cut(strings.ToLower(line), ":")
		if strings.Count(got, "\r\n"+line+"\r\n") != 1 || strings.Count(strings.ToLower(got), "\r\n"+name+":") != 1 {
			t.Errorf("%q is not there once: %q", line, got)
		}
	}
	want(t, g.get("/", "Host: pub.test", "X-Role: root", "x-role: root", "X-SID: root"), 200, "")
	if got := g.up.last(); strings.Contains(got, "root") {
		t.Errorf("a name of another route's map passed: %q", got)
	}
}

func TestT005_ConnectionCannotRemoveIdentity(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Routes[0].SetRequestHeaders = map[string]string{"x-tenant": "a"}
	})
	g.get("/", aliceCookie, "connection: x-forwarded-user, X-Forwarded-For, x-tenant, via, X-Hop", "Connection: X-Forwarded-Email", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Trailer: X-T")
	got := lines(g.up.last())
	for name, v := range map[string]string{"x-forwarded-user": "sub-alice", "x-forwarded-email": "Alice@Example.com", "x-forwarded-for": "127.0.0.1", "x-tenant": "a"} {
		if got[name] != v {
			t.Errorf("%s = %q, want %q", name, got[name], v)
		}
	}
	for _, name := range []string{"x-hop", "keep-alive", "te", "trailer"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s passed", name)
		}
	}
}

func TestT007_RequestTrailersEndHere(t *testing.T) {
	g := newGate(t, nil, nil)
	a := g.raw("POST / HTTP/1.1\r\nHost: app.test\r\n" + aliceBearer + "\r\nTrailer: X-Forwarded-User\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Forwarded-User: evil\r\n\r\n")
	want(t, a, 200, "")
	if s := g.up.last(); strings.Contains(s, "evil") || strings.Contains(s, "Trailer") || !strings.HasSuffix(s, "abc") {
		t.Errorf("the app saw %q", s)
	}
}

func TestT008_ValuesAreEncoded(t *testing.T) {
	g := newGate(t, nil, nil)
	want(t, g.get("/", "Cookie: __Host-gatehouse=eve"), 200, "")
	got := lines(g.up.last())
	if got["x-forwarded-preferred-username"] != "Ev%C3%A9 100%25%0D%0AX-Evil: 1" || got["x-forwarded-groups"] != "a%2Cb,c d" {
		t.Errorf("got %q", got)
	}
	if _, ok := got["x-evil"]; ok {
		t.Error("a name injected a header")
	}
}

func TestT010_Assertion(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) { c.Routes[0].Assertion = true })
	g.get("/", aliceCookie)
	if v := lines(g.up.last())["x-gatehouse-assertion"]; v != "assert:sub-alice:app" {
		t.Errorf("assertion %q", v)
	}
}

func TestT003_AllowedOddNames(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) { c.Routes[0].AllowHeaders = []string{"Api_Key"} })
	g.get("/", aliceCookie, "api_key: k", "other_key: k")
	if s := g.up.last(); !strings.Contains(s, "pi_key: k") || strings.Contains(strings.ToLower(s), "other_key") {
		t.Errorf("the app saw %q", s)
	}
	g = newGate(t, nil, func(c *config.Config) {
		c.Routes[0].AllowHeaders = []string{"X_Team", "X_Debug"}
		c.Routes[0].SetRequestHeaders, c.Routes[0].RemoveRequestHeaders = map[string]string{"X-Team": "wiki", "X-Script-Name": "/app"}, []string{"X-Debug"}
	})
	g.get("/", aliceCookie, "X-Team: e", "X_Team: e", "x!team: e", "X-Debug: e", "X_Debug: e", "X!Debug: e", "X-Script-Name: e", "X-Script_Name: e")
	if s := g.up.last(); strings.Contains(s, ": e\r\n") || lines(s)["x-team"] != "wiki" || lines(s)["x-script-name"] != "/app" {
		t.Errorf("a spelling of what the route sets or removes passed: %q", s)
	}
	for _, bad := range []string{"X_Forwarded_User", "remote.user", "X_Webauth_Foo"} {
		cfg := *g.config()
		cfg.Routes[0].AllowHeaders = []string{bad}
		if err := g.Load(&cfg); err == nil {
			t.Errorf("allow_headers took %s", bad)
		}
	}
}

func TestT020_ForwardingHeadersFromScratch(t *testing.T) {
	g := newGate(t, nil, nil)
	g.get("/x", "Host: app.test:8443", aliceCookie, "X-Forwarded-Host: evil", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1", "Via: 1.0 other", "X-Request-Id: mine")
	got := lines(g.up.last())
	for name, v := range map[string]string{"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "x-forwarded-host": "app.test:8443", "x-forwarded-proto": "https",
		"x-forwarded-port": "8443", "forwarded": `for=127.0.0.1;host="app.test:8443";proto=https`, "x-request-id": "req-1", "host": "app.test:8443", "via": "1.0 other|1.1 " + g.via.id} {
		if got[name] != v {
			t.Errorf("%s = %q, want %q", name, got[name], v)
		}
	}
	if f := forwarded(netip.MustParseAddr("2001:db8::1"), "a.test", "http"); f != `for="[2001:db8::1]";host=a.test;proto=http` {
		t.Error(f)
	}
}

func TestT060_OwnCredentialsStayHere(t *testing.T) {
	g := newGate(t, nil, func(c *config.Config) {
		c.Routes = append(c.Routes, config.Route{Name: "strip", Host: "strip.test", Access: signedIn(), Authorization: "strip"},
			config.Route{Name: "basic", Host: "basic.test", Access: signedIn(), BasicAuth: &config.BasicAuth{Username: "u", Password: config.NewSecret("p")}},
			config.Route{Name: "pub", Host: "pub.test", Access: public()})
	})
	for _, c := range []struct{ host, auth, want string }{
		{"app.test", "Basic Zm9v", "Basic Zm9v"}, {"strip.test", "Basic Zm9v", ""}, {"basic.test", "Basic Zm9v", "Basic dTpw"},
		{"app.test", "Bearer ours.alice", ""}, {"app.test", "Bearer npm", "Bearer npm"},
	} {
		g.get("/", "Host: "+c.host, "Cookie: a=1; __Host-gatehouse=alice; b=\"2\"; __Host-gatehouse-refresh=secret", "Authorization: "+c.auth)
		got := lines(g.up.last())
		if got["authorization"] != c.want {
			t.Errorf("%s %q: the app got %q, want %q", c.host, c.auth, got["authorization"], c.want)
		}
		if got["cookie"] != `a=1; b="2"` {
			t.Errorf("cookie %q", got["cookie"])
		}
	}
	g.get("/", "Host: pub.test", "Authorization: Bearer ours.nobody")
	if got := lines(g.up.last()); got["authorization"] != "" {
		t.Errorf("a public app got our bearer: %q", got["authorization"])
	}
}

func TestT061_OtherCookiesArriveByteForByte(t *testing.T) {
	for in, out := range map[string]string{
		"a=1":                        "a=1",
		"a=1;b=2 ;  c = \"x y\",é;;": "a=1;b=2 ;  c = \"x y\",é;;",
		"__Host-gatehouse=t":         "",
		"a=1; __Host-gatehouse=t":    "a=1",
		"__Host-gatehouse=t; a=1":    "a=1",
		"a=1;__Host-gatehouse=t;b=2": "a=1;b=2",
		"a=1; __HOST-Gatehouse=t; b=2;\t__Host-gatehouse-refresh = r": "a=1; b=2",
		"__Host-gatehouse-x=1; gatehouse=2; x__Host-gatehouse=3":      "__Host-gatehouse-x=1; gatehouse=2; x__Host-gatehouse=3",
		"__Host-gatehouse": "",
	} {
		if got := cutCookie(in); got != out {
			t.Errorf("cut %q: %q, want %q", in, got, out)
		}
	}
}

func TestT055_T013_HopHeadersAndProxy(t *testing.T) {
	for _, n := range []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect"} {
		if !hopByHop(n) {
			t.Errorf("%s passes", n)
		}
	}
}

func FuzzT003_FoldName(f *testing.F) {
	for _, s := range []string{"X_Forwarded.User", "remote!user", "X-Webauth_", "x.my~user", "X-Fine", "Proxy", "_Proxy"} {
		f.Add(s)
	}
	custom := &config.Config{IdentityHeaders: config.IdentityHeaders{Map: []config.HeaderField{{Header: "X-My-User", Field: "email"}}}}
	tab := &table{reserved: reservedSet(custom), families: reservedFamilies()}
	believed := append(append(writtenNames(), deniedNames()...), "X-My-User")
	f.Fuzz(func(t *testing.T, name string) {
		// Whatever passes, even listed in allow_headers: the spelling that a CGI
		// server makes of it is not one that anybody believes.
		name = http.CanonicalHeaderKey(name)
		if !tab.passes(name, &route{allowHeaders: map[string]struct{}{strings.ToLower(name): {}}}) {
			return
		}
		cgi := []byte(strings.ToLower(name))
		for i, c := range cgi {
			if !alnum(c) {
				cgi[i] = '-'
			}
		}
		for _, n := range believed {
			if strings.EqualFold(string(cgi), n) {
				t.Errorf("%q passes and reads %s", name, n)
			}
		}
		for _, p := range reservedFamilies() {
			if strings.HasPrefix(string(cgi), strings.ToLower(p)) {
				t.Errorf("%q passes and is of %s", name, p)
			}
		}
	})
}

func FuzzT061_CutCookie(f *testing.F) {
	for _, s := range []string{"a=1; __Host-gatehouse=t; b=2", "__HOST-gatehouse-refresh=x", ";;__Host-gatehouse;", "a=\"; __Host-gatehouse=t\"", " \t__Host-gatehouse \t= t", "$Version=1; __Host-gatehouse=t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := cutCookie(line)
		var keep []string
		for p := range strings.SplitSeq(line, ";") {
			if !oursInRequest(p) {
				keep = append(keep, p)
			}
		}
		var left []string
		for p := range strings.SplitSeq(got, ";") {
			if oursInRequest(p) {
				t.Fatalf("%q still holds ours: %q", line, got)
			}
			left = append(left, p)
		}
		if len(keep) == 0 {
			if got != "" {
				t.Fatalf("%q became %q", line, got)
			}
			return
		}
		if len(left) != len(keep) {
			t.Fatalf("%q became %q", line, got)
		}
		for i := range left {
			if left[i] != keep[i] && !(i == 0 && left[i] == strings.TrimLeft(keep[i], " \t")) {
				t.Fatalf("%q became %q", line, got)
			}
		}
	})
}
