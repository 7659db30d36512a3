package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/web"
)

// hotTable has n routes, half of them on one host by path, half on hosts of
// their own.
func hotTable(tb testing.TB, n int) *table {
	tb.Helper()
	cfg := &config.Config{UI: config.UI{Prefix: "/_auth"}, IdentityHeaders: config.IdentityHeaders{Preset: "x-forwarded"}}
	for i := range n {
		r := config.Route{Name: fmt.Sprintf("r%d", i), Host: "app.test", Path: fmt.Sprintf("/apps/number-%d", i), Access: config.Access{Kind: config.AccessSignedIn}, Authorization: "auto",
			Rules: []config.Rule{{Path: fmt.Sprintf("/apps/number-%d/admin", i), Access: config.Access{Kind: config.AccessConditions, Groups: []string{"admins"}}}}}
		if i%2 == 1 {
			r.Host, r.Path, r.Rules = fmt.Sprintf("h%d.test", i), "/", nil
		}
		cfg.Routes = append(cfg.Routes, r)
	}
	t, err := buildTable(cfg, true)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func hotIdentity() *identity.Identity {
	return &identity.Identity{Subject: "q3J0c2VjcmV0LXN1YmplY3Q", Email: "ada@example.com", Name: "Ada Lovelace", Groups: []string{"admins", "readers", "staff"}, Session: "s", AMR: []string{"pwd"}}
}

// hotInbound is what a browser sends on a signed-in user's request.
func hotInbound(t *table) inbound {
	h := http.Header{}
	for name, v := range map[string]string{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Accept": "*/*", "Accept-Language": "en-GB,en;q=0.5",
		"Accept-Encoding": "gzip, deflate, br, zstd", "Cookie": "theme=dark; lang=en", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Referer": "https://app.test/apps/number-4/"} {
		h.Set(name, v)
	}
	return inbound{
		r: &http.Request{Method: http.MethodGet, Host: "app.test", RequestURI: "/apps/number-4/x", ProtoMajor: 1, ProtoMinor: 1, Header: h}, id: hotIdentity(), rt: t.routes[4],
		rec: &web.Record{ID: "0123456789abcdef0123456789abcdef", Client: netip.MustParseAddr("192.0.2.7"), Secure: true}, result: &identity.Result{}, via: "1.1 gatehouse-0123456789abcdef",
	}
}

// hotSteps are the steps of a request between the gate and the wire.
func hotSteps(tb testing.TB) map[string]func() {
	tb.Helper()
	t := hotTable(tb, 1000)
	in, into := hotInbound(t), newScratch()
	access := &config.Access{Kind: config.AccessConditions, Groups: []string{"staff"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	off, on := newLimits(), newLimits()
	on.configure(config.Limits{RequestsIP: config.Rate{Count: 1 << 30, Per: time.Second}})
	now := time.Now()
	return map[string]func(){
		"match": func() {
			if _, no, _ := t.match("app.test", "/apps/number-4/admin/users/7", http.MethodGet); no != matched {
				tb.Fatal(no)
			}
		},
		"headers": func() {
			if out := t.requestHeader(in, into); len(out["X-Forwarded-Groups"]) != 1 {
				tb.Fatal(out)
			}
			into.reset()
		},
		"policy": func() {
			if v := judge(question{access: access, id: in.id, client: in.rec.Client, now: now}); v != Allow {
				tb.Fatal(v)
			}
		},
		"limit off": func() {
			if off.ip.take(in.rec.Client, now) != 0 {
				tb.Fatal("limited")
			}
		},
		"limit on": func() {
			if on.ip.take(in.rec.Client, now) != 0 {
				tb.Fatal("limited")
			}
		},
	}
}

// What each request does leaves nothing to the garbage collector. Allocations
// decide, since they are the same on every machine.
func TestTheHotPathAllocatesNothing(t *testing.T) {
	for name, step := range hotSteps(t) {
		step()
		if n := testing.AllocsPerRun(200, step); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

// A head that is used again holds nothing of the last one, and values that are
// remembered are those of this client, this host and this identity.
func TestHeadsShareMemoryAndNothingElse(t *testing.T) {
	tab := hotTable(t, 10)
	into := newScratch()
	first := hotInbound(tab)
	tab.requestHeader(first, into)
	into.reset()
	if len(into.header) != 0 {
		t.Fatalf("left behind: %v", into.header)
	}
	for i := range 3000 { // more than there are slots, some of them shared
		in := hotInbound(tab)
		in.id.Subject, in.id.Groups = fmt.Sprintf("user-%d", i), []string{fmt.Sprintf("group-%d", i)}
		in.rec.Client = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		in.r.Host = []string{"app.test", "app.test:8443"}[i%2]
		in.rec.Secure = i%3 != 0
		out := tab.requestHeader(in, into)
		want := map[string]string{"X-Forwarded-User": in.id.Subject, "X-Forwarded-Groups": in.id.Groups[0], "X-Forwarded-For": in.rec.Client.String(), "X-Forwarded-Host": in.r.Host,
			"X-Forwarded-Proto": map[bool]string{true: "https", false: "http"}[in.rec.Secure], "Forwarded": forwarded(in.rec.Client, in.r.Host, out["X-Forwarded-Proto"][0])}
		for name, v := range want {
			if got := out[name]; len(got) != 1 || got[0] != v {
				t.Fatalf("%d: %s = %q, want %q", i, name, got, v)
			}
		}
		into.reset()
		in.id = nil
		if out := tab.requestHeader(in, into); out["X-Forwarded-User"] != nil {
			t.Fatalf("%d: an anonymous caller is %q", i, out["X-Forwarded-User"])
		}
		into.reset()
	}
}

func BenchmarkHotPath(b *testing.B) {
	for name, step := range hotSteps(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

// The bar is 1,000 routes at most 1.5 times of 10.
func BenchmarkMatchManyRoutes(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t := hotTable(b, n)
			paths := make([]string, 0, n/2)
			for i := 0; i < n; i += 2 {
				paths = append(paths, fmt.Sprintf("/apps/number-%d/admin/users/7", i))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, no, _ := t.match("app.test", paths[i], http.MethodGet); no != matched {
					b.Fatal(no)
				}
				if i++; i == len(paths) {
					i = 0
				}
			}
		})
	}
}
