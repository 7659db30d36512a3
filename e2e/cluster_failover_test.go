package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// PostgreSQL fails over: the primary is gone, its standby, which had all that
// was acknowledged, is promoted. All instances follow by themselves; nothing
// that was revoked is accepted, and no session is lost.
func TestPostgresFailsOver(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*trio){"crash": func(c *trio) { c.pg.Kill() }}
	if gatetest.Full() {
		ends["machine gone"] = allPG((*servertest.Fault).BlackHole)
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) { failOver(t, end) })
	}
}

func failOver(t *testing.T, end func(*trio)) {
	pg := servertest.StartPostgres(t)
	at := pg.Database("")
	standby := pg.Standby()
	up := gatetest.NewUpstream(t)
	c := startTrioOn(t, up.URL(), pg, at[strings.LastIndex(at, "/")+1:], standby)
	// From here on what is acknowledged is on the standby, too.
	c.pgSetting("ALTER SYSTEM SET synchronous_standby_names = '*'")
	within(t, "the standby counts", func() bool {
		var n int
		err := pg.DB().QueryRow("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'").Scan(&n)
		return err == nil && n == 1
	})
	c.gates[0].AddUser("kim@example.com", password)
	clients := c.clients()
	good := clients[0].Login("kim@example.com", password)
	var browsers []*gatetest.Client
	for _, g := range c.gates {
		browsers = append(browsers, browser(t, g, "kim@example.com"))
	}
	last := clients[1].Login("kim@example.com", password)
	signOut(t, clients[2], last.AccessToken, 204)
	fresh := clients[2].Login("kim@example.com", password)
	t.Cleanup(func() {
		for i, g := range c.gates {
			for _, line := range strings.Split(g.Log(), "\n") {
				if t.Failed() && strings.Contains(line, "postgres") {
					t.Logf("instance %d: %s", i, line)
				}
			}
		}
	})
	var programs []gatetest.Tokens
	for _, cl := range clients {
		programs = append(programs, cl.Login("kim@example.com", password))
	}
	tr := c.start(good.AccessToken, last.AccessToken, browsers)
	end(c)
	within(t, "protected routes say that nobody knows", func() bool { return clients[0].Status("/", good.AccessToken) == 503 })
	for _, g := range c.gates { // a failover takes longer than to notice why
		within(t, "it has given the primary up", func() bool { return strings.Contains(g.Log(), "postgres does not answer") })
	}
	standby.Promote()
	promoted := time.Now()
	t.Log("promoted at", promoted.UTC().Format(time.RFC3339Nano))
	var all sync.WaitGroup
	for i, cl := range clients {
		all.Go(func() {
			serves := eventuallyTrue(func() bool { return cl.Status("/", good.AccessToken) == 200 })
			writes := eventuallyTrue(func() bool { return renews(cl, programs[i].RefreshToken) })
			took := time.Since(promoted)
			t.Logf("instance %d: serves %v, writes %v, after %v", i, serves, writes, took.Round(time.Millisecond))
			if !serves || !writes || gatetest.Full() && took > recovered {
				t.Errorf("instance %d does not follow", i)
			}
		})
	}
	all.Wait()
	var next gatetest.Tokens
	if a := clients[0].JSON("/_auth/refresh", map[string]string{"refresh_token": fresh.RefreshToken}, &next); a.StatusCode != 200 {
		t.Errorf("the session of the last sign-in before: %d %s", a.StatusCode, a.Text)
	}
	if a := clients[1].JSON("/_auth/refresh", map[string]string{"refresh_token": last.RefreshToken}, nil); a.StatusCode != 401 {
		t.Errorf("a session that ended before: %d", a.StatusCode)
	}
	signOut(t, clients[0], next.AccessToken, 204)
	for _, cl := range clients {
		within(t, "a logout on the new primary reaches all", func() bool { return cl.Refused("/", next.AccessToken) })
	}
	tr.end(t, "failover")
	for i, b := range browsers {
		if a := b.Must(http.MethodGet, "/", ""); a.StatusCode != 200 {
			t.Errorf("browser %d lost its session: %d", i, a.StatusCode)
		}
	}
}

// eventuallyTrue waits, in any goroutine.
func eventuallyTrue(ok func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// renews reports whether a refresh is answered, which needs a write.
func renews(c *gatetest.Client, token string) bool {
	_, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": token})
	return status == 200
}
