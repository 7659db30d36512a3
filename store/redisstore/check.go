package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrEvicts says that Redis forgets keys when its memory is full: attackers
// could free their own limits by filling it.
var ErrEvicts = errors.New("redis evicts keys when its memory is full; set maxmemory-policy noeviction")

// CheckPolicy is ErrEvicts when one of the servers may evict keys. It is nil
// where that may not be asked.
func (c *Client) CheckPolicy(ctx context.Context) error {
	return c.do(ctx, func(ctx context.Context) error {
		return c.eachMaster(ctx, func(ctx context.Context, r *redis.Client) error {
			info, err := r.Info(ctx, "memory").Result()
			if err != nil {
				if kindOf(err) == kindAuth {
					return nil // INFO is forbidden to this user
				}
				return err
			}
			for _, line := range strings.Split(info, "\n") {
				if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok && policy != "noeviction" {
					return fmt.Errorf("%w (it is %s)", ErrEvicts, policy)
				}
			}
			return nil
		})
	})
}

func (c *Client) eachMaster(ctx context.Context, ask func(context.Context, *redis.Client) error) error {
	switch r := c.rdb().(type) {
	case *redis.ClusterClient:
		return r.ForEachMaster(ctx, ask)
	case *redis.Client:
		return ask(ctx, r)
	}
	return nil
}

// Skew is how far this machine's clock is ahead of Redis's, give or take the
// time the answer took.
func (c *Client) Skew(ctx context.Context, now func() time.Time) (skew time.Duration, err error) {
	err = c.do(ctx, func(ctx context.Context) error {
		before := now()
		at, err := c.rdb().Time(ctx).Result()
		if err != nil {
			return err
		}
		skew = before.Add(now().Sub(before) / 2).Sub(at)
		return nil
	})
	return skew, err
}

// Refuses reports whether an error is Redis saying no to who we are.
func Refuses(err error) bool { return err != nil && kindOf(rootOf(err)) == kindAuth }

// rootOf unwraps to what Redis said.
func rootOf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
