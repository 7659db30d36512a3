package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// pathRoutes has a public island with a guarded one in it, a guarded island in
// a public route, methods, and a prefix that is stripped.
func pathRoutes(upstream string) string {
	return fmt.Sprintf(`limits: {login_ip: 1000/1m}
routes:
  - name: guarded
    host: guarded.test
    upstream: %[1]q
    rules:
      - {path: /static, access: public}
      - {path: /static/inner, access: signed_in}
      - {path: /api, methods: [GET], access: public}
      - {path: /café, access: public}
  - name: open
    host: open.test
    upstream: %[1]q
    access: public
    rules:
      - {path: /admin, access: {groups: [admins]}}
  - {name: dav, host: open.test, path: /dav, strip_prefix: true, access: public, upstream: %[1]q, rules: [{path: /dav/admin, access: signed_in}]}
  - {name: sub, host: "*.wild.test", upstream: %[1]q, access: public}
  - {name: one, host: one.wild.test, upstream: %[1]q}
`, upstream)
}

// guarded reports whether a server that reads a path in this way would serve
// something that needs a sign-in.
func guarded(host, path string) bool {
	segments := []string{}
	for _, s := range strings.FieldsFunc(strings.ToLower(path), func(r rune) bool { return r == '/' || r == '\\' }) {
		if cut := strings.IndexAny(s, ";?#\x00"); cut >= 0 {
			s = s[:cut]
		}
		switch s {
		case "", ".":
		case "..":
			segments = segments[:max(0, len(segments)-1)]
		default:
			segments = append(segments, s)
		}
	}
	at := func(want ...string) bool {
		return len(segments) >= len(want) && strings.Join(segments[:len(want)], "/") == strings.Join(want, "/")
	}
	if host == "open.test" {
		return at("admin") || at("dav", "admin")
	}
	return !at("static") && !at("api") && !at("café") || at("static", "inner")
}

// leaks says how a target that nobody signed in for could be read as guarded;
// "" means in no way.
func leaks(host, target string) string {
	path, _, _ := strings.Cut(target, "?")
	for range 3 {
		if guarded(host, path) {
			return path
		}
		decoded := ""
		for i := 0; i < len(path); i++ {
			if i+2 < len(path) && path[i] == '%' {
				if b, err := url.PathUnescape(path[i : i+3]); err == nil {
					decoded, i = decoded+b, i+2
					continue
				}
			}
			decoded += path[i : i+1]
		}
		path = decoded
	}
	return ""
}

func TestT023_T024_T025_T026_T027_T028_T029_T031_T035_NoSpellingReachesAnotherRule(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, pathRoutes(up.URL()))
	for name, targets := range map[string]string{
		"T23 dots":        `/static/../x /static/.. /static/./../x /static/../../x /./static/../x /static/a/../../x`,
		"T24 encoded":     `/static/%2e%2e/x /static/.%2e/x /static%2f..%2fx /static/%2E%2E%2Fx /static/%252e%252e/x /static/%25252e%25252e/x /static%2finner /static/%69nner /%73tatic/inner /static%252finner`,
		"T25 backslash":   `/static/..\x /static\..\x /static/a\..\..\x /static/\inner /static/..%5cx /static%5c..%5cx /static%5cinner /static%255cinner /\static`,
		"T26 parameters":  `/static/..;/x /static/..;a=b/x /static/..%3b/x /static;x/inner /static/inner;x /static;/inner /static/;/inner /static/%3b/inner /static%3bx`,
		"T27 slashes":     `//static /static//inner //static//inner /static///inner /static/%2finner`,
		"T28 prefixes":    `/staticx /static.x /static..x /static../x /static%00/x /apix /apis`,
		"T29 case":        `/STATIC/x /Static /static/INNER /sTatic/x /%53TATIC /CAF%C3%89`,
		"T31 marks":       `/static%23 /static%3f /static%3fx /static%23/inner /static/inner%3f /static/inner%23 /static#x /static%00 /static/inner%2500 /static%2523`,
		"T35 bad bytes":   `/static/%00 /static/%0d%0aX:y /static/%7f /static/%c0%ae%c0%ae/x /static/%e0%80%ae/x /static/%zz /static/% /static/%2 /static/%u002e`,
		"T24 double dots": `/static/..%252f..%252fx /static/%2e%2e%5cx /static/.%252e/x`,
	} {
		t.Run(name, func(t *testing.T) {
			for target := range strings.FieldsSeq(targets) {
				n := len(up.Seen())
				a := g.Wire("guarded.test").Ask("GET " + target + " HTTP/1.1\r\nHost: guarded.test\r\n\r\n")
				if a.StatusCode != 400 && a.StatusCode != 401 || len(up.Seen()) != n {
					t.Errorf("HTTP/1.1 %s: %d, the app saw %d requests more: %s", target, a.StatusCode, len(up.Seen())-n, up.Last())
				}
				if status := overHTTP2(t, g, "guarded.test", target); status != 400 && status != 401 || len(up.Seen()) != n {
					t.Errorf("HTTP/2 %s: %d, the app saw %d requests more", target, status, len(up.Seen())-n)
				}
			}
		})
	}
}

