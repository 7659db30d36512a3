package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// fault makes something bad for all instances, or for one; the trio heals
// itself afterwards.
type fault struct {
	name string
	make func(c *trio)
	mend func(c *trio) // what healing the ways does not mend; may be nil
	// served: protected requests go on throughout, because one feed is enough.
	served bool
	// revoke: sessions can be ended meanwhile, and all instances refuse them.
	revoke bool
}

func allRedis(f func(*servertest.Fault)) func(*trio) {
	return func(c *trio) {
		for _, w := range c.toRedis {
			f(w)
		}
	}
}

func allPG(f func(*servertest.Fault)) func(*trio) {
	return func(c *trio) {
		for _, w := range c.toPG {
			f(w)
		}
	}
}

// F-R1 to F-R6: whatever happens to Redis, everything goes on: the list is
// polled, and limits are counted by each instance.
func TestFR_RedisMayDie(t *testing.T) {
	t.Parallel()
	faulted(t, []fault{
		{name: "FR1 stopped", make: func(c *trio) { c.redis.Kill() }, mend: func(c *trio) { c.redis.Run() }},
		{name: "FR1 refused", make: allRedis((*servertest.Fault).Cut)},
		{name: "FR2 black hole", make: allRedis((*servertest.Fault).BlackHole)},
		{name: "FR2 slow", make: allRedis(func(f *servertest.Fault) { f.Slow(500) })},
		{name: "FR2 resetting", make: allRedis((*servertest.Fault).Reset)},
		{name: "FR2 trickling", make: allRedis((*servertest.Fault).Trickle)},
		{name: "FR4 flushed", make: func(c *trio) { c.redis.Do("FLUSHALL") }},
		{name: "FR4 restarted empty", make: func(c *trio) { c.redis.Kill(); c.redis.Run() }},
		{name: "FR3 FR5 full", make: func(c *trio) { c.redis.Do("CONFIG", "SET", "maxmemory", "1") }, mend: func(c *trio) { c.redis.Do("CONFIG", "SET", "maxmemory", "0") }},
		{name: "FR5 evicting", make: func(c *trio) {
			c.redis.Do("CONFIG", "SET", "maxmemory", "2mb")
			c.redis.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
			for i := range 200 {
				c.redis.Do("SET", i, strings.Repeat("x", 8192))
			}
		}, mend: func(c *trio) {
			c.redis.Do("CONFIG", "SET", "maxmemory", "0")
			c.redis.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
		}},
	}, func(f *fault) { f.served, f.revoke = true, true })
}

// PostgreSQL holds the truth: without it nothing new is signed and nothing is
// vouched for longer than two seconds, and it all comes back by itself.
func TestPostgresMayDie(t *testing.T) {
	t.Parallel()
	faulted(t, []fault{
		{name: "slow", make: allPG(func(f *servertest.Fault) { f.Slow(200) }), served: true},
		{name: "refused", make: allPG((*servertest.Fault).Cut)},
		{name: "black hole", make: allPG((*servertest.Fault).BlackHole)},
		{name: "crashed", make: func(c *trio) { c.pg.Kill() }, mend: func(c *trio) { c.pg.Run() }},
		{name: "read-only", make: func(c *trio) { c.pgSetting("ALTER SYSTEM SET default_transaction_read_only = on") },
			mend: func(c *trio) { c.pgSetting("ALTER SYSTEM RESET default_transaction_read_only") }},
	}, func(*fault) {})
}

func (c *trio) pgSetting(statement string) {
	c.t.Helper()
	for _, s := range []string{statement, "SELECT pg_reload_conf()"} {
		if err := c.pg.Exec(s); err != nil {
			c.t.Fatal(err)
		}
	}
}

