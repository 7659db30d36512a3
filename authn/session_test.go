package authn

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/store"
)

func TestSignInRefreshAndOut(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("Ann@Example.com", "admins", "readers")
		first := w.granted(w.login(" ANN@example.com ", annsPassword), 200)
		if first.User.Sub != u.ID || first.User.Email != "Ann@Example.com" || first.TokenType != "Bearer" || first.ExpiresIn != 300 ||
			first.RefreshExpiresIn != 12*3600 || strings.Join(first.User.Groups, ",") != "admins,readers" || first.User.AMR[0] != "pwd" {
			t.Fatalf("got %+v", first)
		}
		next := w.granted(w.post("/_auth/refresh", map[string]string{"refresh_token": first.RefreshToken}), 200)
		if next.RefreshToken == first.RefreshToken || next.AccessToken == first.AccessToken || next.User.Sid != first.User.Sid {
			t.Fatal("nothing was rotated, or the session changed")
		}
		a := w.send("GET", "/_auth/me", "", bearerOf(next.AccessToken))
		w.want("userinfo", a, 200, "userinfo")
		a = w.send("POST", "/_auth/logout", "", bearerOf(next.AccessToken))
		w.want("sign-out", a, 204, "signed_out")
		for _, tok := range []tokenAnswer{first, next} {
			if a := w.send("GET", "/_auth/userinfo", "", bearerOf(tok.AccessToken)); a.Code != 401 || a.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("an access token after sign-out: %d", a.Code)
			}
			if a := w.post("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}); a.Code != 401 {
				t.Errorf("a refresh token after sign-out: %d", a.Code)
			}
		}
		if got := names(w.events.take()); got != "user.add login.success refresh.success logout" {
			t.Errorf("audited: %s", got)
		}
	})
}

// Nothing of a session outlives its end, whichever way it ends.
func TestT095_EveryWayOutEndsTheSessionOnTheServer(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		for name, out := range map[string]func(g *Grant) answer{
			"bearer": func(g *Grant) answer { return w.send("POST", "/_auth/logout", "", bearerOf(g.Access)) },
			"refresh token": func(g *Grant) answer {
				return w.post("/_auth/logout", map[string]string{"refresh_token": g.Refresh.Reveal()})
			},
			"cookies, as a program": func(g *Grant) answer {
				return w.post("/_auth/logout", struct{}{}, cookiesOf(g.Access, g.Refresh.Reveal()))
			},
			"cookies, as a browser": func(g *Grant) answer { return w.form("/_auth/logout", "", cookiesOf(g.Access, g.Refresh.Reveal())) },
			"the refresh cookie alone": func(g *Grant) answer {
				return w.form("/_auth/logout", "", "Cookie: "+refreshCookie+"="+g.Refresh.Reveal())
			},
			"the session list": func(g *Grant) answer {
				return w.send("DELETE", "/_auth/sessions/"+g.Identity.Session, "", bearerOf(g.Access))
			},
			"the page": func(g *Grant) answer {
				return w.form("/_auth/sessions/"+g.Identity.Session, "_method=DELETE", cookiesOf(g.Access, g.Refresh.Reveal()))
			},
		} {
			g, bystander := w.session(u), w.session(u)
			if a := out(g); a.Code != 204 && a.Code != 303 {
				t.Errorf("%s: %d %s", name, a.Code, a.Body)
			}
			w.dead(name, g)
			if _, err := w.asks(false, bearerOf(bystander.Access)); err != nil {
				t.Errorf("%s ended another session: %v", name, err)
			}
		}
	})
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ann, bob := w.user("ann@example.com"), w.user("bob@example.com")
		for name, out := range map[string]func(g *Grant) answer{
			"query": func(g *Grant) answer { return w.send("POST", "/_auth/logout?all=true", "", bearerOf(g.Access)) },
			"form":  func(g *Grant) answer { return w.form("/_auth/logout", "all=true", cookiesOf(g.Access, "")) },
			"refresh token": func(g *Grant) answer {
				return w.post("/_auth/logout?all=true", map[string]string{"refresh_token": g.Refresh.Reveal()})
			},
		} {
			a, b, other := w.session(ann), w.session(ann), w.session(bob)
			if got := out(a); got.Code != 204 && got.Code != 303 {
				t.Errorf("%s: %d", name, got.Code)
			}
			w.dead(name, a)
			w.dead(name, b)
			if _, err := w.asks(false, bearerOf(other.Access)); err != nil {
				t.Errorf("%s ended somebody else's session", name)
			}
		}
	})
}

