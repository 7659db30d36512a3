package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// trio is three instances on one PostgreSQL and one Redis, each with ways of its
// own to both, which a test can make bad.
type trio struct {
	t       *testing.T
	pg      *servertest.Postgres
	redis   *servertest.Redis
	gates   []*gatetest.Gate
	toPG    []*servertest.Fault
	toRedis []*servertest.Fault
	calm    quiet
	// programs refresh their tokens during the traffic, one at each instance.
	programs []gatetest.Tokens
}

// quiet is how long requests took while nothing was bad.
type quiet struct{ pages, renewals latencies }

const sealKey = "f3Lw9sKq0ZbT7yVn2HcXe5RjU8mAoP4dGiW1kNtBvYM"

// clusterConf is the configuration of one instance.
const clusterConf = `
store: {postgres: {url: %q, max_connections: 10}}
redis: {urls: [%q]}
cluster: true
tokens: {issuer: "https://gate.test", encryption_key_file: seal.key}
`

func startTrio(t *testing.T, upstream string) *trio {
	t.Helper()
	pg := servertest.StartPostgres(t)
	at := pg.Database("")
	return startTrioOn(t, upstream, pg, at[strings.LastIndex(at, "/")+1:])
}

// startTrioOn starts a trio on a database of a server, which may also be had
// from standbys.
func startTrioOn(t *testing.T, upstream string, pg *servertest.Postgres, name string, standbys ...*servertest.Postgres) *trio {
	t.Helper()
	c := &trio{t: t, pg: pg, redis: servertest.StartRedis(t)}
	more := ""
	for _, s := range standbys {
		more += "," + s.Addr
	}
	// In an hour no attempt comes back, however slow the machine is.
	routes := strings.Replace(appRoute(upstream), "limits: {", "limits: {login_account: 5/1h, ", 1)
	for range 3 {
		toPG, toRedis := servertest.Between(t, c.pg.Addr), servertest.Between(t, c.redis.Addr)
		g := gatetest.New(t, "")
		if err := os.WriteFile(filepath.Join(g.Dir, "seal.key"), []byte(sealKey+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		g.Configure(fmt.Sprintf(clusterConf, c.pg.At(toPG.Addr+more, name), "redis://"+toRedis.Addr) + routes + fmt.Sprintf("  - {name: lenient, host: lenient.test, upstream: %q, on_stale: allow}\n", upstream))
		c.gates, c.toPG, c.toRedis = append(c.gates, g), append(c.toPG, toPG), append(c.toRedis, toRedis)
	}
	var wg sync.WaitGroup
	for _, g := range c.gates {
		wg.Go(g.Run)
	}
	wg.Wait()
	for _, g := range c.gates {
		within(t, "each knows of all three", func() bool { return strings.Contains(metrics(t, g), "gatehouse_instances 3") })
	}
	return c
}

func (c *trio) clients() []*gatetest.Client {
	var all []*gatetest.Client
	for _, g := range c.gates {
		all = append(all, g.Client("app.test", true))
	}
	return all
}

// heal ends every fault and waits until all instances accept a token again.
func (c *trio) heal(token string) {
	c.t.Helper()
	for i := range c.gates {
		c.toPG[i].Heal()
		c.toRedis[i].Heal()
	}
	for i, cl := range c.clients() {
		within(c.t, fmt.Sprintf("instance %d is well again", i), func() bool {
			a, err := cl.Send(http.MethodGet, "/", "", gatetest.Bearer(token))
			return err == nil && a.StatusCode == 200
		})
		for _, store := range []string{"store", "redis"} {
			within(c.t, fmt.Sprintf("instance %d uses %s again", i, store), func() bool { return component(c.t, c.gates[i], store) == "ok" })
		}
	}
}

// traffic is what clients see while something is bad.
type traffic struct {
	paced
	served atomic.Int64 // protected requests that got through
	asked  atomic.Int64
	public atomic.Int64

	mu       sync.Mutex
	wrong    []string
	took     latencies
	renewals latencies
}

// latencies are how long requests took.
type latencies []time.Duration

// at is a quantile, and the slowest at 1.
func (l latencies) at(quantile float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(l))[int(quantile*float64(len(l)-1))].Round(time.Millisecond)
}

func (l latencies) String() string {
	return fmt.Sprintf("%d requests, p50 %v, p99 %v, slowest %v", len(l), l.at(0.5), l.at(0.99), l.at(1))
}

// start asks every instance, over and over: with a good token, with a revoked
// one, as a browser with good cookies, and for a public page.
func (c *trio) start(good, revoked string, browsers []*gatetest.Client) *traffic {
	tr := &traffic{paced: paced{stop: make(chan struct{})}}
	for i, g := range c.gates {
		app, open := g.Client("app.test", true), g.Client("open.test", true)
		tr.loop(func() { tr.protected(app, gatetest.Bearer(good)) })
		tr.loop(func() { tr.protected(browsers[i]) })
		tr.loop(func() { tr.refused(app, revoked) })
		tr.loop(func() { tr.open(open) })
	}
	for i := range c.programs {
		program := c.gates[i].Client("app.test", true)
		tr.every(250*time.Millisecond, func() { tr.refresh(program, &c.programs[i]) })
	}
	return tr
}

func (tr *traffic) loop(once func()) {
	tr.every(time.Duration(gatetest.Scale(20, 12))*time.Millisecond, once)
}

func (tr *traffic) complain(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.wrong) < 10 {
		tr.wrong = append(tr.wrong, fmt.Sprintf(format, args...))
	}
}

