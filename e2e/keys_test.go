package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"gatehouse/internal/gatetest"
)

// F-K1: signing keys are replaced again and again under load. No request fails,
// tokens of older keys live on, and a key that is revoked takes its own with it.
func TestFaultK1_RotationUnderLoadFailsNothing(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	first := c.Login("ann@example.com", password)
	kid := strings.Fields(g.Must("", "key", "list"))[4]

	stop := make(chan struct{})
	var served, failed atomic.Int64
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
				for _, token := range []string{first.AccessToken, tok.AccessToken} {
					if a, err := c.Send(http.MethodGet, "/", "", gatetest.Bearer(token)); err != nil || a.StatusCode != http.StatusOK {
						failed.Add(1)
					}
					served.Add(1)
				}
				next, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
				if status == http.StatusOK {
					tok = next
				} else if !busy(status) {
					failed.Add(1)
				}
			}
		})
	}
	for range gatetest.Scale(3, 30) {
		fresh := strings.TrimSpace(g.Must("", "key", "rotate"))
		within(t, "the new key is published", func() bool {
			a, err := c.Send(http.MethodGet, "/_auth/jwks.json", "")
			return err == nil && strings.Contains(a.Text, fresh)
		})
	}
	close(stop)
	load.Wait()
	if failed.Load() > 0 || served.Load() < 10 {
		t.Errorf("%d of %d requests failed while keys were replaced", failed.Load(), served.Load())
	}
	young := c.Login("ann@example.com", password)
	g.Must("", "key", "revoke", kid)
	within(t, "tokens of the revoked key are refused", func() bool { return c.Refused("/", first.AccessToken) })
	if got := c.Status("/", young.AccessToken); got != http.StatusOK {
		t.Errorf("a token of another key: %d", got)
	}
}

// F-K2: a key file that is gone, garbage, open to all or too short at a reload
// changes nothing, and is told.
func TestFaultK2_BadKeyFileAtReloadKeepsTheOld(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, "")
	secret := filepath.Join(g.Dir, "app.password")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(secret, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("sesame-sesame", 0o600)
	g.Configure(fmt.Sprintf("routes:\n  - name: app\n    host: app.test\n    upstream: %s\n    access: public\n    basic_auth: {username: gate, password_file: app.password}\n", up.URL()))
	g.Run()
	c := g.Client("app.test", true)
	c.Status("/", "")
	want := up.Last()
	if !strings.Contains(want, "Authorization: Basic ") {
		t.Fatalf("the app saw:\n%s", want)
	}
	for name, spoil := range map[string]func() error{
		"gone":       func() error { return os.Remove(secret) },
		"empty":      func() error { write("", 0o600); return nil },
		"world-read": func() error { write("sesame-sesame", 0o644); return nil },
	} {
		write("sesame-sesame", 0o600)
		g.Signal(syscall.SIGHUP)
		within(t, name+": loaded before", func() bool { return strings.Contains(metrics(t, g), "gatehouse_config_last_reload_success 1") })
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		g.Signal(syscall.SIGHUP)
		within(t, name+": the failure is told", func() bool { return strings.Contains(metrics(t, g), "gatehouse_config_last_reload_success 0") })
		if got := c.Status("/", ""); got != http.StatusOK || !strings.Contains(up.Last(), "Authorization: Basic ") {
			t.Errorf("%s: %d, the app saw:\n%s", name, got, up.Last())
		}
	}
	if !strings.Contains(g.Log(), "the old one stays in force") {
		t.Error("the log does not say that the old configuration stays")
	}
}

// busy reports a refusal that has nothing to do with what is tested: a limit,
// or outside a full run a machine too loaded to write within two seconds.
func busy(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable && !gatetest.Full()
}
