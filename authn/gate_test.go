package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/token"
	"gatehouse/identity"
)

// result fails unless the gate says this of the headers.
func (w *world) result(what string, mayRenew bool, want error, headers ...string) identity.Result {
	w.t.Helper()
	res, err := w.asks(mayRenew, headers...)
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		w.t.Errorf("%s: got %v, want %v", what, err, want)
	}
	if (err == nil) != (res.Identity != nil) && !errors.Is(err, identity.ErrStale) {
		w.t.Errorf("%s: identity %v with error %v", what, res.Identity, err)
	}
	return res
}

func TestGateReadsCookieAndBearer(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com", "admins")
		g := w.session(u)
		for what, headers := range map[string][]string{
			"bearer": {bearerOf(g.Access)}, "cookie": {"Cookie: theme=dark; " + accessCookie + "=" + g.Access}, "both": {bearerOf(g.Access), cookiesOf(g.Access, "x")},
			"two equal copies": {"Cookie: " + accessCookie + "=" + g.Access, "Cookie: a=b;" + accessCookie + "= " + g.Access + " ;c=d"},
			"any case":         {"Authorization: bEaReR " + g.Access}, "cookie beside Basic": {"Authorization: Basic YTpi", cookiesOf(g.Access, "x")},
			"bearer of two sessions": {bearerOf(w.session(u).Access), cookiesOf(g.Access, "x")}, "cookie beside a bearer of an app": {bearerOf("gho_other"), cookiesOf(g.Access, "x")},
			"bearer beside a bad cookie": {bearerOf(g.Access), cookiesOf("x", "y")},
		} {
			res := w.result(what, true, nil, headers...)
			if res.Identity == nil || res.Identity.Subject != u.ID || len(res.SetCookie) != 0 || res.OwnBearer != (strings.Contains(what, "bearer of two") || strings.HasPrefix(headers[0], "Authorization: ") && strings.Contains(headers[0], g.Access)) {
				t.Errorf("%s: %+v", what, res)
			}
		}
		w.result("nothing", true, identity.ErrNone)
		w.result("other cookies", true, identity.ErrNone, "Cookie: __Host-gatehouse2=x; gatehouse=y; __Host-gatehouse; =__Host-gatehouse")
		w.result("Basic", true, identity.ErrNone, "Authorization: Basic YTpi")
		w.result("a bearer that is not ours", true, identity.ErrRejected, bearerOf("gho_other"))
	})
}

func TestT014_TwoUsersInOneRequest(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ann, bob := w.session(w.user("ann@example.com")), w.session(w.user("bob@example.com"))
		for _, pair := range [][2]*Grant{{ann, bob}, {bob, ann}} {
			res := w.result("cookie and bearer", true, identity.ErrConflict, bearerOf(pair[0].Access), cookiesOf(pair[1].Access, pair[1].Refresh.Reveal()))
			if !res.OwnBearer || res.Identity != nil || len(res.SetCookie) != 0 {
				t.Errorf("%+v", res)
			}
			w.want("userinfo", w.send("GET", "/_auth/me", "", bearerOf(pair[0].Access), cookiesOf(pair[1].Access, "")), 400, "conflicting_credentials")
			w.want("sign-out", w.send("POST", "/_auth/logout", "", bearerOf(pair[0].Access), cookiesOf(pair[1].Access, "")), 400, "conflicting_credentials")
		}
		w.result("nobody was signed out", false, nil, bearerOf(ann.Access))
	})
}

