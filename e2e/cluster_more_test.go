package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// T132, T134 across instances: what is open on any of them ends with a logout
// on one, and nobody else's does.
func TestT134_OpenStreamsEndOnEveryInstance(t *testing.T) {
	app := newStreamApp(t)
	c := startTrio(t, app.URL)
	c.gates[0].AddUser("gus@example.com", password)
	clients := c.clients()
	bystander := clients[0].Login("gus@example.com", password) // another session of the same user
	var theirs []*held
	for _, g := range c.gates {
		theirs = append(theirs, app.holdAll(t, g, bystander.AccessToken)...)
	}
	for round := range gatetest.Scale(1, 15) {
		tok := clients[round%3].Login("gus@example.com", password)
		var mine []*held
		for _, g := range c.gates {
			mine = append(mine, app.holdAll(t, g, tok.AccessToken)...)
		}
		if a := clients[(round+1)%3].Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"); a.StatusCode != 204 {
			t.Fatalf("logout: %d", a.StatusCode)
		}
		answered := time.Now()
		took := lastEnd(t, mine, 20*time.Second).Sub(answered)
		t.Logf("the last of %d streams on three instances ended %v after the answer", len(mine), took.Round(time.Millisecond))
		if gatetest.Full() && took > time.Second {
			t.Error("that is over one second")
		}
		for _, h := range mine {
			if h.what == "socket" && h.code != 1008 {
				t.Errorf("a socket got close code %d, want 1008", h.code)
			}
		}
		for _, h := range theirs {
			if h.ended() {
				t.Fatalf("the bystander's %s ended too", h.what)
			}
		}
	}
}

// Requests with a valid token ask neither store: what the stores were asked
// during many requests is far less than one question for each.
func TestValidTrafficAsksNoStore(t *testing.T) {
	up := gatetest.NewUpstream(t)
	c := startTrio(t, up.URL())
	c.gates[0].AddUser("ivy@example.com", password)
	clients := c.clients()
	tok := clients[0].Login("ivy@example.com", password).AccessToken
	for _, cl := range clients {
		cl.Status("/", tok) // warm
	}
	asked := func() (n int) {
		t.Helper()
		if err := c.pg.DB().QueryRow("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'gate1'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		info, _ := c.redis.Do("INFO", "stats").(string)
		_, rest, _ := strings.Cut(info, "total_commands_processed:")
		var commands int
		if _, err := fmt.Sscan(rest, &commands); err != nil {
			t.Fatal(err)
		}
		return n + commands
	}
	const requests = 3000
	before, start := asked(), time.Now()
	for i := range requests {
		if got := clients[i%3].Status("/", tok); got != 200 {
			t.Fatal(got)
		}
	}
	took := time.Since(start)
	time.Sleep(1100 * time.Millisecond) // PostgreSQL tells its counts once a second
	n := asked() - before
	t.Logf("%d questions during %d requests in %v", n, requests, took.Round(time.Millisecond))
	// Polls and signs of life of three instances are about 40 a second.
	if most := int(80*(took+1100*time.Millisecond).Seconds()) + 50; n > most || most >= requests {
		t.Errorf("%d questions, %d are those of idling", n, most)
	}
}

// An embedded database moves into a cluster: accounts, sessions and keys go on.
func TestMigrateIntoACluster(t *testing.T) {
	up, pg, redis := gatetest.NewUpstream(t), servertest.StartPostgres(t), servertest.StartRedis(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("hal@example.com", password, "admins")
	tok := g.Client("app.test", true).Login("hal@example.com", password)
	g.Stop()
	old := filepath.Join(g.Dir, "data", "gatehouse.db")
	if out, errs, code := g.Command("", "store", "migrate", old); code != 2 || !strings.Contains(errs, "store.postgres") {
		t.Errorf("nowhere to copy to: exit %d, %s%s", code, out, errs)
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "seal.key"), []byte(sealKey), 0o600); err != nil {
		t.Fatal(err)
	}
	at := pg.Database("")
	g.Configure(fmt.Sprintf(clusterConf, at, "redis://"+redis.Addr) + appRoute(up.URL()))
	for range 2 { // again is as good as once
		if out := g.Must("", "store", "migrate", old); !strings.Contains(out, "users: 1 copied and compared") || !strings.Contains(out, "keys: 2 copied") {
			t.Errorf("migrate: %s", out)
		}
	}
	newKey := "mB7sYq2LxV5nRz0KcTjW8dHuG3fEoPa9iMtNb4vXeQg"
	if err := os.WriteFile(filepath.Join(g.Dir, "seal.key"), []byte(newKey+"\n"+sealKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := g.Must("", "key", "seal"); !strings.Contains(out, "2 keys are encrypted") {
		t.Errorf("key seal: %s", out)
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "seal.key"), []byte(newKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Run()
	c := g.Client("app.test", true)
	if got := c.Status("/", tok.AccessToken); got != 200 {
		t.Errorf("a token from before: %d", got)
	}
	var next gatetest.Tokens
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}, &next); a.StatusCode != 200 {
		t.Errorf("a session from before: %d %s", a.StatusCode, a.Text)
	}
	c.Login("hal@example.com", password)
	g.Stop()
	if err := os.WriteFile(filepath.Join(g.Dir, "seal.key"), []byte(sealKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := g.Command("", "serve"); code != 1 || !strings.Contains(errs, "cannot be decrypted") || strings.Contains(errs, sealKey) {
		t.Errorf("with the wrong encryption key: exit %d, %s", code, errs)
	}
}
