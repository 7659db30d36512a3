// Package gcra is the arithmetic of limits, the generic cell rate algorithm
// (ITU-T I.371) on integers. It decides whether a unit is granted; it does not
// know where the one number a key holds is kept. Every back end of
// store.Limiter counts by it.
package gcra

import (
	"errors"
	"math"
	"time"

	"gatehouse/store"
)

// softCeiling bounds how far a limit that refuses nobody counts, in multiples
// of Count, so that its TAT cannot overflow.
const softCeiling = 100

// Rate is a claim in intervals. A key holds one number, the theoretical arrival
// time (TAT): nanoseconds of UTC at which the key is unused again. A unit moves
// it one interval ahead; it may stand Count intervals ahead of now.
type Rate struct {
	Interval int64 // ns; Per/Count rounded up, so that Count is never exceeded
	Ceiling  int64 // how far ahead a stored TAT is believed
}

// ErrClaim says that a claim makes no sense.
var ErrClaim = errors.New("a claim needs a count above 0, a period of at most 366 days and at least 1ns per unit")

// RateOf turns a claim into intervals; ok is false for a claim without sense.
func RateOf(c store.Claim) (r Rate, ok bool) {
	if c.Count <= 0 || c.Per <= 0 || c.Per > 366*24*time.Hour {
		return Rate{}, false
	}
	count, per := int64(c.Count), int64(c.Per)
	if count > per {
		return Rate{}, false
	}
	r.Interval = (per-1)/count + 1
	r.Ceiling = count * r.Interval
	if c.Soft {
		r.Ceiling = min(softCeiling*count, math.MaxInt64/4/r.Interval) * r.Interval
	}
	return r, true
}

// Check is ErrClaim when one of the claims makes no sense.
func Check(claims []store.Claim) error {
	for _, c := range claims {
		if _, ok := RateOf(c); !ok {
			return ErrClaim
		}
	}
	return nil
}

// settle reads a stored TAT at a moment: one in the past means unused, and one
// too far ahead (the clock went back) means full, not locked for long.
func (r Rate) settle(tat, now int64) int64 {
	return min(max(tat, now), now+r.Ceiling)
}

// add returns the TAT after one more unit, and how long to wait until it would
// be granted; 0 = granted now.
func (r Rate) add(tat, now int64) (next, wait int64) {
	next = r.settle(tat, now) + r.Interval
	if limit := now + r.Ceiling; next > limit {
		return limit, next - limit
	}
	return next, 0
}

// Sub returns the TAT with one unit given back.
func (r Rate) Sub(tat, now int64) int64 {
	return max(r.settle(tat, now)-r.Interval, now)
}

// used counts the units in use.
func (r Rate) used(tat, now int64) int {
	ahead := r.settle(tat, now) - now
	return int((ahead + r.Interval - 1) / r.Interval)
}

// Decide judges claims against the stored TATs and leaves in tats those to store.
// Where the answer is no, these are the ones that are further ahead than any
// claim can have put them: the clock went back, and left as it is such a key
// would be full until the clock is there again (fault F-C1).
func Decide(now int64, claims []store.Claim, tats map[string]int64) (d store.Decision, ok bool) {
	d = store.Decision{Allowed: true, Refused: -1, Used: make([]int, len(claims))}
	next := make(map[string]int64, len(claims))
	for i, c := range claims {
		r, ok := RateOf(c)
		if !ok {
			return store.Decision{Refused: -1}, false
		}
		tat, again := next[c.Key]
		if !again {
			tat = tats[c.Key]
		}
		moved, wait := r.add(tat, now)
		next[c.Key] = moved
		d.Used[i] = r.used(moved, now)
		if wait > 0 && !c.Soft && time.Duration(wait) > d.RetryAfter {
			d.Allowed, d.Refused, d.RetryAfter = false, i, time.Duration(wait)
		}
	}
	if d.Allowed {
		for k, v := range next {
			tats[k] = v
		}
		return d, true
	}
	for i, c := range claims { // nothing was taken: report what stands
		r, _ := RateOf(c)
		d.Used[i] = r.used(tats[c.Key], now)
	}
	recall(now, claims, tats)
	return d, true
}

// recall brings back what is further ahead than any of the claims on its key
// can have put it, and leaves nothing else.
func recall(now int64, claims []store.Claim, tats map[string]int64) {
	most := make(map[string]int64, len(claims))
	for _, c := range claims {
		r, _ := RateOf(c)
		most[c.Key] = max(most[c.Key], now+r.Ceiling)
	}
	for key, limit := range most {
		if tats[key] > limit {
			tats[key] = limit
		} else {
			delete(tats, key)
		}
	}
}