func TestT015_AnAuthorizationHasOneMeaning(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		good := "Bearer " + g.Access
		var bad [][]string
		for _, sep := range []string{"  ", "\t", " \t", ",", " ,", ":", "=", "\u00a0", ""} {
			for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
				bad = append(bad, []string{scheme + sep + g.Access})
			}
		}
		for _, tail := range []string{",", ", " + good, " ", "\t", " x", ";", `"`, "\u2028", "\x80", "=x", "%20"} {
			bad = append(bad, []string{good + tail})
		}
		for _, head := range []string{`"`, "<", "=", ",", "\u2000"} {
			bad = append(bad, []string{"Bearer " + head + g.Access})
		}
		bad = append(bad, []string{good, good}, []string{good, "Basic YTpi"}, []string{"Basic YTpi", good}, []string{"Basic YTpi", "Basic YTpi"}, []string{good, ""},
			[]string{"Bearer"}, []string{"Bearer "}, []string{"bearer ="})
		for _, lines := range bad {
			var headers []string
			for _, l := range lines {
				headers = append(headers, "Authorization: "+l)
			}
			res, err := w.asks(true, headers...)
			if err == nil || res.Identity != nil {
				t.Errorf("%.60q is signed in", lines)
			}
			w.want(fmt.Sprintf("%.60q", lines), w.send("GET", "/_auth/me", "", headers...), map[bool]int{true: 400, false: 401}[errors.Is(err, identity.ErrConflict)],
				map[bool]string{true: "conflicting_credentials", false: "unauthorized"}[errors.Is(err, identity.ErrConflict)])
		}
	})
}

// A token anywhere but in its header and its cookie is no credential.
func TestT016_TokensElsewhereAreNoCredentials(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		for _, name := range []string{"access_token", "token", "bearer", "auth", "jwt", "authorization", accessCookie} {
			w.want("query "+name, w.send("GET", "/_auth/me?"+name+"="+g.Access, ""), 401, "unauthorized")
			w.want("header "+name, w.send("GET", "/_auth/me", "", "X-"+name+": "+g.Access), 401, "unauthorized")
			w.want("form "+name, w.form("/_auth/password", name+"="+g.Access), 401, "unauthorized")
		}
		w.want("Proxy-Authorization", w.send("GET", "/_auth/me", "", "Proxy-Authorization: Bearer "+g.Access), 401, "unauthorized")
		w.want("Basic", w.send("GET", "/_auth/me", "", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+g.Access))), 401, "unauthorized")
		w.want("refresh token as bearer", w.send("GET", "/_auth/me", "", bearerOf(g.Refresh.Reveal())), 401, "unauthorized")
		w.want("access token as refresh", w.post("/_auth/refresh", map[string]string{"refresh_token": g.Access}), 401, "session_over")
		w.want("tokens swapped", w.send("GET", "/_auth/me", "", cookiesOf(g.Refresh.Reveal(), g.Access)), 401, "unauthorized")
	})
}

// Two different copies of a cookie are refused, not guessed, in any order and
// spelling; nothing else is taken for one.
func TestT065_TossedCookiesAreRefused(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ann, bob := w.session(w.user("ann@example.com")), w.session(w.user("bob@example.com"))
		a, b := accessCookie+"="+ann.Access, accessCookie+"="+bob.Access
		for _, other := range []string{b, accessCookie + "=", accessCookie + "=x", accessCookie + ` ="` + ann.Access + `"`, "\t" + accessCookie + "\t=\t" + bob.Access, accessCookie + "=" + ann.Access + "="} {
			for _, lines := range [][]string{{a + "; " + other}, {other + "; " + a}, {a, other}, {other, a}, {a + ";" + other + ";" + a}, {"x=y", other + ";z", a}} {
				var headers []string
				for _, l := range lines {
					headers = append(headers, "Cookie: "+l)
				}
				res := w.result(fmt.Sprintf("%.90q", lines), true, identity.ErrRejected, headers...)
				if len(res.SetCookie) != 0 {
					t.Errorf("%.90q clears cookies", lines)
				}
			}
		}
		r1, r2 := refreshCookie+"="+ann.Refresh.Reveal(), refreshCookie+"="+bob.Refresh.Reveal()
		for _, pair := range []string{r1 + ";" + r2, r2 + ";" + r1, r1 + ";" + refreshCookie + "=", refreshCookie + "=;" + r1} {
			w.result("two refresh cookies", true, identity.ErrRejected, "Cookie: "+pair)
		}
		for _, alike := range []string{"\u2000" + b, "\u00a0" + b, "$Version=1; $" + b, strings.ToLower(b), strings.ToUpper(accessCookie) + "=" + bob.Access, "__Secure-gatehouse=" + bob.Access, "\"" + b, accessCookie + "\x00=" + bob.Access} {
			if res := w.result(fmt.Sprintf("%.40q", alike), true, nil, "Cookie: "+alike+"; "+a); res.Identity != nil && res.Identity.Subject != ann.Identity.Subject {
				t.Errorf("%.40q was taken for the cookie", alike)
			}
		}
	})
}

