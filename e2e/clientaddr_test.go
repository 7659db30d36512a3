package e2e

import (
	"os"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// addressGate is a gate in front of one public app; listen is added to its
// listen section.
func addressGate(t *testing.T, listen string) (*gatetest.Gate, *gatetest.Upstream) {
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.New(t, `limits: {login_ip: 3/1h, login_account: 100/1m}
routes:
  - {name: open, host: open.test, access: public, upstream: "`+up.URL()+`"}
  - {name: lan, host: lan.test, access: {networks: [10.0.0.0/8]}, upstream: "`+up.URL()+`"}
`)
	text, err := os.ReadFile(g.File())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.File(), []byte(strings.Replace(string(text), "listen: {", "listen: {"+listen, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Run()
	return g, up
}

// seenAs returns the address under which the app saw a request with these
// header lines.
func seenAs(t *testing.T, w *gatetest.Wire, lines ...string) string {
	t.Helper()
	a := w.Ask("GET / HTTP/1.1\r\nHost: open.test\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n")
	addr, real, forwarded := "", "", ""
	for _, l := range parseHead(a.Text) {
		switch l.name {
		case "X-Forwarded-For":
			addr += l.value
		case "X-Real-Ip":
			real += l.value
		case "Forwarded":
			forwarded += l.value
		}
	}
	node := addr
	if strings.Contains(addr, ":") {
		node = `"[` + addr + `]"`
	}
	if real != addr || !strings.HasPrefix(forwarded, "for="+node+";") {
		addr += " but X-Real-Ip " + real + " and Forwarded " + forwarded
	}
	return addr
}

func TestT017_T018_T020_T021_AddressFromTrustedPeersAlone(t *testing.T) {
	t.Parallel()
	g, _ := addressGate(t, "trusted_proxies: [127.0.0.0/8, \"::1/128\", 10.0.0.0/8], ")
	w := g.Wire("open.test")
	for _, c := range []struct {
		lines string
		want  string
	}{
		{"X-A: 1", "127.0.0.1"},
		{"X-Forwarded-For: 203.0.113.5", "203.0.113.5"},
		{"X-Forwarded-For: 198.51.100.66, 203.0.113.5", "203.0.113.5"},
		{"X-Forwarded-For: 198.51.100.66\r\nX-Forwarded-For: 203.0.113.5, 10.1.1.1", "203.0.113.5"},
		{"X-Forwarded-For: 10.1.1.1, 10.2.2.2", "10.1.1.1"},
		{"X-Forwarded-For: 203.0.113.5:4711", "203.0.113.5"},
		{"X-Forwarded-For: ::ffff:203.0.113.5", "203.0.113.5"},
		{"X-Forwarded-For: [::ffff:203.0.113.5]:80, ::ffff:10.1.1.1", "203.0.113.5"},
		{"X-Forwarded-For: 2001:db8::7%25eth0", "2001:db8::7"},
		{"X-Forwarded-For: 2001:DB8::7%eth0", "2001:db8::7"},
		{"X-Forwarded-For: [2001:db8::7]:9", "2001:db8::7"},
		{"X-Forwarded-For: a", "127.0.0.1"},
		{"X-Forwarded-For: 203.0.113.5, a", "127.0.0.1"},
		{"X-Forwarded-For: ,", "127.0.0.1"},
		{"X-Forwarded-For: 203.0.113.5,", "127.0.0.1"},
		{"X-Forwarded-For: unknown", "127.0.0.1"},
		{"X-Forwarded-For: 0x7f.1", "127.0.0.1"},
		{"X-Forwarded-For: 203.0.113.05", "127.0.0.1"},
		{"X-Forwarded-For: " + strings.Repeat("1", 300), "127.0.0.1"},
		{"X-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nTrue-Client-IP: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\nCF-Connecting-IP: 9.9.9.9", "127.0.0.1"},
	} {
		if got := seenAs(t, w, c.lines); got != c.want {
			t.Errorf("%q: seen as %s, want %s", c.lines, got, c.want)
		}
	}
	if !strings.Contains(metrics(t, g), `gatehouse_forwarded_rejected_total{header="X-Forwarded-For"} 8`) {
		t.Errorf("garbage is not counted: %s", grep(metrics(t, g), "forwarded_rejected"))
	}
	// The rule by network and the limit by address see the same client.
	g.AddUser("ann@example.com", password)
	tok := g.Client("lan.test", false).Login("ann@example.com", password).AccessToken
	for xff, status := range map[string]int{"10.9.9.9": 200, "203.0.113.5": 403, "a": 403, "10.9.9.9, 203.0.113.5": 403, "::ffff:10.9.9.9": 200} {
		a := g.Client("lan.test", true).Must("GET", "/", "", gatetest.Bearer(tok), "X-Forwarded-For: "+xff)
		if a.StatusCode != status {
			t.Errorf("X-Forwarded-For %q at a route for 10.0.0.0/8: %d, want %d", xff, a.StatusCode, status)
		}
	}
	if refused(g, "203.0.113.5, a", "203.0.113.6, a", "203.0.113.7, a", "203.0.113.8, a") != 1 {
		t.Error("garbage in front of the peer dodged the limit by address")
	}
}

// refused counts the 429 among failed sign-ins, each with its own account and
// X-Forwarded-For.
func refused(g *gatetest.Gate, xff ...string) int {
	c, n := g.Client("open.test", false), 0
	for i, x := range xff {
		a := c.JSON("/_auth/login", map[string]string{"email": "nobody" + string(rune('a'+i)) + "@example.com", "password": "wrong-wrong-wrong"}, nil, "X-Forwarded-For: "+x)
		if a.StatusCode == 429 {
			n++
		}
	}
	return n
}

func grep(text, what string) string {
	var out []string
	for l := range strings.SplitSeq(text, "\n") {
		if strings.Contains(l, what) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func TestT017_T019_T022_NobodyIsTrustedUnlessListed(t *testing.T) {
	t.Parallel()
	g, up := addressGate(t, "")
	w := g.Wire("open.test")
	for _, l := range []string{"X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1", "Forwarded: for=203.0.113.5;proto=http;host=evil.test"} {
		if got := seenAs(t, w, l); got != "127.0.0.1" {
			t.Errorf("%q: seen as %s", l, got)
		}
		if s := up.Last(); !strings.Contains(s, "\r\nX-Forwarded-Proto: https\r\n") || strings.Contains(s, "evil.test") || !strings.Contains(s, "\r\nX-Forwarded-Port: 443\r\n") {
			t.Errorf("%q: the app saw\n%s", l, s)
		}
	}
	if refused(g, "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4") != 1 {
		t.Error("a header dodged the limit by address")
	}
	// T22: a header does not make plain http secure.
	n := len(up.Seen())
	a, err := get("http://" + g.HTTP + "/")
	if err != nil || !strings.Contains(a, "421") {
		t.Errorf("plain http, unknown host: %v %s", err, a)
	}
	if resp := plain(t, g, "open.test", "/", "X-Forwarded-Proto: https", "Accept: application/json"); resp.StatusCode != 403 || resp.Header.Get("Gatehouse-Response") != "https_required" {
		t.Errorf("plain http that says https: %d", resp.StatusCode)
	}
	if len(up.Seen()) != n {
		t.Errorf("the app saw a plain request: %s", up.Last())
	}
	// T19: trust without a list does not pass the check.
	text, err := os.ReadFile(g.File())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"proxy_protocol: true, ", "trusted_proxies: [], proxy_protocol: true, ", "trusted_proxies: [nobody], ", "trusted_proxies: [\"\"], ", "trusted_proxies: 10.0.0.0, "} {
		if err := os.WriteFile(g.File(), []byte(strings.Replace(string(text), "listen: {", "listen: {"+bad, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, errs, code := g.Command("", "check"); code != 2 {
			t.Errorf("%s: exit %d\n%s%s", bad, code, out, errs)
		}
	}
}

func TestT022_PlainHTTPIsSecureWhenATrustedPeerSaysSo(t *testing.T) {
	t.Parallel()
	g, up := addressGate(t, "trusted_proxies: [127.0.0.1/32], ")
	for proto, status := range map[string]int{"https": 200, "HTTPS": 200, "http, https": 200, "https, http": 403, "http": 403, "wss": 403, "https\r\nX-Forwarded-Proto: https": 403, "": 403} {
		line := "X-A: 1"
		if proto != "" {
			line = "X-Forwarded-Proto: " + proto
		}
		if resp := plain(t, g, "open.test", "/", append(strings.Split(line, "\r\n"), "Accept: application/json")...); resp.StatusCode != status {
			t.Errorf("%q: %d, want %d", proto, resp.StatusCode, status)
		}
		if status == 200 && !strings.Contains(up.Last(), "\r\nX-Forwarded-Proto: https\r\n") {
			t.Errorf("%q: the app saw\n%s", proto, up.Last())
		}
	}
}
