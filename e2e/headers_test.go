package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/internal/gatetest"
)

// headerRoutes has a route for each preset, a map, a public route, and one
// that lets odd names in.
func headerRoutes(upstream string) string {
	text := "limits: {login_ip: 1000/1m}\nroutes:\n"
	for host, options := range map[string]string{
		"app.test": "", "open.test": ", access: public", "remote.test": ", identity_headers: remote-user", "request.test": ", identity_headers: x-auth-request",
		"webauth.test": ", identity_headers: x-webauth", "xremote.test": ", identity_headers: x-remote-user",
		"mapped.test": ", identity_headers: {x-my-user: email, X-MY-ROLES: groups, X-Sid: sid}", "allow.test": ", allow_headers: [Api_Key, X.Trace]",
		"tenant.test": ", set_request_headers: {X-Tenant: a}", "assert.test": ", assertion: true",
	} {
		text += fmt.Sprintf("  - {name: %s, host: %s, upstream: %q%s}\n", strings.TrimSuffix(host, ".test"), host, upstream, options)
	}
	return text
}

const annName = `Zoë 100% "A"`

// headerGate has two users: ann with a name and groups, bob with neither.
func headerGate(t *testing.T) (g *gatetest.Gate, up *gatetest.Upstream, ann, bob gatetest.Tokens) {
	up = gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g = gatetest.Start(t, headerRoutes(up.URL()))
	g.Must(password+"\n", "user", "add", "Ann@example.com", "--name", annName, "--groups", "staff,b c")
	g.AddUser("bob@example.com", password)
	c := g.Client("app.test", false)
	return g, up, c.Login("ann@example.com", password), c.Login("bob@example.com", password)
}

// said are the header lines an app saw, as they came.
type said struct{ name, value string }

func parseHead(head string) []said {
	var all []said
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok && !strings.Contains(name, " ") {
			all = append(all, said{name, value})
		}
	}
	return all
}

// foldCGI is what the most careless of servers makes of a name.
func foldCGI(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// believed are the names that apps, gateways and frameworks act on.
func believed() []string {
	return strings.Fields(`Remote-User Remote-Name Remote-Email Remote-Groups X-Remote-User X-Remote-Groups
		X-Forwarded-User X-Forwarded-Email X-Forwarded-Preferred-Username X-Forwarded-Groups X-Forwarded-Access-Token
		X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Preferred-Username X-Auth-Request-Groups X-Auth-Request-Access-Token
		X-WEBAUTH-USER X-WEBAUTH-EMAIL X-WEBAUTH-NAME X-WEBAUTH-GROUPS X-WEBAUTH-ROLE X-User-Id X-Authenticated-User X-SSL-Client-Cert X-SSL-Client-Verify SSL-Client-S-Dn
		X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Uri X-Forwarded-Method X-Forwarded-Path X-Forwarded-Scheme
		X-Forwarded-Ssl X-Forwarded-Server X-Forwarded-Client-Cert X-Real-IP Forwarded X-Request-Id
		X-Original-URL X-Original-Uri X-Original-Method X-Original-Host X-Rewrite-URL X-Envoy-Original-Path X-HTTP-Method X-HTTP-Method-Override X-Method-Override
		X-Scheme X-Url-Scheme Front-End-Https X-ProxyUser-Ip True-Client-IP CF-Connecting-IP X-Client-IP X-Cluster-Client-IP X-Script-Name Proxy
		X-Gatehouse-Assertion X-My-User X-My-Roles X-Sid Client-Cert Client-Cert-Chain`)
}

// written is what the gateway itself writes on a route; identity comes on top.
func written(host string) map[string]string {
	return map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443",
		"Forwarded": "for=127.0.0.1;host=" + host + ";proto=https", "X-Request-Id": "*",
	}
}