func TestBrowserIsRenewedInPassing(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		w.pass(6 * time.Minute)
		for _, what := range []string{"expired", "missing", "garbage"} {
			cookie := map[string]string{"expired": cookiesOf(g.Access, g.Refresh.Reveal()), "missing": "Cookie: " + refreshCookie + "=" + g.Refresh.Reveal(), "garbage": cookiesOf("x", g.Refresh.Reveal())}[what]
			if res := w.result(what+", not renewing", false, map[bool]error{true: identity.ErrNone, false: identity.ErrRejected}[what == "missing"], cookie); len(res.SetCookie) != 0 {
				t.Errorf("%s: cookies without a renewal", what)
			}
			res := w.result(what, true, nil, cookie)
			if len(res.SetCookie) != 2 || res.Via != identity.ViaCookie || res.Identity.Session != g.Identity.Session {
				t.Fatalf("%s: %+v", what, res)
			}
			access, _, _ := strings.Cut(strings.TrimPrefix(res.SetCookie[0], accessCookie+"="), ";")
			refresh, _, _ := strings.Cut(strings.TrimPrefix(res.SetCookie[1], refreshCookie+"="), ";")
			w.result("the new cookie", false, nil, cookiesOf(access, refresh))
			next, err := token.ParseRefresh(refresh)
			if err != nil {
				t.Fatal(err)
			}
			g.Refresh = next
		}
		w.result("a bearer of ours is never renewed", true, identity.ErrRejected, bearerOf(g.Access), cookiesOf("", g.Refresh.Reveal()))
	})
}

func TestManyTabsEndInOneSession(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		w.pass(6 * time.Minute)
		var mu sync.Mutex
		refresh := map[string]bool{}
		var wg sync.WaitGroup
		for range 100 { // more than refresh_session allows one by one
			wg.Go(func() {
				res, err := w.asks(true, cookiesOf(g.Access, g.Refresh.Reveal()))
				mu.Lock()
				defer mu.Unlock()
				if err != nil || len(res.SetCookie) != 2 {
					t.Errorf("a tab: %v", err)
					return
				}
				cookie, _, _ := strings.Cut(res.SetCookie[1], ";")
				refresh[cookie] = true
			})
		}
		wg.Wait()
		if len(refresh) != 1 {
			t.Errorf("%d refresh cookies", len(refresh))
		}
	})
}

// Cookies go only when the session is really over.
func TestOnlyAnEndClearsCookies(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		clears := func(what string, want bool, res identity.Result) {
			t.Helper()
			if got := len(res.SetCookie) == 2 && strings.HasPrefix(res.SetCookie[0], accessCookie+"=; Path=/; Max-Age=0") && strings.HasPrefix(res.SetCookie[1], refreshCookie+"=; Path=/; Max-Age=0"); got != want || !want && len(res.SetCookie) != 0 {
				t.Errorf("%s: cookies %v", what, res.SetCookie)
			}
		}
		over := w.session(u)
		if err := w.Logout(t.Context(), w.caller(), over.Identity, false); err != nil {
			t.Fatal(err)
		}
		clears("signed out", true, w.result("signed out", true, identity.ErrRejected, cookiesOf(over.Access, over.Refresh.Reveal())))

		g := w.session(u)
		a := w.form("/_auth/password", "current_password="+annsPassword+"&new_password="+newPassword, cookiesOf(g.Access, g.Refresh.Reveal()))
		if a.Code != 200 || a.cookies()[refreshCookie] == "" {
			t.Fatalf("password: %d %s", a.Code, a.Body)
		}
		late := w.result("a request of before the new password", true, identity.ErrRejected, cookiesOf(g.Access, g.Refresh.Reveal()))
		clears("a request of before the new password", false, late)
		clears("garbage", false, w.result("garbage", true, identity.ErrRejected, cookiesOf("x", "ghr_x")))
		clears("a token nobody has", false, w.result("a token nobody has", true, identity.ErrRejected, cookiesOf("x", token.NewRefresh().Reveal())))

		g = w.session(w.user("bob@example.com"))
		if err := w.db.Close(); err != nil {
			t.Fatal(err)
		}
		clears("the store is down", false, w.result("the store is down", true, identity.ErrUnavailable, cookiesOf("x", g.Refresh.Reveal())))
	})
}

