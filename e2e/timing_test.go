package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// perAccount is how many sign-ins of one account fail before it is limited; the
// tenth would begin to wait.
func perAccount() int { return gatetest.Scale(2, 8) }

// Neither the bytes nor the time of an answer tell whether there is an account
// and what became of it, idle and under load: no threshold sorts the times of
// two kinds better than 55 % right. Times are judged at full size alone, on a
// machine that does nothing else.
func TestT104_TimesTellNothingAboutAccounts(t *testing.T) {
	up := gatetest.NewUpstream(t)
	for _, state := range []string{"idle", "under load"} {
		t.Run(state, func(t *testing.T) {
			g := gatetest.Start(t, "accounts: {registration: domain, allowed_domains: [example.com]}\n"+
				fmt.Sprintf("limits: {login_account: %d/24h, login_ip: 1000000/1m, register_ip: 1000000/1h}\n", perAccount())+
				"routes: [{name: app, host: app.test, access: public, upstream: \""+up.URL()+"\"}]\n")
			n := gatetest.Scale(2, 1000)
			populate(t, g, n/perAccount())
			if state != "idle" {
				defer proxiedLoad(g)()
			}
			c := g.Client("app.test", false)
			ask := func(path, password string) func(email string) string {
				return func(email string) string {
					return raw(t, c, http.MethodPost, path, "application/json", `{"email":"`+email+`","password":"`+password+`"}`, email)
				}
			}
			accounts := []string{"unknown-%d@example.com", "known---%d@example.com", "disabled%d@example.com"}
			alike(t, "sign-in", " 401 ", n, accounts, ask("/_auth/login", "wrong"))
			alike(t, "sign-in, limited", " 429 ", n, accounts, ask("/_auth/login", "wrong"))
			// A free address that may register is visible without mail, by design.
			refused := []string{"unknown-%d@elsewhere.com", "known---%d@example.com", "disabled%d@example.com", "outsider%d@elsewhere.com"}
			alike(t, "registration", " 422 ", n, refused, ask("/_auth/register", "eleven-green-bottles"))
		})
	}
}

// populate makes accounts of every kind, whose hash is nobody's.
func populate(t *testing.T, g *gatetest.Gate, each int) {
	t.Helper()
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
	var lines strings.Builder
	for i := range each {
		for _, kind := range []string{"known---%d@example.com", "disabled%d@example.com", "outsider%d@elsewhere.com"} {
			fmt.Fprintf(&lines, kind+":%s\n", i, hash)
		}
	}
	file := filepath.Join(g.Dir, "accounts")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Must("", "user", "import", file)
	for i := range each {
		g.Must("", "user", "disable", fmt.Sprintf("disabled%d@example.com", i))
	}
}

// proxiedLoad has the gateway proxy 400 requests a second until it is stopped.
func proxiedLoad(g *gatetest.Gate) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		c := g.Client("app.test", false)
		wg.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-quit:
					return
				case <-pace.C:
					_, _ = c.Send(http.MethodGet, "/", "") // its answer is not the question
				}
			}
		})
	}
	return func() { close(quit); wg.Wait() }
}

// alike asks n times for each kind of account, in random order, and fails the
// test when the answers, or at full size their times, can be told apart.
func alike(t *testing.T, what, status string, n int, kinds []string, ask func(email string) string) {
	t.Helper()
	times, order, first := map[string][]time.Duration{}, slices.Clone(kinds), ""
	for i := range n {
		rand.Shuffle(len(order), func(a, b int) { order[a], order[b] = order[b], order[a] })
		for _, kind := range order {
			email := fmt.Sprintf(kind, i/perAccount())
			began := time.Now()
			got := ask(email)
			times[kind] = append(times[kind], time.Since(began))
			if first == "" {
				first = got
			}
			if got != first || !strings.Contains(got, status) {
				t.Fatalf("%s: %s is told apart:\n%s\n-- from --\n%s", what, email, got, first)
			}
		}
	}
	for i, a := range kinds {
		for _, b := range kinds[i+1:] {
			share := separable(times[a], times[b])
			if !gatetest.Full() {
				continue
			}
			t.Logf("%s: the best threshold sorts %.1f %% of %s and %s right", what, 100*share, a, b)
			if share > 0.55 {
				t.Errorf("%s: %s and %s can be told apart by time", what, a, b)
			}
		}
	}
}

// separable is how many of two samples of one size the best threshold sorts
// right; one half means that they cannot be told apart.
func separable(a, b []time.Duration) float64 {
	type sample struct {
		d     time.Duration
		first bool
	}
	var all []sample
	for _, d := range a {
		all = append(all, sample{d, true})
	}
	for _, d := range b {
		all = append(all, sample{d, false})
	}
	slices.SortFunc(all, func(x, y sample) int { return int(x.d - y.d) })
	below, best := 0, 0 // of a minus of b
	for _, s := range all {
		if s.first {
			below++
		} else {
			below--
		}
		best = max(best, below, -below)
	}
	return 0.5 + float64(best)/float64(len(all))
}