// annOn is ann's identity on each route.
func annOn(host, sub, sid string) map[string]string {
	name, groups := "Zo%C3%AB 100%25 \"A\"", "b c,staff"
	return map[string]map[string]string{
		"app.test":     {"X-Forwarded-User": sub, "X-Forwarded-Email": "Ann@example.com", "X-Forwarded-Preferred-Username": name, "X-Forwarded-Groups": groups},
		"open.test":    {"X-Forwarded-User": sub, "X-Forwarded-Email": "Ann@example.com", "X-Forwarded-Preferred-Username": name, "X-Forwarded-Groups": groups},
		"remote.test":  {"Remote-User": "Ann@example.com", "Remote-Email": "Ann@example.com", "Remote-Name": name, "Remote-Groups": groups},
		"request.test": {"X-Auth-Request-User": sub, "X-Auth-Request-Email": "Ann@example.com", "X-Auth-Request-Preferred-Username": name, "X-Auth-Request-Groups": groups},
		"webauth.test": {"X-Webauth-User": "Ann@example.com", "X-Webauth-Email": "Ann@example.com", "X-Webauth-Name": name, "X-Webauth-Groups": groups},
		"xremote.test": {"X-Remote-User": "Ann@example.com"},
		"mapped.test":  {"X-My-User": "Ann@example.com", "X-My-Roles": groups, "X-Sid": sid},
	}[host]
}

// believedFolded are those names as a careless server reads them.
var believedFolded = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, n := range believed() {
		names[foldCGI(n)] = true
	}
	return names
})

// wrong says what is wrong with a head: a believed name with anything but the
// gateway's own value, a value of the client's under it, a name that folds, or
// a line that is missing or twice.
func wrong(head string, own map[string]string, allowed ...string) string {
	names := believedFolded()
	seen := map[string]int{}
	for _, l := range parseHead(head) {
		folded := foldCGI(l.name)
		if strings.ContainsAny(l.name, "_.") && !slices.Contains(allowed, strings.ToLower(l.name)) {
			return "a name that folds passed: " + l.name
		}
		if strings.Contains(l.value, "evil") {
			return "a value of the client's passed: " + l.name + ": " + l.value
		}
		if !names[folded] && !strings.HasPrefix(folded, "x-forwarded-") {
			continue
		}
		want, ok := own[l.name]
		if !ok || want != "*" && want != l.value {
			return fmt.Sprintf("%s: %q, want %q (%v)", l.name, l.value, want, ok)
		}
		seen[l.name]++
	}
	for name := range own {
		if seen[name] != 1 {
			return fmt.Sprintf("%s is there %d times", name, seen[name])
		}
	}
	return ""
}