func TestStaleListIsUnavailableWithTheIdentity(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		time.Sleep(2100 * time.Millisecond) // of the bubble: nobody polls
		for what, headers := range map[string][]string{"bearer": {bearerOf(g.Access)}, "cookie": {cookiesOf(g.Access, g.Refresh.Reveal())}} {
			res, err := w.asks(true, headers...)
			if !errors.Is(err, identity.ErrStale) || res.Identity == nil || res.Identity.Subject != g.Identity.Subject || len(res.SetCookie) != 0 {
				t.Errorf("%s: %+v, %v", what, res, err)
			}
		}
		res, err := w.asks(true, cookiesOf("", g.Refresh.Reveal()))
		if !errors.Is(err, identity.ErrStale) || res.Identity == nil || len(res.SetCookie) != 2 {
			t.Errorf("renewed: %+v, %v", res, err)
		}
		w.want("userinfo", w.send("GET", "/_auth/me", "", bearerOf(g.Access)), 503, "unavailable")
		w.want("sign-out", w.send("POST", "/_auth/logout", "", bearerOf(g.Access)), 204, "signed_out")
		w.result("signed out, and fresh again", false, identity.ErrRejected, bearerOf(g.Access))
	})
}

// Whatever is wrong with a credential, it names nobody (threat T151).
func TestT151_BrokenCredentialsNameNobody(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		for _, raw := range broken(g.Access) {
			for _, headers := range [][]string{{bearerOf(raw)}, {"Cookie: " + accessCookie + "=" + raw}, {cookiesOf(raw, raw)}} {
				if res, err := w.asks(true, headers...); err == nil || res.Identity != nil || errors.Is(err, identity.ErrUnavailable) {
					t.Errorf("%.50q: %v, %v", headers, res.Identity, err)
				}
			}
		}
	})
}

// broken are spellings near a good token, none of which is one.
func broken(good string) []string {
	parts := strings.Split(good, ".")
	out := []string{"x", ".", "..", "...", "null", "undefined", "eyJ9.e30.", parts[0], parts[0] + ".", parts[0] + "." + parts[1], parts[0] + "." + parts[1] + ".",
		"." + parts[1] + "." + parts[2], parts[1] + "." + parts[0] + "." + parts[2], good + ".", "." + good, good + "." + parts[2], good + "=", good + "A", "{" + good + "}"}
	for i := range len(good) {
		if good[i] != '.' && i%7 == 0 {
			flipped := byte('A')
			if good[i] == 'A' {
				flipped = 'B'
			}
			out = append(out, good[:i]+string(flipped)+good[i+1:], good[:i]+good[i+1:])
		}
	}
	return out
}

// A cached verdict is of one token, byte for byte, however many there are
// (threat T148).
func TestT148_CachedIdentitiesAreNotConfused(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		var grants []*Grant
		for i := range 40 {
			grants = append(grants, w.session(w.user(fmt.Sprintf("user%d@example.com", i))))
		}
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range 2000 {
					g := grants[(i*7+worker)%len(grants)]
					res, err := w.asks(false, bearerOf(g.Access))
					if err != nil || res.Identity.Subject != g.Identity.Subject || res.Identity.Session != g.Identity.Session {
						t.Errorf("got %v, %v", res.Identity, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}