func (tr *traffic) ask(c *gatetest.Client, headers ...string) (gatetest.Answer, bool) {
	start := time.Now()
	a, err := c.Send(http.MethodGet, "/", "", headers...)
	took := time.Since(start)
	tr.mu.Lock()
	tr.took = append(tr.took, took)
	tr.mu.Unlock()
	if err != nil {
		tr.complain("no answer: %v", err)
		return a, false
	}
	for _, ck := range a.Cookies() {
		if ck.MaxAge < 0 || ck.Value == "" {
			tr.complain("cookie %s was cleared with a %d", ck.Name, a.StatusCode)
		}
	}
	return a, true
}

func (tr *traffic) protected(c *gatetest.Client, headers ...string) {
	a, ok := tr.ask(c, headers...)
	tr.asked.Add(1)
	switch {
	case !ok:
	case a.StatusCode == 200:
		tr.served.Add(1)
	case a.StatusCode != 503:
		tr.complain("a good credential got %d", a.StatusCode)
	case a.Header.Get("Retry-After") == "":
		tr.complain("503 without Retry-After")
	}
}

// refresh has to succeed, whatever happens to Redis, which only counts it.
func (tr *traffic) refresh(c *gatetest.Client, tok *gatetest.Tokens) {
	start := time.Now()
	a, err := c.Send(http.MethodPost, "/_auth/refresh", fmt.Sprintf(`{"refresh_token": %q}`, tok.RefreshToken), "Content-Type: application/json")
	took := time.Since(start)
	if err != nil {
		tr.complain("a refresh: %v", err)
		return
	}
	if a.StatusCode != 200 {
		tr.complain("a refresh: %d %s", a.StatusCode, a.Text)
		return
	}
	if err := json.Unmarshal([]byte(a.Text), tok); err != nil {
		tr.complain("a refresh: %v", err)
	}
	tr.mu.Lock()
	tr.renewals = append(tr.renewals, took)
	tr.mu.Unlock()
}

func (tr *traffic) refused(c *gatetest.Client, revoked string) {
	if a, ok := tr.ask(c, gatetest.Bearer(revoked)); ok && a.StatusCode != 401 && a.StatusCode != 503 {
		tr.complain("a revoked token got %d", a.StatusCode)
	}
}

func (tr *traffic) open(c *gatetest.Client) {
	tr.public.Add(1)
	if a, ok := tr.ask(c); ok && a.StatusCode != 200 {
		tr.complain("a public page got %d", a.StatusCode)
	}
}

// end stops the traffic and reports what was wrong.
func (tr *traffic) end(t *testing.T, what string) {
	t.Helper()
	tr.halt()
	for _, w := range tr.wrong {
		t.Errorf("%s: %s", what, w)
	}
	if tr.public.Load() == 0 || tr.asked.Load() == 0 {
		t.Errorf("%s: nothing was asked", what)
	}
	t.Logf("%s: %d of %d protected requests served, %d public; %v; refreshes: %v", what, tr.served.Load(), tr.asked.Load(), tr.public.Load(), tr.took, tr.renewals)
}

// browser signs in with cookies.
func browser(t *testing.T, g *gatetest.Gate, email string) *gatetest.Client {
	t.Helper()
	c := g.Client("app.test", true)
	if a := c.Form("/_auth/login", "email", email, "password", password); a.StatusCode != 303 {
		t.Fatalf("sign-in: %d %s", a.StatusCode, a.Text)
	}
	return c
}
