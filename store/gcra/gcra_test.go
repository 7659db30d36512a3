package gcra

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatehouse/store"
)

// kept stores what Decide leaves to be stored.
func kept(now int64, c store.Claim, stored map[string]int64) (store.Decision, bool) {
	tats := maps.Clone(stored)
	d, ok := Decide(now, []store.Claim{c}, tats)
	maps.Copy(stored, tats)
	return d, ok
}

// Whatever the order of calls and jumps of the clock, a limit never shows more
// than Count in use, never refuses for longer than one interval, and never lets
// more than Count through at one moment.
func TestGCRA(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := store.Claim{
			Key: "k", Count: rapid.IntRange(1, 1000).Draw(t, "count"),
			Per: time.Duration(rapid.Int64Range(1000, int64(365*24*time.Hour)).Draw(t, "per")),
		}
		tats := map[string]int64{}
		now := time.Now().UnixNano()
		inBurst := 0
		for range rapid.IntRange(1, 50).Draw(t, "calls") {
			if jump := rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "jump"); jump%3 != 0 {
				now, inBurst = now+jump, 0
			}
			d, ok := kept(now, c, tats)
			if !ok {
				t.Fatal("claim refused")
			}
			interval := time.Duration((int64(c.Per)-1)/int64(c.Count) + 1)
			if d.Used[0] > c.Count || d.RetryAfter > interval || d.Allowed != (d.Refused == -1) || d.Allowed != (d.RetryAfter == 0) {
				t.Fatalf("%+v: %+v", c, d)
			}
			if d.Allowed {
				inBurst++
			}
			if inBurst > c.Count {
				t.Fatalf("%d allowed at one moment, limit %d", inBurst, c.Count)
			}
		}
	})
}

func TestGCRASoftCannotOverflow(t *testing.T) {
	c := store.Claim{Key: "k", Count: 1, Per: 366 * 24 * time.Hour, Soft: true}
	tats := map[string]int64{}
	now := time.Now().UnixNano()
	for range 500 {
		d, ok := Decide(now, []store.Claim{c}, tats)
		if !ok || !d.Allowed || d.Used[0] < 1 || tats["k"] < now {
			t.Fatalf("%+v %v %v", d, ok, tats)
		}
	}
}

// A clock that goes back leaves a key full for one period, not until the clock
// is there again (fault F-C1).
func TestGCRAAClockThatGoesBackLocksNobodyOut(t *testing.T) {
	c := store.Claim{Key: "k", Count: 5, Per: time.Minute}
	tats := map[string]int64{}
	now := time.Now().UnixNano()
	decide := func(want bool) {
		t.Helper()
		if d, ok := kept(now, c, tats); !ok || d.Allowed != want {
			t.Fatalf("%+v %v, want %v", d, ok, want)
		}
	}
	for range 5 {
		decide(true)
	}
	now -= int64(time.Hour)
	decide(false)
	now += int64(time.Minute)
	for range 5 {
		decide(true)
	}
	decide(false)
}
