package authn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"gatehouse/internal/gatetest"
)

// Callers that go away in the middle never turn one person's answer into
// another's (threats T147, T149, CVE-2025-47907).
func TestT147_CancelledRequestsMixNobodyUp(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {refresh_session: 1000000/1m}", func(t *testing.T, w *world) {
		type person struct {
			email string
			g     *Grant
		}
		var people []person
		for i := range 16 {
			email := fmt.Sprintf("user%d@example.com", i)
			people = append(people, person{email, w.session(w.user(email))})
		}
		var wg sync.WaitGroup
		for worker, p := range people {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(worker), 1))
				for range gatetest.Scale(40, 5000) {
					ctx, cancel := context.WithCancel(t.Context())
					if random.IntN(3) == 0 {
						go cancel()
					}
					u, err := w.Users.ByEmail(ctx, p.email)
					if err == nil && u.ID != p.g.Identity.Subject {
						t.Errorf("%s is %s", p.email, u.ID)
					}
					list, err := w.ListSessions(ctx, p.g.Identity)
					for _, s := range list {
						if err == nil && s.UserID != p.g.Identity.Subject {
							t.Errorf("a session of %s in the list of %s", s.UserID, p.email)
						}
					}
					next, err := w.renew(ctx, w.caller(), p.g.Refresh)
					if err == nil && (next.Identity.Subject != p.g.Identity.Subject || next.Identity.Email != p.email || next.Identity.Session != p.g.Identity.Session) {
						t.Errorf("%s got %+v", p.email, next.Identity)
					}
					cancel()
				}
			})
		}
		wg.Wait()
	})
}
