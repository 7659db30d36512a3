package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/internal/gatetest"
)

// floods is the configuration the floods run against: loopback may say whom it
// speaks for, so that one machine can be many. Behind healthy.test is the app of
// a healthyClient.
func floods(t *testing.T, up string) string {
	return `limits: {register_ip: 100000/1h}
routes:
  - {name: app, host: app.test, upstream: "` + up + `"}
  - {name: open, host: open.test, upstream: "` + up + `", access: public}
  - {name: healthy, host: healthy.test, upstream: "http://` + gatetest.FreeAddr(t) + `", access: public}
`
}

// trusting rewrites a gate's file so that loopback is a trusted proxy.
func trusting(t *testing.T, g *gatetest.Gate) {
	t.Helper()
	text, err := os.ReadFile(g.File())
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "listen: {", "listen: {trusted_proxies: [127.0.0.0/8], ", 1)
	if err := os.WriteFile(g.File(), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// T113: guesses from everywhere keep the password hasher busy; those it cannot
// take are told so, and proxied traffic does not feel it.
func TestT113_PasswordFloodLeavesTheProxyAlone(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, floods(t, up.URL()))
	trusting(t, g)
	g.Run()
	answers := newTally()
	withstandAgain(t, g, func(ctx context.Context) {
		var wg sync.WaitGroup
		for worker := range 16 {
			c := g.Client("app.test", true)
			wg.Go(func() {
				for i := 0; i < gatetest.Scale(2, 400) && ctx.Err() == nil; i++ {
					body := fmt.Sprintf(`{"email":"user%d-%d@example.com","password":"a wrong password"}`, worker, i)
					a, err := c.Send(http.MethodPost, "/_auth/login", body, "Content-Type: application/json",
						fmt.Sprintf("X-Forwarded-For: 10.%d.%d.%d", worker, i/250, i%250), "X-Forwarded-Proto: https")
					if err != nil {
						answers.add("error")
						continue
					}
					answers.add(strconv.Itoa(a.StatusCode))
				}
			})
		}
		wg.Wait()
	})
	answers.only(t, "401", "429", "503")
}

// tally counts outcomes of a flood.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func newTally() *tally { return &tally{n: map[string]int{}} }

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[what]++
}

// only wants at least one outcome and none but these.
func (c *tally) only(t *testing.T, want ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.n) == 0 {
		t.Error("the flood did not run")
	}
	for what, n := range c.n {
		if !slices.Contains(want, what) {
			t.Errorf("%d of the flood's requests ended with %q, want %q", n, what, want)
		}
	}
}

// T100: a caller who is limited, for requests in memory and for sign-ins in the
// store, stays so while a flood of other addresses passes through the first.
func TestT100_AddressFloodFreesNobody(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, strings.Replace(floods(t, up.URL()), "limits: {", "limits: {requests_ip: 3/1h, login_ip: 2/1h, ", 1))
	trusting(t, g)
	g.Run()
	c := g.Client("open.test", true)
	from := func(addr string) []string {
		return []string{"X-Forwarded-For: " + addr, "X-Forwarded-Proto: https"}
	}
	guess := func(addr string) int {
		return c.Must(http.MethodPost, "/_auth/login", `{"email":"nobody@example.com","password":"a wrong password"}`,
			append(from(addr), "Content-Type: application/json")...).StatusCode
	}
	for range 3 {
		c.Must(http.MethodGet, "/", "", from("192.0.2.1")...)
	}
	for range 2 {
		guess("192.0.2.1")
	}
	limited := func(when string) {
		t.Helper()
		if a := c.Must(http.MethodGet, "/", "", from("192.0.2.1")...); a.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: proxied request: %d, want 429", when, a.StatusCode)
		}
		if got := guess("192.0.2.1"); got != http.StatusTooManyRequests {
			t.Errorf("%s: login: %d, want 429", when, got)
		}
	}
	limited("before")
	before := resident(t, g)
	var wg sync.WaitGroup
	workers, each := 4, gatetest.Scale(500, 250_000)
	for worker := range workers {
		wg.Go(func() {
			for i := range each {
				n := worker*each + i
				if a := c.Must(http.MethodGet, "/", "", from(fmt.Sprintf("2001:%x:%x::1", n>>16, n&0xffff))...); a.StatusCode != http.StatusOK {
					t.Errorf("address %d of the flood: %d", n, a.StatusCode)
					return
				}
			}
		})
	}
	wg.Wait()
	if grown := (resident(t, g) - before) >> 20; grown > 256 {
		t.Errorf("memory grew by %d MiB", grown)
	}
	limited("after the flood")
}

// T083 and T112: huge tokens and passwords cost nearly nothing and reach
// neither the app nor the hasher.
func TestT083_T112_HugeCredentialsAreCheap(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	tokens, passwords := newTally(), newTally()
	token := strings.Repeat("eyJhbGciOiJFZERTQSJ9.", 1400) // 29 KiB
	body := func(length int) string {
		return fmt.Sprintf(`{"email":"a@example.com","password":%q}`, strings.Repeat("x", length))
	}
	long, longer := body(15<<10), body(1<<20)
	withstandAgain(t, g, func(ctx context.Context) {
		c := &rawClient{t: t, g: g}
		for i := 0; i < gatetest.Scale(5, 4000) && ctx.Err() == nil; i++ {
			for _, h := range []string{gatetest.Bearer(token), "Cookie: __Host-gatehouse=" + token, "Cookie: __Host-gatehouse-refresh=ghr_" + token} {
				if status := c.ask(ctx, "GET / HTTP/1.1\r\nHost: app.test\r\n"+h+"\r\n\r\n"); status != 0 {
					tokens.add(strconv.Itoa(status))
				}
			}
			for _, text := range []string{long, longer} {
				head := fmt.Sprintf("POST /_auth/login HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(text))
				if status := c.ask(ctx, head+text); status != 0 {
					passwords.add(strconv.Itoa(status))
				}
			}
		}
	})
	tokens.only(t, "401")
	passwords.only(t, "400", "401", "413", "429")
	for _, request := range up.Seen() {
		if !strings.Contains(request, "Host: open.test") {
			t.Fatalf("the app saw a request of the flood:\n%.300s", request)
		}
	}
}
