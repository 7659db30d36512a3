package authn

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/store"
)

// failUntilLimited signs in wrongly and returns how many tries were answered
// before the first 429.
func (w *world) failUntilLimited(email func(i int) string, most int) int {
	w.t.Helper()
	for i := range most {
		switch a := w.login(email(i), "wrong"); a.Code {
		case 401:
		case 429:
			return i
		default:
			w.t.Fatalf("try %d: %d %s", i+1, a.Code, a.Body)
		}
	}
	return most
}

func TestLoginLimits(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		if n := w.failUntilLimited(func(int) string { return "ann@example.com" }, 10); n != 5 {
			t.Errorf("%d failures of one account, want 5", n)
		}
		a := w.login("ann@example.com", annsPassword)
		w.want("the right password, limited", a, 429, "rate_limited")
		if a.Header().Get("Retry-After") != "12" || w.limited("login_account") != 2 {
			t.Errorf("Retry-After %q, counted %v", a.Header().Get("Retry-After"), w.limited("login_account"))
		}
		last := w.events.take()
		if e := last[len(last)-1]; e["event"] != "limit.hit" || e["limit"] != "login_account" || e["ip"] != "192.0.2.1" || e["request_id"] != "r" {
			t.Errorf("audited %v", e)
		}
		w.pass(13 * time.Second)
		w.granted(w.login("ann@example.com", annsPassword), 200)
	})
	inWorld(t, "limits: {login_account: 100/1m, login_ip: 3/1m}", func(t *testing.T, w *world) {
		if n := w.failUntilLimited(func(i int) string { return fmt.Sprintf("u%d@example.com", i) }, 6); n != 3 {
			t.Errorf("%d failures from one address, want 3", n)
		}
		w.from = netip.MustParseAddr("192.0.2.2")
		w.want("from another", w.login("u@example.com", "x"), 401, "invalid_credentials")
	})
}

// fail counts a failed sign-in without the work of one.
func (w *world) fail(email string) {
	w.t.Helper()
	if _, err := w.Limiter.Take(w.t.Context(), w.clock(), w.loginClaims(email, w.caller())...); err != nil {
		w.t.Fatal(err)
	}
}

// Several instances on one database count together (threat T98).
func TestT098_InstancesCountTogether(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		other := &world{t: t, path: w.path, cfg: w.cfg, events: &events{}, from: w.from, device: w.device}
		other.open()
		t.Cleanup(func() { _ = other.db.Close() })
		got := map[int]int{}
		for i := range 12 {
			got[[]*world{w, other}[i%2].login("ann@example.com", "wrong").Code]++
		}
		if got[401] != 5 || got[429] != 7 {
			t.Errorf("%v, want 5 times 401", got)
		}
	})
}

func TestT099_ARestartForgetsNoLimit(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}\nlimits: {register_ip: 1/1h}", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		for range 4 {
			w.fail("ann@example.com")
		}
		w.want("the fifth", w.login("ann@example.com", "wrong"), 401, "invalid_credentials")
		w.register("a@example.com", newPassword, "")
		w.open()
		w.want("sign-in", w.login("ann@example.com", annsPassword), 429, "rate_limited")
		w.want("registration", w.register("b@example.com", newPassword, ""), 429, "rate_limited")
	})
}