func merged(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func TestT001_T011_T012_T013_T020_BelievedNamesAreOurs(t *testing.T) {
	t.Parallel()
	g, _, ann, _ := headerGate(t)
	var evil []string
	for _, n := range believed() {
		evil = append(evil, n+": evil", strings.ToUpper(n)+": evil, evil")
	}
	half := len(evil) / 2
	for _, host := range []string{"app.test", "open.test", "remote.test", "request.test", "webauth.test", "xremote.test", "mapped.test"} {
		w, h2 := g.Wire(host), g.Client(host, true)
		for _, lines := range [][]string{evil[:half], evil[half:]} {
			for _, auth := range []string{"", gatetest.Bearer(ann.AccessToken)} {
				if auth == "" && host != "open.test" {
					continue
				}
				own := written(host)
				request := "GET /x HTTP/1.1\r\nHost: " + host + "\r\nX-Fine: 1\r\n" + strings.Join(lines, "\r\n") + "\r\n"
				headers := append([]string{"X-Fine: 1"}, lines...)
				if auth != "" {
					own = merged(own, annOn(host, ann.User.Sub, ann.User.Sid))
					request += auth + "\r\n"
					headers = append(headers, auth)
				}
				for protocol, a := range map[string]gatetest.Answer{"HTTP/1.1": w.Ask(request + "\r\n"), "HTTP/2": h2.Must("GET", "/x", "", headers...)} {
					if bad := wrong(a.Text, own); bad != "" || !strings.Contains(a.Text, "\r\nX-Fine: 1\r\n") {
						t.Errorf("%s, %s, signed in %v: %s\n%s", host, protocol, auth != "", bad, a.Text)
					}
				}
			}
		}
	}
}

func TestT002_T006_NoHeaderForNothingAndOneForEach(t *testing.T) {
	t.Parallel()
	g, _, _, bob := headerGate(t)
	for host, own := range map[string]map[string]string{
		"app.test": {"X-Forwarded-User": bob.User.Sub, "X-Forwarded-Email": "bob@example.com"}, "remote.test": {"Remote-User": "bob@example.com", "Remote-Email": "bob@example.com"},
		"webauth.test": {"X-Webauth-User": "bob@example.com", "X-Webauth-Email": "bob@example.com"}, "mapped.test": {"X-My-User": "bob@example.com", "X-Sid": bob.User.Sid},
	} {
		var lines string
		for _, n := range []string{"X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "Remote-Groups", "Remote-Name", "X-WEBAUTH-NAME", "X-WEBAUTH-GROUPS", "X-My-Roles"} {
			lines += n + ": evil\r\n" + strings.ToLower(n) + ": evil,evil\r\n"
		}
		a := g.Wire(host).Ask("GET / HTTP/1.1\r\nHost: " + host + "\r\n" + lines + gatetest.Bearer(bob.AccessToken) + "\r\n\r\n")
		if bad := wrong(a.Text, merged(written(host), own)); bad != "" {
			t.Errorf("%s: %s\n%s", host, bad, a.Text)
		}
	}
}

// Every separator in every place that the name has one.
func TestT003_NoSpellingFoldsToAName(t *testing.T) {
	t.Parallel()
	g, _, ann, _ := headerGate(t)
	var spellings []string
	for _, name := range []string{"X-Forwarded-User", "Remote-User", "X-My-User", "X-Forwarded-For", "X-Original-URL", "X-HTTP-Method-Override"} {
		parts := strings.Split(name, "-")
		forms := []string{parts[0]}
		for _, p := range parts[1:] {
			var next []string
			for _, f := range forms {
				for _, sep := range strings.Split("-_.!|", "") {
					next = append(next, f+sep+p, strings.ToLower(f)+sep+strings.ToUpper(p))
				}
			}
			forms = next
		}
		spellings = append(spellings, forms...)
	}
	for _, host := range []string{"app.test", "mapped.test", "allow.test"} {
		w, own := g.Wire(host), merged(written(host), annOn(host, ann.User.Sub, ann.User.Sid))
		if host == "allow.test" {
			own = merged(own, annOn("app.test", ann.User.Sub, ann.User.Sid))
		}
		for chunk := range slices.Chunk(spellings, 80) {
			a := w.Ask("GET / HTTP/1.1\r\nHost: " + host + "\r\n" + gatetest.Bearer(ann.AccessToken) + "\r\n" + strings.Join(chunk, ": evil\r\n") + ": evil\r\n\r\n")
			if bad := wrong(a.Text, own); bad != "" || a.StatusCode != 200 {
				t.Fatalf("%s: %d %s\n%s", host, a.StatusCode, bad, a.Text)
			}
		}
		a := w.Ask("GET / HTTP/1.1\r\nHost: " + host + "\r\n" + gatetest.Bearer(ann.AccessToken) + "\r\nApi_Key: k\r\nX.Trace: t\r\nApi.Key: k2\r\nX_Trace: t2\r\n\r\n")
		passed := strings.ToLower(a.Text)
		if got := strings.Contains(passed, "api_key: k\r\n") && strings.Contains(passed, "x.trace: t\r\n"); got != (host == "allow.test") || strings.Contains(passed, ": k2") || strings.Contains(passed, ": t2") {
			t.Errorf("%s: names with _ and . that are not, or are, allowed:\n%s", host, a.Text)
		}
	}
}

func TestT004_NamesOfTheMapAreCanonical(t *testing.T) {
	t.Parallel()
	g, _, ann, _ := headerGate(t)
	a := g.Wire("mapped.test").Ask("GET / HTTP/1.1\r\nHost: mapped.test\r\n" + gatetest.Bearer(ann.AccessToken) + "\r\nx-my-user: evil\r\nX-MY-USER: evil\r\nX-My-Roles: evil\r\nx-my-roles: evil\r\nX-SID: evil\r\n\r\n")
	if bad := wrong(a.Text, merged(written("mapped.test"), annOn("mapped.test", ann.User.Sub, ann.User.Sid))); bad != "" {
		t.Errorf("%s\n%s", bad, a.Text)
	}
}

func TestT005_ConnectionTakesNothingOfOurs(t *testing.T) {
	t.Parallel()
	g, _, ann, _ := headerGate(t)
	for _, host := range []string{"app.test", "mapped.test"} {
		own, w := merged(written(host), annOn(host, ann.User.Sub, ann.User.Sid)), g.Wire(host)
		for name := range own {
			for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name), "close-not, \t" + name + " ,x", "keep-alive," + name} {
				a := w.Ask("GET / HTTP/1.1\r\nHost: " + host + "\r\n" + gatetest.Bearer(ann.AccessToken) + "\r\nConnection: " + spelling + "\r\n" + name + ": evil\r\n\r\n")
				if bad := wrong(a.Text, own); bad != "" {
					t.Errorf("%s, Connection: %s: %s\n%s", host, spelling, bad, a.Text)
				}
				if !strings.HasPrefix(spelling, "close") {
					continue // one spelling is enough for connections of their own
				}
				if head := upgraded(t, g, host, gatetest.Bearer(ann.AccessToken)+"\r\nConnection: "+spelling+"\r\n"+name+": evil"); wrong(head, own) != "" {
					t.Errorf("%s, WebSocket, Connection: %s: %s\n%s", host, spelling, wrong(head, own), head)
				}
			}
		}
	}
	a := g.Wire("tenant.test").Ask("GET / HTTP/1.1\r\nHost: tenant.test\r\n" + gatetest.Bearer(ann.AccessToken) + "\r\nConnection: X-Tenant, Via, X-Hop\r\nX-Tenant: evil\r\nX-Hop: 1\r\n\r\n")
	if !strings.Contains(a.Text, "\r\nX-Tenant: a\r\n") || !strings.Contains(a.Text, "\r\nVia: 1.1 gatehouse-") || strings.Contains(a.Text, "X-Hop") {
		t.Errorf("a nominated name took what the gateway sets, or passed itself:\n%s", a.Text)
	}
}

