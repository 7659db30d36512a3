package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// wiki is an application whose slow pages take long enough to be under way when
// their instance is told to go.
func wiki(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.URL.Path == "/slow" {
			select {
			case <-time.After(2 * time.Second):
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "page")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What operators do to a running cluster, while visitors come: no request
// fails, and nobody has to sign in again.
func TestOperatingAFleetFailsNothing(t *testing.T) {
	t.Parallel()
	f := startFleet(t, wiki(t))
	f.gates[0].AddUser("ann@example.com", password)
	for _, c := range []struct {
		name    string
		operate func(*visitors)
	}{{"rolling restart", f.restart}, {"key rotation", f.rotate}} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			began := time.Now()
			v := f.visit("ann@example.com")
			c.operate(v)
			v.end(t, began)
		})
	}
	t.Run("no instance is ready", f.withoutTruth)
}

// withoutTruth takes PostgreSQL away: no instance is ready then, and what needs
// it least is served through the load balancer all the same.
func (f *fleet) withoutTruth(t *testing.T) {
	f.t = t
	f.pg.Kill()
	for _, g := range f.gates {
		within(t, "it is not ready", func() bool { return component(t, g, "revocations") == "failed" })
	}
	within(t, "HAProxy serves in spite of that", func() bool {
		a, err := f.client(true).Send(http.MethodGet, "/_auth/login", "")
		return err == nil && a.StatusCode == http.StatusOK
	})
	for range 20 {
		if a := f.client(true).Must(http.MethodGet, "/_auth/login", ""); a.StatusCode != http.StatusOK {
			t.Errorf("the page for signing in: %d", a.StatusCode)
		}
	}
}

// restart has one instance after the other go and come back.
func (f *fleet) restart(v *visitors) {
	t := f.t
	for range gatetest.Scale(1, 3) {
		for i, g := range f.gates {
			told := time.Now()
			g.Signal(syscall.SIGTERM)
			within(t, "it says so", func() bool {
				text, err := get("http://" + g.Admin + "/readyz")
				return err == nil && strings.Contains(text, "draining")
			})
			if code := g.Wait(); code != 0 || strings.Contains(g.Log(), "cut off") {
				t.Errorf("instance %d: exit %d\n%s", i, code, tail(g.Log()))
			}
			gone := time.Since(told)
			g.Run()
			t.Logf("instance %d gone after %v, ready again after %v", i, gone.Round(time.Millisecond), time.Since(told).Round(time.Millisecond))
			within(t, "new connections reach it again", func() bool {
				v.ask(f.client(true), http.MethodGet, "/_auth/login")
				return strings.Contains(metrics(t, g), `code="200"`)
			})
		}
	}
}

// rotate replaces the signing key, again and again.
func (f *fleet) rotate(*visitors) {
	for i := range gatetest.Scale(1, 8) {
		fresh := strings.TrimSpace(f.gates[i%3].Must("", "key", "rotate"))
		within(f.t, "new tokens are signed with it", func() bool {
			return kid(f.t, f.client(true).Login("ann@example.com", password).AccessToken) == fresh
		})
	}
}