// No number of other callers frees one who is limited (threat T100).
func TestT100_NobodyIsForgottenUnderAFlood(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		for range 5 {
			w.fail("ann@example.com")
		}
		n := gatetest.Scale(2_000, 1_000_000)
		var wg sync.WaitGroup
		for worker := range 64 {
			wg.Go(func() {
				for i := worker; i < n; i += 64 {
					a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
					claims := w.loginClaims(fmt.Sprintf("u%d@example.com", i), Caller{Address: a})
					if _, err := w.Limiter.Take(t.Context(), w.clock(), claims...); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := w.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.want("the one who was limited", w.login("ann@example.com", annsPassword), 429, "rate_limited")
		w.pass(2 * time.Hour)
		if gone, err := w.Limiter.Purge(t.Context(), w.clock()); err != nil || gone < int64(n) {
			t.Errorf("%d of more than %d counters went when they limited nobody: %v", gone, n, err)
		}
	})
}

// An IPv6 host rotates through its /64 at no cost; a zone and the IPv4-mapped
// spelling are no other address (threats T101, T21).
func TestT101_OneHostIsOneNetwork(t *testing.T) {
	t.Parallel()
	for i := range 256 {
		a := fmt.Sprintf("2001:db8:1:2:%x:%x::%x", i, i*31, i)
		if got := network(netip.MustParseAddr(a)); got != "2001:db8:1:2::/64" {
			t.Errorf("%s is %s", a, got)
		}
	}
	for a, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "::ffff:c000:201": "192.0.2.1", "2001:db8:1:3::1": "2001:db8:1:3::/64",
		"fe80::1%eth0": "fe80::/64", "fe80::2%eth1": "fe80::/64",
	} {
		if got := network(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is %s, want %s", a, got, want)
		}
	}
	if network(netip.Addr{}) != "unknown" {
		t.Error("nobody's address")
	}
	inWorld(t, "", func(t *testing.T, w *world) {
		for i := range 6 {
			w.from = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x%%eth%d", i*7919, i))
			if a := w.login("ann@example.com", "wrong"); (a.Code == 429) != (i == 5) {
				t.Errorf("try %d: %d", i+1, a.Code)
			}
		}
	})
}

// Many providers give one customer a /48: rotating through its networks helps
// as little (threat T101).
func TestT101_AWiderNetworkHasEightTimesTheLimit(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {login_account: 100/1m, login_ip: 2/1h, register_ip: 1/1h}\naccounts: {registration: open}", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		from := func(wide, narrow int) { w.from = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::1", wide, narrow)) }
		guess := func(want int) {
			t.Helper()
			if a := w.login("nobody@example.com", "wrong"); a.Code != want {
				t.Errorf("%s: %d, want %d", w.from, a.Code, want)
			}
		}
		for i := range 16 {
			from(1, i)
			guess(401)
		}
		from(1, 99)
		guess(429)
		if w.limited("login_ip") != 1 {
			t.Errorf("%v refusals by login_ip", w.limited("login_ip"))
		}
		for i := range 20 { // what succeeds is given back
			from(2, i)
			w.granted(w.login("ann@example.com", annsPassword), 200)
		}
		for i := range 9 {
			from(3, i)
			want := 201
			if i == 8 {
				want = 429
			}
			if a := w.register(fmt.Sprintf("u%d@example.com", i), newPassword, ""); a.Code != want {
				t.Errorf("registration %d: %d, want %d", i+1, a.Code, want)
			}
		}
	})
}

// spellings are ways to write one address; each has the same key.
func spellings(local, domain string) []string {
	wide := func(s string) string {
		return strings.Map(func(c rune) rune {
			if c > ' ' && c < 0x7f {
				return c + 0xfee0
			}
			return c
		}, s)
	}
	var out []string
	for _, l := range []string{local, strings.ToUpper(local), strings.ToUpper(local[:1]) + local[1:], wide(local), wide(strings.ToUpper(local)), local[:1] + wide(local[1:])} {
		for _, d := range []string{domain, strings.ToUpper(domain), domain + ".", wide(domain), strings.Replace(domain, ".", "\u3002", 1), strings.Replace(domain, ".", "\uff0e", 1)} {
			for _, at := range []string{"@", "\uff20", "\ufe6b"} {
				out = append(out, l+at+d)
			}
		}
	}
	for _, blank := range []string{" ", "\t", "\n", "\u00a0", "\u2003", "\u3000"} {
		out = append(out, blank+local+"@"+domain, local+"@"+domain+blank, blank+local+"@"+domain+blank)
	}
	return out
}

func TestT103_EverySpellingIsOneAccount(t *testing.T) {
	t.Parallel()
	for _, one := range [][2]string{{"kiss", "example.com"}, {"jörg", "example.com"}, {"ann", "xn--bcher-kva.example"}} {
		for _, s := range append(spellings(one[0], one[1]), one[0]+"@"+one[1]) {
			if _, key, err := Canonical(s); err != nil || key != one[0]+"@"+one[1] {
				t.Errorf("%q: key %q, %v", s, key, err)
			}
		}
	}
	for _, s := range []string{"\u212aiss@example.com", "ki\u017fs@example.com", "ann@bücher.example", "jo\u0308rg@example.com", "JO\u0308RG@example.com"} {
		_, key, err := Canonical(s)
		if err != nil || key != "kiss@example.com" && key != "ann@xn--bcher-kva.example" && key != "jörg@example.com" {
			t.Errorf("%q: key %q, %v", s, key, err)
		}
	}
	inWorld(t, "limits: {login_account: 3/1m, login_ip: 1000/1m}", func(t *testing.T, w *world) {
		w.user("kiss@example.com")
		all := append(spellings("kiss", "example.com"), "\u212aiss@example.com", "ki\u017f\u017f@example.com")
		for i := range 3 {
			w.want(all[i*17], w.login(all[i*17], "wrong"), 401, "invalid_credentials")
		}
		for _, s := range all {
			w.want(fmt.Sprintf("%q", s), w.login(s, annsPassword), 429, "rate_limited")
		}
		w.pass(time.Minute)
		for _, s := range []string{all[5], all[41], all[len(all)-1]} {
			w.granted(w.login(s, annsPassword), 200)
		}
	})
}

