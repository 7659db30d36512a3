package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// within waits for a thing that must come true inside the revocation bound.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestT091_ManyRefreshesOfOneTokenGiveOneSuccessor(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("eve@example.com", password)
	c := g.Client("app.test", true)
	first := c.Login("eve@example.com", password)

	var mu sync.Mutex
	var wg sync.WaitGroup
	successors, statuses := map[string]int{}, map[int]int{}
	var last gatetest.Tokens
	for range 64 {
		wg.Go(func() {
			var tok gatetest.Tokens
			a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": first.RefreshToken}, &tok)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.StatusCode]++
			if a.StatusCode == 200 {
				successors[tok.RefreshToken]++
				last = tok
			}
		})
	}
	wg.Wait()
	if len(successors) != 1 || statuses[200] != 64 {
		t.Fatalf("%d successors, statuses %v; want one successor and 64 times 200", len(successors), statuses)
	}
	if got := c.Status("/", last.AccessToken); got != 200 {
		t.Fatalf("the session after the race: %d", got)
	}
	// Two generations on, the first token is reuse: the whole session goes.
	var second gatetest.Tokens
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": last.RefreshToken}, &second); a.StatusCode != 200 {
		t.Fatalf("second refresh: %d", a.StatusCode)
	}
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": first.RefreshToken}, nil); a.StatusCode != 401 {
		t.Fatalf("an older token: %d, want 401", a.StatusCode)
	}
	if got := c.Status("/", second.AccessToken); got != 401 {
		t.Errorf("the access token after reuse: %d, want 401", got)
	}
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": second.RefreshToken}, nil); a.StatusCode != 401 {
		t.Errorf("the head after reuse: %d, want 401", a.StatusCode)
	}
}

func TestT099_LimitsSurviveKill9(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("fay@example.com", password)
	c := g.Client("app.test", true)
	try := func(email string) gatetest.Answer {
		return c.JSON("/_auth/login", map[string]string{"email": email, "password": "not-the-password"}, nil)
	}
	for i := range 5 {
		if a := try("fay@example.com"); a.StatusCode != 401 {
			t.Fatalf("wrong password %d: %d", i+1, a.StatusCode)
		}
	}
	g.Kill()
	g.Run()
	c = g.Client("app.test", true)
	for _, spelling := range []string{"fay@example.com", "FAY@EXAMPLE.COM", " fay@example.com ", "Fay@example.com.", "ｆａｙ@example.com"} {
		a := try(spelling)
		if a.StatusCode != 429 || a.Header.Get("Retry-After") == "" {
			if a.StatusCode == 401 && (spelling == "Fay@example.com." || spelling == "ｆａｙ@example.com") {
				// Refused as no address at all, at the price of a login: it
				// reached no account, so it opened no second counter for one.
				continue
			}
			t.Errorf("%q after the restart: %d, Retry-After %q", spelling, a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
	if a := c.JSON("/_auth/login", map[string]string{"email": "fay@example.com", "password": password}, nil); a.StatusCode != 429 {
		t.Errorf("the right password while limited: %d", a.StatusCode)
	}
}

func TestT093_LogoutRacingRefreshLeavesNothing(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("gil@example.com", password)
	c := g.Client("app.test", true)
	for range 20 {
		tok := c.Login("gil@example.com", password)
		var next gatetest.Tokens
		var wg sync.WaitGroup
		wg.Go(func() { c.JSON("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}, &next) })
		wg.Go(func() {
			c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json")
		})
		wg.Wait()
		for _, token := range []string{tok.AccessToken, next.AccessToken} {
			if token != "" && c.Status("/", token) != 401 {
				t.Fatal("an access token outlived the logout")
			}
		}
		for _, token := range []string{tok.RefreshToken, next.RefreshToken} {
			if token != "" && c.JSON("/_auth/refresh", map[string]string{"refresh_token": token}, nil).StatusCode != 401 {
				t.Fatal("a refresh token outlived the logout")
			}
		}
	}
}
