package storetest

import (
	"testing"
	"time"

	"gatehouse/store"
)

func limiterCases() []testCase {
	five := store.Claim{Key: "five", Count: 5, Per: time.Minute}
	take := func(t *testing.T, s Stores, at time.Duration, claims ...store.Claim) store.Decision {
		t.Helper()
		d, err := s.Limiter.Take(t.Context(), now().Add(at), claims...)
		must(t, err)
		return d
	}
	fill := func(t *testing.T, s Stores, c store.Claim) {
		t.Helper()
		for i := range c.Count {
			d := take(t, s, 0, c)
			equal(t, d, store.Decision{Allowed: true, Refused: -1, Used: []int{i + 1}})
		}
	}
	return []testCase{
		{"count per period, then one per interval", func(t *testing.T, s Stores) {
			fill(t, s, five)
			equal(t, take(t, s, 0, five), store.Decision{Refused: 0, RetryAfter: 12 * time.Second, Used: []int{5}})
			equal(t, take(t, s, 12*time.Second-time.Nanosecond, five).RetryAfter, time.Nanosecond)
			equal(t, take(t, s, 12*time.Second, five).Allowed, true)
			equal(t, take(t, s, 12*time.Second, five).Allowed, false)
		}},
		{"a whole period refills", func(t *testing.T, s Stores) {
			fill(t, s, five)
			equal(t, take(t, s, time.Minute, five).Used, []int{1})
		}},
		{"all or none", func(t *testing.T, s Stores) {
			fill(t, s, five)
			other := store.Claim{Key: "other", Count: 2, Per: time.Minute}
			for range 3 {
				d := take(t, s, 0, other, five)
				equal(t, d, store.Decision{Refused: 1, RetryAfter: 12 * time.Second, Used: []int{0, 5}})
			}
			equal(t, take(t, s, 0, other).Used, []int{1})
		}},
		{"the longest wait is named", func(t *testing.T, s Stores) {
			slow := store.Claim{Key: "slow", Count: 1, Per: time.Hour}
			fill(t, s, five)
			fill(t, s, slow)
			d := take(t, s, 0, five, slow)
			equal(t, d, store.Decision{Refused: 1, RetryAfter: time.Hour, Used: []int{5, 1}})
		}},
		{"soft never refuses and goes on counting", func(t *testing.T, s Stores) {
			soft := five
			soft.Soft = true
			for i := range 8 {
				equal(t, take(t, s, 0, soft), store.Decision{Allowed: true, Refused: -1, Used: []int{i + 1}})
			}
		}},
		{"one key twice counts twice", func(t *testing.T, s Stores) {
			equal(t, take(t, s, 0, five, five).Used, []int{1, 2})
			equal(t, take(t, s, 0, five).Used, []int{3})
		}},
		{"refund", func(t *testing.T, s Stores) {
			fill(t, s, five)
			must(t, s.Limiter.Refund(t.Context(), now(), five))
			equal(t, take(t, s, 0, five).Allowed, true)
			equal(t, take(t, s, 0, five).Allowed, false)
			for range 9 {
				must(t, s.Limiter.Refund(t.Context(), now(), five))
			}
			fill(t, s, five) // never below zero
			equal(t, take(t, s, 0, five).Allowed, false)
		}},
		{"reset", func(t *testing.T, s Stores) {
			fill(t, s, five)
			must(t, s.Limiter.Reset(t.Context(), "absent", "five"))
			fill(t, s, five)
			must(t, s.Limiter.Reset(t.Context()))
			equal(t, take(t, s, 0, five).Allowed, false)
		}},
		{"purge forgets what limits nobody", func(t *testing.T, s Stores) {
			fill(t, s, five)
			take(t, s, 0, store.Claim{Key: "short", Count: 1, Per: time.Second})
			n, err := s.Limiter.Purge(t.Context(), now().Add(time.Second))
			must(t, err)
			if !s.forgets {
				equal(t, n, int64(1))
			}
			equal(t, take(t, s, time.Second, five).Allowed, false)
		}},
		{"a clock that went back locks nobody out for long", func(t *testing.T, s Stores) {
			fill(t, s, five)
			d := take(t, s, -24*time.Hour, five)
			if d.Allowed || d.RetryAfter > 12*time.Second {
				t.Fatalf("got %+v, want a refusal for 12s at most", d)
			}
			equal(t, d.Used, []int{5})
		}},
		{"a claim without sense is an error", func(t *testing.T, s Stores) {
			for _, c := range []store.Claim{{Key: "k", Per: time.Second}, {Key: "k", Count: 1}, {Key: "k", Count: -1, Per: -1}} {
				d, err := s.Limiter.Take(t.Context(), now(), c)
				if err == nil || d.Allowed {
					t.Fatalf("%+v was granted: %+v, %v", c, d, err)
				}
			}
		}},
	}
}