// Who guesses cannot lock the owner out: from another network the account
// opens, though slowly (threats T114, T115).
func TestT114_T115_NobodyIsLockedOut(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		var slowest time.Duration
		for i := range 55 { // distributed: each network stays under its own limit
			w.from = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			if i%11 != 10 && i > 0 && i != 54 {
				w.fail("ann@example.com")
				continue
			}
			began := time.Now()
			w.want("a guess", w.login("ann@example.com", "wrong"), 401, "invalid_credentials")
			took := time.Since(began)
			if want := min(max(time.Duration(i+1-10), 0)*50*time.Millisecond, 2*time.Second); took > want || took < want-100*time.Millisecond { // a unit comes back every 36 s
				t.Errorf("guess %d from all networks together waits %v, want %v", i+1, took, want)
			}
			slowest = max(slowest, took)
		}
		if slowest != 2*time.Second {
			t.Errorf("the slowest guess took %v", slowest)
		}
		for range 5 {
			w.fail("ann@example.com")
		}
		w.want("the guesser", w.login("ann@example.com", annsPassword), 429, "rate_limited")
		for i := range 60 { // more than all networks together have, and still nobody is refused
			w.from = netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
			w.fail("ann@example.com")
		}
		w.from = netip.MustParseAddr("192.0.2.1")
		began := time.Now()
		w.granted(w.login("ann@example.com", annsPassword), 200)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the owner waits %v", took)
		}
		began = time.Now()
		w.want("another account", w.login("bob@example.com", "x"), 401, "invalid_credentials")
		if took := time.Since(began); took != 0 {
			t.Errorf("another account waits %v", took)
		}
	})
}

// A success clears what the account's owner did wrong, not what the address
// tried elsewhere (threat T116).
func TestT116_ASuccessClearsOneAccountAlone(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {login_ip: 8/1m, login_account: 6/1m}", func(t *testing.T, w *world) {
		w.user("mine@example.com")
		w.user("victim@example.com")
		failures := 0
		for range 5 {
			w.fail("victim@example.com")
		}
		w.granted(w.login("mine@example.com", annsPassword), 200)
		for range 2 { // one is left for the account, whoever else signed in
			if a := w.login("victim@example.com", "wrong"); a.Code == 401 {
				failures++
			}
		}
		if failures != 1 {
			t.Errorf("%d guesses after a success elsewhere, want 1", failures)
		}
		w.pass(time.Hour)
		for range 5 {
			w.fail("mine@example.com")
		}
		w.granted(w.login("mine@example.com", annsPassword), 200)
		if n := w.failUntilLimited(func(int) string { return "mine@example.com" }, 6); n != 3 {
			t.Errorf("%d failures after a success, want 3: what the address may still do", n)
		}
	})
}

// Whatever door a guess comes through, it counts in the same place (T117).
func TestT117_EveryDoorCounts(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		form := url.Values{"email": {"ann@example.com"}, "password": {"wrong"}}.Encode()
		doors := map[string]func() answer{
			"JSON": func() answer { return w.login("ann@example.com", "wrong") },
			"JSON, charset": func() answer {
				return w.send("POST", "/_auth/login", `{"password":"wrong","email":"ann@example.com"}`, "Content-Type: application/json;charset=utf-8")
			},
			"form": func() answer { return w.form("/_auth/login", form) },
			"form, no page": func() answer {
				return w.send("POST", "/_auth/login", form, "Content-Type: application/x-www-form-urlencoded; charset=utf-8")
			},
			"query": func() answer {
				return w.send("POST", "/_auth/login?email=bob@example.com&x=1", form, "Content-Type: application/x-www-form-urlencoded")
			},
			"encoded path": func() answer {
				return w.send("POST", "/_auth/%6cogin", form, "Content-Type: application/x-www-form-urlencoded")
			},
			"other agent": func() answer { return w.form("/_auth/login", form, "User-Agent: curl") },
			"other host": func() answer {
				return w.form("/_auth/login", form, "X-Forwarded-Host: other.test", "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9")
			},
			"signed in": func() answer {
				return w.form("/_auth/login", form, cookiesOf(w.session(store.User{ID: g.Identity.Subject, Generation: 1}).Access, ""))
			},
			"bearer": func() answer {
				return w.post("/_auth/login", map[string]string{"email": "ann@example.com", "password": "wrong"}, bearerOf(g.Access))
			},
			"password": func() answer {
				return w.form("/_auth/password", "current_password=wrong&new_password="+newPassword, cookiesOf(g.Access, ""))
			},
			"password, JSON": func() answer {
				return w.post("/_auth/password", map[string]string{"current_password": "wrong", "new_password": newPassword}, bearerOf(g.Access))
			},
		}
		left := 5
		for range 2 {
			for name, door := range doors {
				want := 429
				if left > 0 {
					want, left = 401, left-1
				}
				if a := door(); a.Code != want {
					t.Errorf("%s: %d, want %d", name, a.Code, want)
				}
			}
		}
	})
}

// A check that could not be made is not counted as a failure.
func TestBusyChecksAreNotCounted(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			if _, err := w.Login(ctx, w.caller(), "ann@example.com", annsPassword); err == nil {
				t.Fatal("signed in for nobody")
			}
		}
		w.granted(w.login("ann@example.com", annsPassword), 200)
	})
}
