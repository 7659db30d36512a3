package proxy

import (
	"strings"
	"testing"

	"gatehouse/config"
)

func testTable(t testing.TB) *table {
	t.Helper()
	cfg := &config.Config{UI: config.UI{Prefix: "/_auth"}, Routes: []config.Route{
		{Name: "root", Host: "app.test", Path: "/", Access: signedIn(), Rules: []config.Rule{
			{Path: "/public", Access: public()},
			{Path: "/public/inner", Access: groups("admins")},
			{Path: "/api", Methods: []string{"GET"}, Access: public()},
			{Path: "/api", Methods: []string{"POST", "PUT"}, Access: groups("writers")},
			{Path: "/caf\u00e9", Access: public()},
			{Path: "/a b/", Access: public()},
		}},
		{Name: "sub", Host: "app.test", Path: "/sub", Access: public(), StripPrefix: true},
		{Name: "wild", Host: "*.wild.test", Path: "/", Access: public()},
		{Name: "one", Host: "one.wild.test", Path: "/one", Access: signedIn()},
		{Name: "admin", Host: "open.test", Path: "/", Access: public(), Rules: []config.Rule{{Path: "/admin", Access: groups("admins")}}},
	}}
	tab, err := buildTable(cfg, false)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func (t *table) say(host, path, method string) string {
	sel, no, _ := t.match(host, path, method)
	switch no {
	case badPath:
		return "bad"
	case ambiguous:
		return "ambiguous"
	case noHost:
		return "host"
	case noRoute:
		return "none"
	}
	return sel.rule.route.cfg.Name + " " + sel.rule.path
}

func TestT023_T031_EveryReadingOrNone(t *testing.T) {
	tab := testTable(t)
	for _, c := range []struct{ host, path, want string }{
		{"app.test", "/", "root /"}, {"app.test", "/x", "root /"}, {"app.test", "/public", "root /public"}, {"app.test", "/public/", "root /public"},
		{"app.test", "/publicity", "root /"}, {"app.test", "/public/inner/x", "root /public/inner"}, {"app.test", "/sub/public", "sub /sub"}, {"app.test", "/subway", "root /"},
		{"app.test", "/Public", "ambiguous"}, {"app.test", "/x/PUBLIC", "root /"}, {"app.test", "/X", "root /"},
		{"app.test", "/public%2finner", "ambiguous"}, {"app.test", "/public%252finner", "ambiguous"}, {"app.test", "/public%5cinner", "ambiguous"},
		{"app.test", "/public;x/inner", "ambiguous"}, {"app.test", "/public/;x/inner", "ambiguous"}, {"app.test", "/public//inner", "ambiguous"}, {"app.test", "//public", "ambiguous"},
		{"app.test", "/%70ublic", "ambiguous"}, {"app.test", "/public%3bx", "ambiguous"}, {"app.test", "/public%3fx", "ambiguous"}, {"app.test", "/public%23", "ambiguous"},
		{"app.test", "/public;v=1", "ambiguous"}, {"app.test", "/publ%69c/inner", "ambiguous"}, {"app.test", "/public/in%6eer", "ambiguous"},
		{"app.test", "/wiki/C%23", "root /"}, {"app.test", "/@scope%2fname", "root /"}, {"app.test", "/a;v=1", "root /"}, {"app.test", "/proxy/http://x/", "root /"}, {"app.test", "/100%25", "root /"},
		{"app.test", "/public/C%23", "root /public"}, {"app.test", "/public/a%2fb;c//d", "root /public"},
		{"app.test", "/caf%C3%A9/x", "root /caf\u00e9"}, {"app.test", "/caf%c3%a9/x", "root /caf\u00e9"}, {"app.test", "/a%20b/c", "root /a b/"},
		{"app.test", "/_auth/login", "none"}, {"app.test", "/_AUTH/login", "ambiguous"}, {"app.test", "/%5fauth/login", "ambiguous"}, {"app.test", "/_authors", "root /"},
		{"open.test", "/admin", "admin /admin"}, {"open.test", "/admin;x", "ambiguous"}, {"open.test", "/ADMIN/x", "ambiguous"}, {"open.test", "//admin", "ambiguous"}, {"open.test", "/x%2f..%2fadmin", "bad"},
		{"a.wild.test", "/one", "wild /"}, {"one.wild.test", "/one", "one /one"}, {"one.wild.test", "/two", "wild /"}, {"a.b.wild.test", "/", "host"}, {"wild.test", "/", "host"}, {"nobody.test", "/", "host"},
		{"app.test", "/a/../b", "bad"}, {"app.test", "/a/..", "bad"}, {"app.test", "/./a", "bad"}, {"app.test", "/a/%2e%2e/b", "bad"}, {"app.test", "/a/.%2E/b", "bad"}, {"app.test", "/a/%252e%252e/", "bad"},
		{"app.test", "/a/%25252e%25252e/", "bad"}, {"app.test", "/a/..;x/b", "bad"}, {"app.test", "/a/..%3bx/b", "bad"}, {"app.test", "/a%5c..%5cb", "bad"}, {"app.test", "/a/..%2fb", "bad"}, {"app.test", "/a/%c0%ae%c0%ae/b", "bad"},
		{"app.test", "/a/...", "root /"}, {"app.test", "/.well-known/x", "root /"}, {"app.test", "/a/..b", "root /"}, {"app.test", "/who%3f../x", "root /"}, {"app.test", "/a/..%3fx", "bad"},
		{"app.test", "/a%00b", "bad"}, {"app.test", "/a%2500b", "bad"}, {"app.test", "/a%0d%0ab", "bad"}, {"app.test", "/a%7f", "bad"}, {"app.test", "/a%", "bad"}, {"app.test", "/a%zz", "bad"}, {"app.test", "/a%c", "bad"},
		{"app.test", `/a\b`, "bad"}, {"app.test", "/a#b", "bad"}, {"app.test", "a", "bad"}, {"app.test", "", "bad"}, {"app.test", "/a%E0%80%AFb", "bad"}, {"app.test", "/%F6", "root /"},
	} {
		if got := tab.say(c.host, c.path, "GET"); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.host, c.path, got, c.want)
		}
	}
}