// upgraded opens a WebSocket with more header lines and returns the head that
// the app saw.
func upgraded(t *testing.T, g *gatetest.Gate, host, lines string) string {
	t.Helper()
	w := g.Wire(host)
	defer func() { _ = w.Close() }()
	a := w.Ask("GET /ws HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n" + lines + "\r\n\r\n")
	if a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %d %s", a.StatusCode, a.Text)
	}
	head, err := headOf(bufio.NewReader(w.Reader()))
	if err != nil {
		t.Fatalf("after the upgrade: %v", err)
	}
	return head
}

func TestT007_TrailersEndHere(t *testing.T) {
	t.Parallel()
	g, up, ann, _ := headerGate(t)
	for name := range annOn("app.test", "", "") {
		for _, declared := range []string{"Trailer: " + name + "\r\n", ""} {
			a := g.Wire("app.test").Ask("POST / HTTP/1.1\r\nHost: app.test\r\n" + gatetest.Bearer(ann.AccessToken) + "\r\n" + declared + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + name + ": evil\r\nX-Late: evil\r\n\r\n")
			if bad := wrong(a.Text, merged(written("app.test"), annOn("app.test", ann.User.Sub, ""))); bad != "" || a.StatusCode != 200 {
				t.Errorf("%q: %d %s", declared, a.StatusCode, bad)
			}
			if seen := up.Last(); strings.Contains(seen, "evil") || strings.Contains(strings.ToLower(seen), "\r\ntrailer:") || !strings.HasSuffix(seen, "abc") {
				t.Errorf("the app saw %q", seen)
			}
		}
	}
}

func TestT008_ValuesArriveEncoded(t *testing.T) {
	t.Parallel()
	g, _, ann, _ := headerGate(t)
	a := g.Client("app.test", true).Must("GET", "/", "", gatetest.Bearer(ann.AccessToken))
	if bad := wrong(a.Text, merged(written("app.test"), annOn("app.test", ann.User.Sub, ""))); bad != "" {
		t.Errorf("%s\n%s", bad, a.Text)
	}
	// What would break a line or a list is refused where it comes in, or
	// encoded where it goes out.
	for i, name := range []string{"a\r\nX-Evil: 1", "a\x1bb", "a,b", "\tx ", "\u2028x"} {
		email := fmt.Sprintf("u%d@example.com", i)
		if _, _, code := g.Command(password+"\n", "user", "add", email, "--name", name, "--groups", "g,h"); code != 0 {
			continue
		}
		tok := g.Client("app.test", false).Login(email, password)
		a := g.Client("app.test", true).Must("GET", "/", "", gatetest.Bearer(tok.AccessToken))
		if a.StatusCode != 200 || strings.Contains(a.Text, "X-Evil") && strings.Contains(a.Text, "\nX-Evil") || strings.ContainsAny(a.Text, "\x1b\u2028\t") {
			t.Errorf("name %q: %d\n%q", name, a.StatusCode, a.Text)
		}
	}
	if a := g.Client("mapped.test", true).Must(http.MethodGet, "/", "", gatetest.Bearer(ann.AccessToken)); !strings.Contains(a.Text, "\r\nX-My-Roles: b c,staff\r\n") {
		t.Errorf("groups:\n%s", a.Text)
	}
}