func faulted(t *testing.T, faults []fault, common func(*fault)) {
	up := gatetest.NewUpstream(t)
	c := startTrio(t, up.URL())
	c.gates[0].AddUser("eve@example.com", password)
	clients := c.clients()
	good := clients[0].Login("eve@example.com", password).AccessToken
	revoked := clients[1].Login("eve@example.com", password).AccessToken
	clients[2].Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(revoked), "Content-Type: application/json")
	var browsers []*gatetest.Client
	for _, g := range c.gates {
		browsers = append(browsers, browser(t, g, "eve@example.com"))
	}
	for i := range faults {
		common(&faults[i])
	}
	if faults[0].revoke { // the store of the truth is well
		for _, cl := range clients {
			c.programs = append(c.programs, cl.Login("eve@example.com", password))
		}
	}
	c.rest(t, good, revoked, browsers)
	for i := range faults {
		t.Run(faults[i].name, func(t *testing.T) { c.survive(t, faults[i], good, revoked, browsers) })
	}
}

// Bounds of full runs, whose machine is calm.
const (
	longer    = 150 * time.Millisecond // that anybody may wait more than when nothing is bad
	recovered = time.Second            // after a fault's end
)

// rest measures the traffic while nothing is bad.
func (c *trio) rest(t *testing.T, good, revoked string, browsers []*gatetest.Client) {
	tr := c.start(good, revoked, browsers)
	for until := time.Now().Add(time.Duration(gatetest.Scale(200, 10_000)) * time.Millisecond); time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond) // the traffic is the test
	}
	tr.end(t, "calm")
	if tr.served.Load() != tr.asked.Load() {
		t.Errorf("%d of %d protected requests were refused", tr.asked.Load()-tr.served.Load(), tr.asked.Load())
	}
	c.calm = quiet{tr.took, tr.renewals}
}

// bounded asserts that a fault kept nobody waiting.
func (c *trio) bounded(t *testing.T, tr *traffic) {
	t.Helper()
	for _, q := range []float64{0.99, 1} {
		for what, l := range map[string][2]latencies{"request": {c.calm.pages, tr.took}, "refresh": {c.calm.renewals, tr.renewals}} {
			if was, is := l[0].at(q), l[1].at(q); gatetest.Full() && is > was+longer {
				t.Errorf("the slowest %s (quantile %v) took %v, and %v when all was well", what, q, is, was)
			}
		}
	}
}

// survive runs traffic while the fault lasts and for a while after it.
func (c *trio) survive(t *testing.T, f fault, good, revoked string, browsers []*gatetest.Client) {
	c.t = t
	clients := c.clients()
	session := ""
	if f.revoke {
		session = clients[0].Login("eve@example.com", password).AccessToken
	}
	tr := c.start(good, revoked, browsers)
	f.make(c)
	lasts := gatetest.Scale(1200, 10_000)
	if !f.revoke { // long enough for the list to be too old
		lasts = gatetest.Scale(2500, 10_000)
	}
	until := time.Now().Add(time.Duration(lasts) * time.Millisecond)
	if f.revoke {
		clients[1].Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(session), "Content-Type: application/json")
		within(t, "all refuse what is revoked meanwhile", func() bool {
			return clients[0].Refused("/", session) && clients[1].Refused("/", session) && clients[2].Refused("/", session)
		})
	}
	for time.Now().Before(until) {
		time.Sleep(10 * time.Millisecond) // the traffic is the test
	}
	if f.mend != nil {
		f.mend(c)
	}
	healed := time.Now()
	c.heal(good)
	took := time.Since(healed)
	t.Logf("well again after %v", took.Round(time.Millisecond))
	if gatetest.Full() && took > recovered {
		t.Errorf("recovery took %v", took)
	}
	tr.end(t, f.name)
	c.bounded(t, tr)
	if f.served && tr.served.Load() != tr.asked.Load() {
		t.Errorf("%d of %d protected requests were refused", tr.asked.Load()-tr.served.Load(), tr.asked.Load())
	}
	for i, b := range browsers { // whose renewal needs the store to take writes again, too
		within(t, "a browser is served", func() bool {
			a := b.Must(http.MethodGet, "/", "")
			if a.StatusCode != 200 && a.StatusCode != 503 {
				t.Fatalf("browser %d lost its session: %d", i, a.StatusCode)
			}
			return a.StatusCode == 200
		})
	}
}
