package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // reads the database the gateway left

	"gatehouse/internal/gatetest"
)

// Fault F-G1: kill -9 at random moments under mixed load. Nothing that was
// acknowledged is lost, nothing that was revoked is accepted, from the first
// request on.
func TestT096_FG1_Kill9LosesNothingAcknowledged(t *testing.T) {
	rounds := gatetest.Scale(8, 200)
	up := gatetest.NewUpstream(t)
	body := strings.Replace(appRoute(up.URL()), "register_ip: 1000/1h", "register_ip: 1000000/1h", 1)
	g := gatetest.Start(t, "tokens: {issuer: \"https://gate.test\", access_ttl: 15m}\n"+body)
	k := &kept{passwords: map[string]string{}, heads: map[string]string{}}
	var serial atomic.Int64
	var slowest time.Duration
	early, slow := 0, 0
	for round := range rounds {
		k.storm(g, &serial, round)
		began := time.Now()
		g.Launch()
		answers := k.knock(t, g)
		g.Ready()
		took := time.Since(began)
		slowest = max(slowest, took)
		if took > 2*time.Second {
			slow++
		}
		for status, n := range answers {
			early += n
			if status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
				t.Fatalf("round %d: %d of the first requests, made with revoked tokens, got %d", round, n, status)
			}
		}
		k.check(t, g, round == rounds-1)
		if t.Failed() {
			t.FailNow()
		}
	}
	if n := serial.Load(); n < int64(rounds) || early == 0 || len(k.dead) == 0 {
		t.Fatalf("%d users, %d early requests, %d ended sessions in %d rounds; the load did not run", n, early, len(k.dead), rounds)
	}
	t.Logf("%d rounds: %d registrations, %d ended sessions, %d heads and %d passwords kept; %d requests before readiness; slowest start %v",
		rounds, len(k.registered), len(k.dead), len(k.heads), len(k.passwords), early, slowest.Round(time.Millisecond))
	if gatetest.Full() && slow > 0 {
		t.Errorf("%d of %d starts took over 2 s", slow, rounds)
	}
	g.Kill()
	integrity(t, filepath.Join(g.Dir, "data", "gatehouse.db"))
}

// storm loads the gateway from four sides and kills it in the middle. In every
// third round an operator's command is the last thing before the end.
func (k *kept) storm(g *gatetest.Gate, serial *atomic.Int64, round int) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	c := g.Client("app.test", true)
	c.Timeout = 3 * time.Second
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !oneUser(c, k, serial.Add(1)) {
					return
				}
			}
		})
	}
	time.Sleep(time.Duration(150+rand.IntN(400)) * time.Millisecond) // a different moment each round
	if round%3 == 0 {
		k.command(g, c, serial.Add(1))
	}
	g.Kill()
	close(stop)
	wg.Wait()
}

// command ends one session by a command of another process.
func (k *kept) command(g *gatetest.Gate, c *gatetest.Client, n int64) {
	tok, status := post(c, "/_auth/register", map[string]string{"email": fmt.Sprintf("user%d@example.com", n), "password": password})
	if status != http.StatusCreated {
		return
	}
	if _, _, code := g.Command("", "session", "revoke", tok.User.Sid); code == 0 {
		k.note(func() { k.dead = append(k.dead, tok.AccessToken); k.deadRT = append(k.deadRT, tok.RefreshToken) })
	}
}

// knock asks with revoked tokens from the moment the port is open, before the
// gateway calls itself ready, and counts the answers.
func (k *kept) knock(t *testing.T, g *gatetest.Gate) map[int]int {
	t.Helper()
	answers := map[int]int{}
	if len(k.dead) == 0 {
		return answers
	}
	c := g.Client("app.test", true)
	c.Timeout = 5 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := 0; i < 20 && ctx.Err() == nil; {
		a, err := c.Send(http.MethodGet, "/", "", gatetest.Bearer(k.dead[len(k.dead)-1-i%len(k.dead)]))
		if err != nil {
			time.Sleep(time.Millisecond) // nobody listens yet
			continue
		}
		answers[a.StatusCode]++
		i++
	}
	return answers
}

// integrity has SQLite itself judge what is left.
func integrity(t *testing.T, file string) {
	t.Helper()
	db, err := sql.Open("sqlite3", file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var verdict string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check: %q, %v", verdict, err)
	}
}
