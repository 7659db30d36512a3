package proxy

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// FuzzT023_Path holds the table against the reference for any path.
func FuzzT023_Path(f *testing.F) {
	for _, s := range []string{"/public", "/x//public;a", "/%70ublic%2f..", "/admin%3b", "/a\\b", "/ADMIN/%2561", "/public/..;/x", "/caf\u00e9", "/\u212aelvin/\u017f", "/%c0%ae", "/_auth%2f", "/public%3f/inner", "//", "/%25%32%65", "/%" + strings.Repeat("25", 7) + "20", "/%" + strings.Repeat("25", 8) + "20"} {
		f.Add(s, "GET", true)
		f.Add(s, "get", false)
	}
	cfg := hostileConfig()
	tab, err := buildTable(cfg, false)
	if err != nil {
		f.Fatal(err)
	}
	model := reference{cfg}
	f.Fuzz(func(t *testing.T, path, method string, open bool) {
		if len(path) > 200 || len(method) > 20 {
			return
		}
		host := "app.test"
		if open {
			host = "open.test"
		}
		sel, no, _ := tab.match(host, path, method)
		want := model.match(host, path, method)
		got := map[refusal]string{badPath: refBad, ambiguous: refAmbiguous, noHost: refHost, noRoute: refNone}[no]
		if got != want.refusal {
			t.Fatalf("%s %q: %q, the reference says %v", method, path, got, want)
		}
		if no == matched && (sel.raw != path || tab.routes[want.route] != sel.rule.route || ruleNumber(sel.rule) != want.rule) {
			t.Fatalf("%s %q: judged %q by rule %d of %s, the reference says %v", method, path, sel.raw, ruleNumber(sel.rule), sel.rule.route.cfg.Name, want)
		}
	})
}

// ruleNumber is the place of a rule in its route, -1 for the route's own.
func ruleNumber(r *rule) int {
	for i, other := range r.route.ordered {
		if other == r {
			return i
		}
	}
	return -1
}

var absoluteForm = regexp.MustCompile(`(?is)^https?://([^/?#\\]*)(.*)$`)

// FuzzT033_Target holds the split of a request target against a pattern, and
// against the host that net/http takes from the same bytes.
func FuzzT033_Target(f *testing.F) {
	for _, s := range []string{"/a?b", "http://app.test/a?b#c", "HTTPS://APP.test", "http://app.test?x", "http://u@app.test/", "http://app.test\\@evil.test/", "http:///x", "//evil.test/x", "*", "app.test:80", "http:/x", "/?", "http://[::1]:80/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, query, ok := splitTarget(target)
		rest, authority, want := target, "", strings.HasPrefix(target, "/")
		if m := absoluteForm.FindStringSubmatch(target); !want && m != nil {
			authority, rest, want = m[1], m[2], !strings.Contains(m[1], "@")
			if rest == "" || rest[0] == '?' {
				rest = "/" + rest
			}
		}
		if ok != want || ok && path+query != rest || strings.Contains(path, "?") || query != "" && query[0] != '?' {
			t.Fatalf("%q: path %q, query %q, %v; want %q, %v", target, path, query, ok, rest, want)
		}
		if !ok || authority == "" {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: other.test\r\n\r\n")))
		if err != nil || r.RequestURI != target {
			return // never gets here
		}
		name, fine := canonicalHost(r.Host)
		if own, valid := canonicalHost(authority); fine && (!valid || own != name) {
			t.Fatalf("%q: the path of %q would be judged for host %q", target, authority, r.Host)
		}
	})
}

var plainOrigin = regexp.MustCompile(`^[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`) // (?i) would take U+212A for a k and U+017F for an s

// FuzzT072_Origin holds the comparison of origins against a pattern: what is
// taken for the same origin is the same text, but for case and default port.
func FuzzT072_Origin(f *testing.F) {
	for _, s := range []string{"https://app.test", "HTTPS://APP.TEST:443", "https://app.test:8443", "http://app.test", "null", "", "https://app.test/", "https://app.test@evil.test", "https://app.test.", "https://app.test:", "https://app.test#", "https://\u212a.test"} {
		f.Add(s, "app.test", true)
		f.Add(s, "APP.test:8443", false)
	}
	f.Add("http://\u212a", "K", false)
	f.Add("http\u017f://K", "K", true)
	f.Fuzz(func(t *testing.T, origin, host string, secure bool) {
		scheme, port := "http", ":80"
		if secure {
			scheme, port = "https", ":443"
		}
		plain := func(s string) string { return strings.TrimSuffix(strings.ToLower(s), port) }
		want := plainOrigin.MatchString(origin) && plainOrigin.MatchString(scheme+"://"+host) && plain(origin) == plain(scheme+"://"+host)
		if got := sameOrigin(origin, host, secure); got && !want {
			t.Fatalf("%q is taken for %s://%s", origin, scheme, host)
		} else if _, ok := canonicalHost(host); !got && want && ok && !strings.Contains(host, "[") {
			t.Fatalf("%q is not taken for %s://%s", origin, scheme, host)
		}
	})
}
