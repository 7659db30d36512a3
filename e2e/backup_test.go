package e2e

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// F-S8: a copy taken under load is whole, nothing waits for it, and a gateway
// that starts on it accepts no token from before: it cannot know which of them
// were revoked after the copy.
func TestFaultS8_BackupUnderLoadAndRestoreResurrectsNothing(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	revoked, alive := c.Login("ann@example.com", password), c.Login("ann@example.com", password)

	stop := make(chan struct{})
	var slowest, failed atomic.Int64
	var load sync.WaitGroup
	for range 2 {
		tok := c.Login("ann@example.com", password)
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				next, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
				if took := time.Since(start).Milliseconds(); took > slowest.Load() {
					slowest.Store(took)
				}
				if status == http.StatusOK {
					tok = next
				} else if !busy(status) {
					failed.Add(1)
				}
			}
		})
	}
	copies := gatetest.Scale(2, 20)
	for i := range copies {
		file := filepath.Join(t.TempDir(), "copy.db")
		g.Must("", "backup", file)
		sound(t, file)
		if i == copies-1 {
			restoreAs(t, g, file)
		}
	}
	close(stop)
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d refreshes failed during the backups", failed.Load())
	}
	if gatetest.Full() && slowest.Load() > 250 {
		t.Errorf("the slowest write during the backups took %d ms, want 250 at most", slowest.Load())
	}
	if got := logout(c, revoked.AccessToken); got != http.StatusNoContent {
		t.Fatalf("logout: %d", got)
	}
	g.Kill()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(dbFile(g) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(dbFile(g)+".restored", dbFile(g)); err != nil {
		t.Fatal(err)
	}
	g.Run()
	c = g.Client("app.test", true)
	for name, tok := range map[string]gatetest.Tokens{"revoked after the copy": revoked, "alive": alive} {
		if got := c.Status("/", tok.AccessToken); got != http.StatusUnauthorized {
			t.Errorf("an access token that was %s: %d", name, got)
		}
		if _, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}); status != http.StatusUnauthorized {
			t.Errorf("a refresh token that was %s: %d", name, status)
		}
	}
	if got := c.Status("/", c.Login("ann@example.com", password).AccessToken); got != http.StatusOK {
		t.Errorf("a new session on the restored copy: %d", got)
	}
}

// restoreAs puts a copy beside the database, to be moved in its place.
func restoreAs(t *testing.T, g *gatetest.Gate, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dbFile(g)+".restored", text, 0o600); err != nil {
		t.Fatal(err)
	}
}
