package authn

import (
	"errors"
	"testing"
	"time"

	"gatehouse/identity"
)

// Fault F-C1: the clock jumps an hour ahead, an hour back, a day ahead, and is
// right again; the gateway purges and restarts under each. Nothing that was
// revoked becomes valid, a token of the future is good for nobody, a limit holds
// and locks nobody out for longer than its period, and whoever is signed in goes
// on once the clock is right.
func TestFC1_ClockJumpsReviveNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.user("ann@example.com")
		over := w.granted(w.login("ann@example.com", annsPassword), 200)
		w.send("POST", "/_auth/logout", "", bearerOf(over.AccessToken))
		living := w.granted(w.login("ann@example.com", annsPassword), 200)
		refresh := func(token string) answer {
			a := w.post("/_auth/refresh", map[string]string{"refresh_token": token})
			if a.Code == 429 { // counted by a clock that was ahead
				time.Sleep(3 * time.Second) // of the bubble
				a = w.post("/_auth/refresh", map[string]string{"refresh_token": token})
			}
			return a
		}
		var ahead []string // issued by a clock that was
		before := time.Duration(0)
		for _, jump := range []time.Duration{time.Hour, 0, -time.Hour, 0, 24 * time.Hour, 0} {
			w.shift = jump
			if err := w.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.open()
			if _, err := w.asks(false, bearerOf(over.AccessToken)); !errors.Is(err, identity.ErrRejected) {
				t.Errorf("%v: a revoked access token: %v", jump, err)
			}
			if jump < before { // what was counted later than now still counts, for a period
				w.want("limited at "+jump.String(), w.login("victim@example.com", "wrong"), 429, "rate_limited")
				time.Sleep(time.Minute) // of the bubble
			}
			before = jump
			w.want("a period later, at "+jump.String(), w.login("victim@example.com", "wrong"), 401, "invalid_credentials")
			for range 5 {
				w.fail("victim@example.com")
			}
			w.want("a revoked refresh token at "+jump.String(), refresh(over.RefreshToken), 401, "session_over")
			if jump == 24*time.Hour { // longer than sessions may idle
				continue
			}
			living = w.granted(refresh(living.RefreshToken), 200)
			if err := w.inForce(t.Context()); err != nil { // nobody polls in this world
				t.Fatal(err)
			}
			if _, err := w.asks(false, bearerOf(living.AccessToken)); err != nil {
				t.Errorf("%v: a fresh access token: %v", jump, err)
			}
			if jump > 0 {
				ahead = append(ahead, living.AccessToken)
				continue
			}
			for _, future := range ahead {
				if _, err := w.asks(false, bearerOf(future)); !errors.Is(err, identity.ErrRejected) {
					t.Errorf("%v: a token of the future: %v", jump, err)
				}
			}
		}
	})
}
