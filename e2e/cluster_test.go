package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// F-M1: from the answer to a logout to the refusal on all three instances.
func TestFM1_RevocationReachesAllInstances(t *testing.T) {
	up := gatetest.NewUpstream(t)
	c := startTrio(t, up.URL())
	c.gates[0].AddUser("ann@example.com", password)
	clients := c.clients()
	var took []time.Duration
	for round := range gatetest.Scale(40, 500) {
		tok := clients[round%3].Login("ann@example.com", password)
		for i, cl := range clients {
			if got := cl.Status("/", tok.AccessToken); got != 200 {
				t.Fatalf("instance %d: %d before the logout", i, got)
			}
		}
		if a := clients[(round+1)%3].Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"); a.StatusCode != 204 {
			t.Fatalf("logout: %d %s", a.StatusCode, a.Text)
		}
		answered := time.Now()
		for _, cl := range clients {
			for !refuses(cl, tok.AccessToken) {
				if time.Since(answered) > 10*time.Second {
					t.Fatal("a revoked token is accepted 10 s after the logout was answered")
				}
			}
		}
		took = append(took, time.Since(answered))
	}
	slices.Sort(took)
	p50, p99, most := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	t.Logf("refused everywhere after p50 %v, p99 %v, at most %v (three requests one after another included)", p50, p99, most)
	if gatetest.Full() && (p50 > 20*time.Millisecond || p99 > 100*time.Millisecond || most > time.Second) {
		t.Errorf("over the bound")
	}
}

// refuses reports whether a token is refused. An answer that was under way when
// its session ended is cut off, and says nothing yet.
func refuses(c *gatetest.Client, token string) bool {
	a, err := c.Send(http.MethodGet, "/", "", gatetest.Bearer(token))
	return err == nil && a.StatusCode == http.StatusUnauthorized
}

// Commands, keys and instances: what an operator does on one host is seen on
// all, and nobody who is signed in notices a rotation.
func TestOperatorActsOnAllInstances(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	c := startTrio(t, up.URL())
	c.gates[0].AddUser("bob@example.com", password)
	clients := c.clients()
	tok := clients[0].Login("bob@example.com", password)

	var rows []struct {
		Host, Version string
		Live          bool
	}
	if err := json.Unmarshal([]byte(c.gates[1].Must("", "status", "--json")), &rows); err != nil || len(rows) != 3 || !rows[0].Live || rows[0].Host == "" {
		t.Errorf("status: %+v, %v", rows, err)
	}
	if out := c.gates[2].Must("", "check", "--online"); !strings.Contains(out, "postgres answers\nredis answers\n") {
		t.Errorf("check --online: %s", out)
	}

	accepted := func(token string) bool {
		for _, cl := range clients {
			if cl.Status("/", token) != 200 {
				return false
			}
		}
		return true
	}
	old := strings.TrimSpace(c.gates[1].Must("", "key", "rotate"))
	for deadline := time.Now().Add(7 * time.Second); time.Now().Before(deadline); {
		fresh := clients[0].Login("bob@example.com", password).AccessToken
		if !accepted(fresh) || !accepted(tok.AccessToken) {
			t.Fatal("a good token was refused during a rotation")
		}
	}
	last := clients[2].Login("bob@example.com", password).AccessToken
	c.gates[2].Must("", "key", "revoke", old)
	within(t, "all refuse the tokens of a revoked key", func() bool {
		for _, cl := range clients {
			if !cl.Refused("/", last) {
				return false
			}
		}
		return true
	})
	within(t, "all sign with another key", func() bool { return accepted(clients[1].Login("bob@example.com", password).AccessToken) })

	tok = clients[0].Login("bob@example.com", password)
	c.gates[2].Must("", "user", "disable", "bob@example.com")
	within(t, "all refuse a disabled user", func() bool {
		for _, cl := range clients {
			if !cl.Refused("/", tok.AccessToken) {
				return false
			}
		}
		return true
	})
	foreign := gatetest.New(t, "")
	conf := strings.Replace(fmt.Sprintf(clusterConf, c.pg.At(c.toPG[0].Addr, "gate1"), "redis://"+c.redis.Addr), "https://gate.test", "https://other.test", 1)
	conf = strings.Replace(conf, "encryption_key_file: seal.key", "encryption_key: "+sealKey, 1)
	foreign.Configure(conf + appRoute(up.URL()))
	if _, errs, code := foreign.Command("", "serve"); code != 1 || !strings.Contains(errs, "agreed on https://gate.test") {
		t.Errorf("an instance with another issuer: exit %d, %s", code, errs)
	}
}

// T093 on different instances: whatever the order, nothing lives afterwards.
func TestT093_LogoutRacesRefreshOnAnotherInstance(t *testing.T) {
	up := gatetest.NewUpstream(t)
	c := startTrio(t, up.URL())
	c.gates[0].AddUser("dan@example.com", password)
	clients := c.clients()
	for round := range gatetest.Scale(15, 200) {
		tok := clients[0].Login("dan@example.com", password)
		here, there := clients[round%3], clients[(round+1)%3]
		var next gatetest.Tokens
		var wg sync.WaitGroup
		wg.Go(func() { here.JSON("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}, &next) })
		wg.Go(func() {
			there.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json")
		})
		wg.Wait()
		for _, token := range []string{tok.AccessToken, next.AccessToken} {
			for i, cl := range clients {
				within(t, fmt.Sprintf("round %d: instance %d refuses", round, i), func() bool { return token == "" || cl.Refused("/", token) })
			}
		}
		for _, token := range []string{tok.RefreshToken, next.RefreshToken} {
			if token != "" && clients[2].JSON("/_auth/refresh", map[string]string{"refresh_token": token}, nil).StatusCode != 401 {
				t.Fatal("a refresh token outlived the logout")
			}
		}
	}
}
