package e2e

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// Fault F-G4: the process stands still for a while, as on a machine that is
// suspended or out of processor time, while an operator revokes. What was
// revoked meanwhile is never accepted again: the gateway knows that its list is
// old before it knows what is new.
func TestT096_FG4_StoppedProcessAcceptsNothingRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	gone := c.Login(register(t, c, "gone@example.com"), password)
	stays := c.Login(register(t, c, "stays@example.com"), password)
	mine, theirs := app.holdAll(t, g, gone.AccessToken), app.holdAll(t, g, stays.AccessToken)
	const impatient = 20
	var waiting [impatient]*gatetest.Client
	for i := range waiting { // connections that need no handshake afterwards
		waiting[i] = g.Client("app.test", i%2 == 0)
		waiting[i].Timeout = 2 * time.Minute
		if got := waiting[i].Status("/", gone.AccessToken); got != http.StatusOK {
			t.Fatalf("before: %d", got)
		}
	}

	g.Signal(syscall.SIGSTOP)
	asleep := time.Duration(gatetest.Scale(3, 30)) * time.Second
	woken := time.After(asleep)
	revokeMany(t, g, 200_000) // which takes a while to read; the requests come first
	g.Must("", "session", "revoke", gone.User.Sid)

	// Requests pile up at the sleeping gateway and are the first it sees.
	var refused, unknown, accepted atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		each(impatient, impatient, func(i int) {
			a, err := waiting[i].Send(http.MethodGet, "/", "", gatetest.Bearer(gone.AccessToken))
			switch {
			case err != nil:
				t.Error(err)
			case a.StatusCode == http.StatusUnauthorized:
				refused.Add(1)
			case a.StatusCode == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "":
				unknown.Add(1)
			default:
				accepted.Add(1)
				t.Errorf("the first answer after the stop: %d", a.StatusCode)
			}
		})
	}()
	<-woken
	g.Signal(syscall.SIGCONT)
	awake := time.Now()
	<-done
	t.Logf("stopped for %v: %d refused, %d told to come back, %d accepted", asleep, refused.Load(), unknown.Load(), accepted.Load())
	within(t, "the gateway knows again", func() bool { return c.Status("/", stays.AccessToken) == http.StatusOK })
	t.Logf("back after %v", time.Since(awake).Round(time.Millisecond))
	if got := c.Status("/", gone.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("the revoked token afterwards: %d", got)
	}
	lastEnd(t, mine, 10*time.Second)
	for _, h := range theirs {
		if h.ended() {
			t.Errorf("the bystander's %s ended", h.what)
		}
	}
}

// revokeMany adds sessions that nobody has to the list of a gate that stands
// still.
func revokeMany(t *testing.T, g *gatetest.Gate, n int) {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(g.Dir, "data", "gatehouse.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	now := time.Now()
	if _, err := db.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO revocations (kind, subject, generation, created_at, expires) SELECT 2, 'nobody' || i, 0, $2, $3 FROM n`, // 2 is a session
		n, now.UnixMicro(), now.Add(time.Hour).UnixMicro()); err != nil {
		t.Fatal(err)
	}
}