func TestT036_MethodScopedRules(t *testing.T) {
	tab := testTable(t)
	for method, want := range map[string]string{"GET": "root /api", "HEAD": "root /api", "POST": "root /api", "DELETE": "root /", "FOO": "root /", "get": "ambiguous", "OPTIONS": "root /"} {
		if got := tab.say("app.test", "/api/x", method); got != want {
			t.Errorf("%s: %s, want %s", method, got, want)
		}
	}
	sel, _, _ := tab.match("app.test", "/api", "PUT")
	if sel.rule.access.Kind != config.AccessConditions {
		t.Error("PUT got the access of GET")
	}
}

func TestT030_HostIsCanonical(t *testing.T) {
	for in, want := range map[string]string{"App.Test": "app.test", "app.test.": "app.test", "app.test:8443": "app.test", "APP.test.:1": "app.test", "[::1]:80": "::1", "127.0.0.1": "127.0.0.1",
		"": "-", "a..b": "-", ".a": "-", "a:b": "-", "a:1:2": "-", "a b": "-", "u@a": "-", "[::1": "-", "[::1]x": "-", "[fe80::1%25eth0]": "-", "a/b": "-", "a.test..": "-", "x\u00fc.test": "-", "a:123456": "-"} {
		got, ok := canonicalHost(in)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestT040_OverlapIsAnError(t *testing.T) {
	two := func(a, b config.Route) error {
		a.Name, b.Name = "a", "b"
		_, err := buildTable(&config.Config{Routes: []config.Route{a, b}}, false)
		return err
	}
	for _, c := range []struct{ a, b config.Route }{
		{config.Route{Host: "x.test", Path: "/a"}, config.Route{Host: "X.test.", Path: "/a/"}},
		{config.Route{Host: "x.test", Path: "/a"}, config.Route{Host: "x.test", Path: "/A"}},
		{config.Route{Host: "x.test", Path: "/caf\u00e9"}, config.Route{Host: "x.test", Path: "/caf%c3%a9"}},
	} {
		if two(c.a, c.b) == nil {
			t.Errorf("%+v and %+v were taken", c.a, c.b)
		}
	}
	if err := two(config.Route{Host: "x.test", Path: "/a"}, config.Route{Host: "x.test", Path: "/a/b"}); err != nil {
		t.Error(err)
	}
	for name, r := range map[string]config.Route{
		"rule outside":  {Host: "x.test", Path: "/a", Rules: []config.Rule{{Path: "/b"}}},
		"rule twice":    {Host: "x.test", Path: "/", Rules: []config.Rule{{Path: "/b"}, {Path: "/b/"}}},
		"method twice":  {Host: "x.test", Path: "/", Rules: []config.Rule{{Path: "/b", Methods: []string{"GET"}}, {Path: "/b", Methods: []string{"GET"}}}},
		"rule dots":     {Host: "x.test", Path: "/", Rules: []config.Rule{{Path: "/b/../c"}}},
		"path dots":     {Host: "x.test", Path: "/.."},
		"no preset":     {Host: "x.test", IdentityHeaders: &config.IdentityHeaders{Preset: "nope"}},
		"no field":      {Host: "x.test", IdentityHeaders: &config.IdentityHeaders{Map: []config.HeaderField{{Header: "X-A", Field: "nope"}}}},
		"identity set":  {Host: "x.test", SetRequestHeaders: map[string]string{"x-forwarded_user": "root"}},
		"hop set":       {Host: "x.test", SetRequestHeaders: map[string]string{"transfer-encoding": "chunked"}},
		"own response":  {Host: "x.test", SetResponseHeaders: map[string]string{"gatehouse-response": "x"}},
		"own cookie":    {Host: "x.test", SetResponseHeaders: map[string]string{"set-cookie": "__host-gatehouse=x"}},
		"assert no key": {Host: "x.test", Assertion: true},
		"host":          {Host: "a b"},
	} {
		r.Name = "r"
		if _, err := buildTable(&config.Config{Routes: []config.Route{r}}, false); err == nil || !strings.Contains(err.Error(), `route "r"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlainPathsDoNotAllocate(t *testing.T) {
	tab := testTable(t)
	if n := testing.AllocsPerRun(100, func() { tab.match("app.test", "/public/inner/deep/path.css", "GET") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	tab := testTable(b)
	for _, path := range []string{"/public/inner/deep/path.css", "/Public-X/Y", "/@scope%2fname"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tab.match("app.test", path, "GET")
			}
		})
	}
}
