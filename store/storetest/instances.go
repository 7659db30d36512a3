package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse/store"
)

func instanceCases() []testCase {
	instance := func(id string, seen time.Duration) store.Instance {
		return store.Instance{ID: id, Host: "host of " + id, Version: "v1", StartedAt: now().Add(-time.Hour), SeenAt: now().Add(seen)}
	}
	return []testCase{
		{"beat keeps the living and forgets the rest", func(t *testing.T, s Stores) {
			a, b := instance("a", -time.Minute), instance("b", 0)
			live, err := s.Instances.Beat(t.Context(), a, now().Add(-time.Hour))
			must(t, err)
			equal(t, live, []store.Instance{a})
			live, err = s.Instances.Beat(t.Context(), b, now().Add(-time.Hour))
			must(t, err)
			equal(t, live, []store.Instance{a, b})
			b.SeenAt = now().Add(time.Second)
			live, err = s.Instances.Beat(t.Context(), b, now())
			must(t, err)
			equal(t, live, []store.Instance{b})
		}},
		{"leave", func(t *testing.T, s Stores) {
			_, err := s.Instances.Beat(t.Context(), instance("a", 0), now().Add(-time.Hour))
			must(t, err)
			must(t, s.Instances.Leave(t.Context(), "a"))
			must(t, s.Instances.Leave(t.Context(), "absent"))
			all, err := s.Instances.List(t.Context())
			must(t, err)
			equal(t, len(all), 0)
		}},
		{"all agree on one value", func(t *testing.T, s Stores) {
			var mu sync.Mutex
			seen := map[string]bool{}
			together(12, func(ctx context.Context, i int) {
				v, err := s.Instances.Agree(ctx, "issuer", fmt.Sprint("value ", i))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[v] = true
			})
			equal(t, len(seen), 1)
		}},
	}
}