// overHTTP2 asks with a :path of these very bytes.
func overHTTP2(t *testing.T, g *gatetest.Gate, host, target string) int {
	t.Helper()
	status, err := g.AskHTTP2(host, ":method", "GET", ":scheme", "https", ":authority", host, ":path", target)
	if err != nil {
		t.Fatalf("HTTP/2 %q: %v", target, err)
	}
	return status
}

// generatedPath spells a path to the guarded side in one of very many ways.
func generatedPath(r *rand.Rand) string {
	var b strings.Builder
	words := strings.Fields("static inner admin dav api café x %63af%C3%A9 .. . ..; ... ..x")
	for range 1 + r.IntN(4) {
		b.WriteString(pickFrom(r, "/", "/", "/", "/", "//", "%2f", "%252F", "%5c", `\`, "/;/", "/%3b/", "/./", ""))
		for _, c := range []byte(words[r.IntN(len(words))]) {
			switch r.IntN(30) {
			case 0:
				_, _ = fmt.Fprintf(&b, "%%%02x", c)
			case 1:
				_, _ = fmt.Fprintf(&b, "%%25%02X", c)
			case 2:
				b.WriteString(strings.ToUpper(string([]byte{c})))
			default:
				b.WriteByte(c)
			}
		}
		b.WriteString(pickFrom(r, "", "", "", "", "", ";", ";a=b", "%3b", "%3f", "%23", "%00", "%20", "%", "\xff", "?", "%25"))
	}
	if b.String()[0] != '/' {
		return "/" + b.String()
	}
	return b.String()
}

// TestT023_T024_T025_T026_T027_T029_T031_GeneratedPathsAreJudgedInEveryReading
// asks for generated paths without a sign-in: whatever reaches the app is
// public for a server that reads it in any of the ways servers do.
func TestT023_T024_T025_T026_T027_T029_T031_GeneratedPathsAreJudgedInEveryReading(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, pathRoutes(up.URL()))
	r := rand.New(rand.NewPCG(23, 31))
	wires, answered := map[string]*gatetest.Wire{}, map[int]int{}
	for range gatetest.Scale(3000, 300_000) {
		host, target := pickFrom(r, "guarded.test", "open.test"), generatedPath(r)
		if wires[host] == nil {
			wires[host] = g.Wire(host)
		}
		a, err := wires[host].Try("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		if a.Close { // net/http's own refusals
			wires[host] = nil
		}
		answered[a.StatusCode]++
		if a.StatusCode != 200 {
			continue
		}
		line, _, _ := strings.Cut(a.Text, "\r\n")
		sent := strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1")
		if how := leaks(host, target); how != "" {
			t.Errorf("%s %q reached the app without a sign-in, which may read it as %q", host, target, how)
		}
		if sent != target && "/dav"+sent != target && !(sent == "/" && target == "/dav") && "/dav"+sent[1:] != target {
			t.Errorf("%s %q arrived as %q", host, target, sent)
		}
		if len(up.Seen()) > 10_000 {
			up.Forget()
		}
	}
	if answered[200] == 0 || answered[400] == 0 || answered[401] == 0 {
		t.Errorf("answers by status %v: the generator has lost its bite", answered)
	}
	t.Logf("answers by status: %v", answered)
}
