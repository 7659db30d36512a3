package server

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func request(peer string, secure bool, header ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = peer
	r.TLS = nil
	if secure {
		r.TLS = &tls.ConnectionState{}
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func TestT017_ForwardedForIsReadFromTheRight(t *testing.T) {
	nets := prefixes("10.0.0.0/8", "fd00::/8")
	for _, c := range []struct{ name, peer, xff, want string }{
		{"untrusted peer is the client", "198.51.100.9:1", "203.0.113.5", "198.51.100.9"},
		{"trusted peer names the client", "10.0.0.1:1", "203.0.113.5", "203.0.113.5"},
		{"what the client wrote itself is on the left", "10.0.0.1:1", "1.1.1.1, 203.0.113.5", "203.0.113.5"},
		{"trusted hops are walked over", "10.0.0.1:1", "1.1.1.1, 203.0.113.5, 10.2.2.2,10.3.3.3", "203.0.113.5"},
		{"all trusted: the leftmost", "10.0.0.1:1", "10.9.9.9, 10.2.2.2", "10.9.9.9"},
		{"no header: the peer", "10.0.0.1:1", "", "10.0.0.1"},
		{"ports and brackets", "10.0.0.1:1", "[2001:db8::1]:443, 10.2.2.2:80, [fd00::2]", "2001:db8::1"},
		{"garbage left of the client is never reached", "10.0.0.1:1", "<script>, 203.0.113.5", "203.0.113.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h []string
			if c.xff != "" {
				h = []string{"X-Forwarded-For", c.xff}
			}
			if got := callerOf(nets, request(c.peer, true, h...)); got.client.String() != c.want || got.bad != "" {
				t.Errorf("client = %v (bad %q), want %s", got.client, got.bad, c.want)
			}
		})
	}
	t.Run("several lines are one list in order", func(t *testing.T) {
		got := callerOf(nets, request("10.0.0.1:1", true, "X-Forwarded-For", "203.0.113.7", "X-Forwarded-For", "203.0.113.5", "X-Forwarded-For", "10.4.4.4"))
		if got.client.String() != "203.0.113.5" {
			t.Errorf("client = %v", got.client)
		}
	})
}

func TestT018_GarbageMeansThePeer(t *testing.T) {
	nets := prefixes("10.0.0.0/8")
	for _, xff := range []string{"a", "unknown", "1.2.3", "203.0.113.5,", ",", " ", "203.0.113.5, _hidden", "999.1.1.1",
		"1.2.3.4:99999", "[1.2.3.4]", "203.0.113.5 10.1.1.1", strings.Repeat("1", 5000)} {
		got := callerOf(nets, request("10.0.0.1:1", true, "X-Forwarded-For", xff))
		if got.client.String() != "10.0.0.1" || got.bad != "X-Forwarded-For" {
			t.Errorf("%.30q: client = %v, bad = %q", xff, got.client, got.bad)
		}
	}
}

func TestT018_GarbageIsCounted(t *testing.T) {
	g := start(t, func(o *Options) { o.Config.Listen.TrustedProxies = prefixes("127.0.0.0/8") })
	g.get(g.client(false), "GET", "https://"+testHost+"/", nil, "X-Forwarded-For", "a")
	_, text := g.admin("/metrics")
	if want := `gatehouse_forwarded_rejected_total{header="X-Forwarded-For"} 1`; !strings.Contains(text, want) {
		t.Errorf("metrics lack %s", want)
	}
}

func TestT019_NobodyIsTrustedByDefault(t *testing.T) {
	got := callerOf(nil, request("127.0.0.1:1", false, "X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"))
	if got.client.String() != "127.0.0.1" || got.trusted || got.secure {
		t.Errorf("%+v", got)
	}
	o, _ := testOptions(t)
	o.Config.Listen.ProxyProtocol = true
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "trusted_proxies") {
		t.Errorf("PROXY protocol from anybody was accepted: %v", err)
	}
}