func TestSigningOutTwiceIsNoErrorForABrowser(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		for range 2 {
			a := w.form("/_auth/logout", "", cookiesOf(g.Access, g.Refresh.Reveal()))
			if a.Code != 303 || a.Header().Get("Location") != "/_auth/login" || len(a.cookies()) != 2 || a.cookies()[accessCookie] != "" {
				t.Errorf("sign-out: %d, %v", a.Code, a.cookies())
			}
		}
		w.want("no credential", w.form("/_auth/logout", ""), 303, "signed_out")
		w.want("a program without one", w.send("POST", "/_auth/logout", ""), 401, "unauthorized")
		w.want("what is no token", w.post("/_auth/logout", map[string]string{"refresh_token": "x"}), 204, "signed_out")
		w.want("two meanings", w.send("POST", "/_auth/logout", "", bearerOf("a"), bearerOf("b")), 400, "conflicting_credentials")
	})
}

func TestT091_ParallelRefreshesGetOneSuccessor(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {refresh_session: 1000/1m}", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		var mu sync.Mutex
		var wg sync.WaitGroup
		got := map[string]int{}
		for range 64 {
			wg.Go(func() {
				next, err := w.Refresh(t.Context(), w.caller(), g.Refresh)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					got[err.Error()]++
					return
				}
				got[next.Refresh.Reveal()]++
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Fatalf("%d outcomes: %v", len(got), got)
		}
		if n := strings.Count(names(w.events.take()), "refresh.success"); n != 1 {
			t.Errorf("%d rotations were audited, want 1", n)
		}
	})
}

// Within the grace the immediate parent of the head gets the same successor
// again; at any other time, and for any older token, it ends the session.
func TestT091_T092_GraceIsForTheParentAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		grace   string
		back    int // generations
		after   time.Duration
		granted bool
	}{
		{"parent, at once", "10s", 1, 0, true},
		{"parent, in time", "10s", 1, 9 * time.Second, true},
		{"parent, late", "10s", 1, 11 * time.Second, false},
		{"parent, clock set back", "10s", 1, -11 * time.Second, false},
		{"parent, strict", "0s", 1, 0, false},
		{"grandparent", "10s", 2, 0, false},
		{"grandparent, longest grace", "60s", 2, 0, false},
		{"great-grandparent", "60s", 3, 0, false},
	} {
		inWorld(t, "sessions: {refresh_grace: "+c.grace+"}", func(t *testing.T, w *world) {
			g := w.session(w.user("ann@example.com"))
			chain := []*Grant{g}
			for range 3 {
				next, err := w.Refresh(t.Context(), w.caller(), chain[len(chain)-1].Refresh)
				if err != nil {
					t.Fatal(err)
				}
				chain = append(chain, next)
			}
			head := chain[3]
			w.events.take()
			w.pass(c.after)
			again, err := w.Refresh(t.Context(), w.caller(), chain[3-c.back].Refresh)
			if c.granted {
				if err != nil || again.Refresh != head.Refresh {
					t.Errorf("%s: %v, %v", c.name, again, err)
				}
				return
			}
			if err == nil || !isOver(err) || !errors.Is(err, store.ErrReused) {
				t.Errorf("%s: %v", c.name, err)
			}
			if got := names(w.events.take()); got != "refresh.reuse" {
				t.Errorf("%s: audited %q", c.name, got)
			}
			w.dead(c.name, head)
		})
	}
}

func TestT093_LogoutRacingRefreshLeavesNothingAlive(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {refresh_session: 1000/1m}", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		for range 30 {
			g := w.session(u)
			all := make(chan *Grant, 9)
			all <- g
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if next, err := w.Refresh(t.Context(), w.caller(), g.Refresh); err == nil {
						all <- next
					}
				})
			}
			wg.Go(func() {
				if err := w.Logout(t.Context(), w.caller(), g.Identity, false); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			close(all)
			for g := range all {
				w.dead("after the race", g)
			}
		}
	})
}

// What the operator or the user changed counts from the next refresh on.
func TestT094_RefreshReadsTheUserAnew(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ctx := t.Context()
		w.user("ann@example.com")
		u, _ := w.admin.Find(ctx, "ann@example.com")
		g := w.session(u)
		if _, err := w.admin.SetGroups(ctx, "ann@example.com", []string{"admins"}); err != nil {
			t.Fatal(err)
		}
		if err := w.Mirror.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := w.asks(false, bearerOf(g.Access)); !errors.Is(err, identity.ErrRejected) {
			t.Errorf("the token of before: %v", err)
		}
		g, err := w.Refresh(ctx, w.caller(), g.Refresh)
		if err != nil || len(g.Identity.Groups) != 1 {
			t.Fatalf("groups after a refresh: %v, %v", g, err)
		}
		for name, change := range map[string]func() error{
			"disabled":     func() error { _, err := w.admin.SetDisabled(ctx, "ann@example.com", true); return err },
			"new password": func() error { _, err := w.admin.SetPassword(ctx, "ann@example.com", newPassword); return err },
			"deleted":      func() error { _, err := w.admin.Delete(ctx, "ann@example.com"); return err },
		} {
			if u, err = w.admin.Find(ctx, "ann@example.com"); err != nil {
				u = w.user("ann@example.com")
			} else if u.Disabled {
				if u, err = w.admin.SetDisabled(ctx, "ann@example.com", false); err != nil {
					t.Fatal(err)
				}
			}
			g := w.session(u)
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if err := w.Mirror.Sync(ctx); err != nil {
				t.Fatal(err)
			}
			w.dead(name, g)
		}
	})
}

