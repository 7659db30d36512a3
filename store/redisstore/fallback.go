package redisstore

import (
	"context"
	"errors"
	"time"

	"gatehouse/store"
	"gatehouse/store/gcra"
	"gatehouse/store/memlimit"
)

// localKeys bounds the memory of the fallback: about 20 MiB.
const localKeys = 100_000

// Shared is the limiter of several instances. While Redis cannot be had, each
// counts alone, against its share of the limit.
type Shared struct {
	redis     *Limiter
	local     *memlimit.Limiter
	instances func() int
}

var _ store.Limiter = (*Shared)(nil)

// NewShared makes one; instances tells how many share the limits just now.
func NewShared(redis *Limiter, instances func() int) *Shared {
	return &Shared{redis, memlimit.New(localKeys), instances}
}

// share is what one of n instances may grant: rounded down, so that together
// they grant no more than the limit, but one at least, so that nobody is locked
// out.
func (s *Shared) share(claims []store.Claim) []store.Claim {
	n := max(s.instances(), 1)
	out := make([]store.Claim, len(claims))
	for i, c := range claims {
		out[i] = c
		if !c.Soft {
			out[i].Count = max(c.Count/n, 1)
		}
	}
	return out
}

// Take grants all claims or none.
func (s *Shared) Take(ctx context.Context, now time.Time, claims ...store.Claim) (store.Decision, error) {
	if err := gcra.Check(claims); err != nil { // Redis has no part in that
		return store.Decision{Refused: -1}, failed("take", err)
	}
	d, err := s.redis.Take(ctx, now, claims...)
	if err != nil {
		return s.local.Take(ctx, now, s.share(claims)...)
	}
	return d, nil
}

// Refund gives one unit of each claim back, to both: what was taken from one
// while Redis went or came may be given back to the other.
func (s *Shared) Refund(ctx context.Context, now time.Time, claims ...store.Claim) error {
	if err := gcra.Check(claims); err != nil {
		return failed("refund", err)
	}
	_ = s.redis.Refund(ctx, now, claims...) // a unit that is not given back costs a little patience
	return s.local.Refund(ctx, now, s.share(claims)...)
}

// Reset forgets the keys, here in any case.
func (s *Shared) Reset(ctx context.Context, keys ...string) error {
	return errors.Join(s.redis.Reset(ctx, keys...), s.local.Reset(ctx, keys...))
}

// Purge forgets keys that no longer limit anybody.
func (s *Shared) Purge(ctx context.Context, now time.Time) (int64, error) {
	return s.local.Purge(ctx, now)
}