func TestT021_OneSpellingOfAnAddress(t *testing.T) {
	nets := unmapPrefixes(prefixes("::ffff:10.0.0.0/104", "fe80::/10"))
	for _, c := range []struct{ peer, xff, want string }{
		{"[::ffff:10.0.0.1]:1", "203.0.113.5", "203.0.113.5"},
		{"10.0.0.1:1", "::ffff:203.0.113.5", "203.0.113.5"},
		{"10.0.0.1:1", "[::ffff:203.0.113.5]:9", "203.0.113.5"},
		{"10.0.0.1:1", "203.0.113.5, ::ffff:10.1.1.1", "203.0.113.5"},
		{"[fe80::1%eth0]:1", "2001:db8::7%eth1", "2001:db8::7"},
		{"[::ffff:198.51.100.1]:1", "203.0.113.5", "198.51.100.1"},
	} {
		got := callerOf(nets, request(c.peer, true, "X-Forwarded-For", c.xff)).client
		if got.String() != c.want || got.Is4In6() || got.Zone() != "" {
			t.Errorf("%s with %s: client = %v, want %s", c.peer, c.xff, got, c.want)
		}
	}
}

func TestT022_ForwardedProtoOnlyFromTrustedPeers(t *testing.T) {
	nets := prefixes("10.0.0.0/8")
	for _, c := range []struct {
		name, peer string
		tls        bool
		proto      []string
		want       bool
		bad        string
	}{
		{"stranger cannot claim https", "198.51.100.1:1", false, []string{"https"}, false, ""},
		{"stranger cannot deny https", "198.51.100.1:1", true, []string{"http"}, true, ""},
		{"proxy says https", "10.0.0.1:1", false, []string{"https"}, true, ""},
		{"proxy says http", "10.0.0.1:1", true, []string{"http"}, false, ""},
		{"proxy says nothing", "10.0.0.1:1", true, nil, true, ""},
		{"the nearest hop counts", "10.0.0.1:1", false, []string{"https, http"}, false, ""},
		{"two lines are no statement", "10.0.0.1:1", false, []string{"https", "https"}, false, "X-Forwarded-Proto"},
		{"another word is no statement", "10.0.0.1:1", false, []string{"wss"}, false, "X-Forwarded-Proto"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(c.peer, c.tls)
			for _, p := range c.proto {
				r.Header.Add("X-Forwarded-Proto", p)
			}
			if got := callerOf(nets, r); got.secure != c.want || got.bad != c.bad {
				t.Errorf("secure = %v, bad = %q", got.secure, got.bad)
			}
		})
	}
}

func FuzzT018_ForwardedWalk(f *testing.F) {
	f.Add("203.0.113.5, 10.0.0.2", "", "10.0.0.1:1")
	f.Add("a", "::ffff:1.2.3.4%x", "10.0.0.1:1")
	f.Add("[::1]:80,,", "1.2.3.4:5", "[::ffff:10.0.0.9]:2")
	nets := prefixes("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, one, two, peer string) {
		r := request(peer, true, "X-Forwarded-For", one, "X-Forwarded-For", two)
		got := callerOf(nets, r)
		self := peerOf(peer)
		if got.client.Is4In6() || got.client.Zone() != "" {
			t.Fatalf("client %v is not in its one spelling", got.client)
		}
		if !contains(nets, self) && got.client != self {
			t.Fatalf("an untrusted peer %v became %v", self, got.client)
		}
		if got.bad != "" && got.client != self {
			t.Fatalf("garbage made the client %v, not the peer", got.client)
		}
		if got.client != self && !reference(nets, one+","+two, got.client) {
			t.Fatalf("client %v is not what a simple walk finds in %q", got.client, one+","+two)
		}
	})
}

// reference is the walk written the slow way.
func reference(nets []netip.Prefix, list string, got netip.Addr) bool {
	entries := strings.Split(list, ",")
	for i := len(entries) - 1; i >= 0; i-- {
		a, ok := parseEntry(strings.Trim(entries[i], " \t"))
		if !ok {
			return false
		}
		if !contains(nets, a) || i == 0 {
			return a == got
		}
	}
	return false
}
