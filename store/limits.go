package store

import (
	"context"
	"time"
)

// Claim asks for one unit of one limit: Count per Per, counted by GCRA (the
// generic cell rate algorithm), which keeps a single timestamp per key.
type Claim struct {
	Key   string // class and subject, as in "login_account:<address>|<network>"
	Count int    // > 0
	Per   time.Duration
	// Soft records and reports, but never refuses.
	Soft bool
}

// Decision is the answer to one Take.
type Decision struct {
	Allowed    bool
	Refused    int           // index of the claim that refused with the longest wait; -1 when allowed
	RetryAfter time.Duration // until that claim would be granted; 0 when allowed
	Used       []int         // units in use per claim, this one included when allowed; at most Count for hard claims
}

// Limiter counts what was tried. Its state survives a restart (threat T99).
type Limiter interface {
	// Take grants all claims or none, as one act: of 60 concurrent calls
	// against 5 per minute exactly 5 are allowed.
	Take(ctx context.Context, now time.Time, claims ...Claim) (Decision, error)
	// Refund gives one unit of each claim back, never below zero.
	Refund(ctx context.Context, now time.Time, claims ...Claim) error
	// Reset forgets the keys.
	Reset(ctx context.Context, keys ...string) error
	// Purge forgets keys that no longer limit anybody, and returns how many; 0
	// where they are forgotten by themselves.
	Purge(ctx context.Context, now time.Time) (int64, error)
}
