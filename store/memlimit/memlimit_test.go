package memlimit

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/store"
	"gatehouse/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.RunLimiter(t, func(*testing.T) storetest.Limiter { return storetest.Limiter{Limiter: New(1000)} })
}

// T100: a flood of other keys does not free the victim's.
func TestT100_FloodDoesNotEvictTheFullKey(t *testing.T) {
	l, now := New(100), time.Now()
	take := func(key string) bool {
		d, err := l.Take(t.Context(), now, store.Claim{Key: key, Count: 5, Per: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return d.Allowed
	}
	for range 5 {
		take("victim")
	}
	for i := range 10_000 {
		take(fmt.Sprint("flood ", i))
	}
	if take("victim") {
		t.Error("the flood made the limiter forget a key that was full")
	}
	if len(l.byKey) > 100 || len(l.least) != len(l.byKey) {
		t.Errorf("%d keys, %d in the heap", len(l.byKey), len(l.least))
	}
}