// A disabled user whose session somehow lives is signed out by the refresh.
func TestT094_RefreshOfADisabledUserEndsTheSession(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		g, disabled := w.session(u), true
		if _, err := w.Users.Update(t.Context(), u.ID, store.UserChange{Disabled: &disabled, Now: w.clock()}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Refresh(t.Context(), w.caller(), g.Refresh); !isOver(err) {
			t.Fatal(err)
		}
		w.dead("disabled", g)
	})
}

// Of one second, what came before everything of a user was revoked is refused,
// and what came afterwards is good (threat T090).
func TestT090_OneSecondHoldsBothSidesOfARevocation(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) { // where time stands still
		u := w.user("ann@example.com")
		for i := range 3 {
			before := w.session(u)
			if _, err := w.admin.SetGroups(t.Context(), "ann@example.com", []string{fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
			if err := w.Mirror.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			var err error
			if u, err = w.admin.Find(t.Context(), "ann@example.com"); err != nil {
				t.Fatal(err)
			}
			after := w.session(u)
			if _, err := w.asks(false, bearerOf(before.Access)); !errors.Is(err, identity.ErrRejected) {
				t.Errorf("%d: the token of before: %v", i, err)
			}
			if _, err := w.asks(false, bearerOf(after.Access)); err != nil {
				t.Errorf("%d: the token of afterwards: %v", i, err)
			}
		}
	})
}

func TestT097_LifetimesEnd(t *testing.T) {
	t.Parallel()
	inWorld(t, "sessions: {idle_timeout: 1h, max_lifetime: 3h}", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		g := w.session(u)
		w.pass(5*time.Minute + 11*time.Second)
		if _, err := w.asks(false, bearerOf(g.Access)); !errors.Is(err, identity.ErrRejected) {
			t.Errorf("an access token after access_ttl and leeway: %v", err)
		}
		idle := w.session(u)
		w.pass(time.Hour)
		if _, err := w.Refresh(t.Context(), w.caller(), idle.Refresh); !isOver(err) || !errors.Is(err, store.ErrEnded) {
			t.Errorf("a refresh after idle_timeout: %v", err)
		}
		g = w.session(u)
		born := w.clock()
		for w.clock().Sub(born) < 3*time.Hour-time.Minute {
			var err error
			if g, err = w.Refresh(t.Context(), w.caller(), g.Refresh); err != nil {
				t.Fatalf("a refresh after %v: %v", w.clock().Sub(born), err)
			}
			if left := 3*time.Hour - w.clock().Sub(born); g.AccessExpires > left || g.RefreshExpires > left {
				t.Fatalf("%v before its end a session gets tokens for %v and %v", left, g.AccessExpires, g.RefreshExpires)
			}
			w.pass(25 * time.Minute)
		}
		w.pass(time.Hour)
		if _, err := w.Refresh(t.Context(), w.caller(), g.Refresh); !isOver(err) {
			t.Errorf("a refresh after max_lifetime: %v", err)
		}
	})
}

func TestT102_RefreshesAreLimited(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {refresh_session: 3/1m}", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		for range 3 {
			next, err := w.Refresh(t.Context(), w.caller(), g.Refresh)
			if err != nil {
				t.Fatal(err)
			}
			g = next
		}
		a := w.post("/_auth/refresh", map[string]string{"refresh_token": g.Refresh.Reveal()})
		w.want("the fourth", a, 429, "rate_limited")
		if a.Header().Get("Retry-After") != "20" || w.limited("refresh_session") != 1 {
			t.Errorf("Retry-After %q", a.Header().Get("Retry-After"))
		}
		res, err := w.asks(true, "Cookie: "+refreshCookie+"="+g.Refresh.Reveal())
		if !errors.Is(err, identity.ErrUnavailable) || len(res.SetCookie) != 0 {
			t.Errorf("a browser over the limit: %v, %v", err, res.SetCookie)
		}
		w.pass(21 * time.Second)
		if _, err := w.Refresh(t.Context(), w.caller(), g.Refresh); err != nil {
			t.Errorf("after the wait: %v", err)
		}
	})
}
