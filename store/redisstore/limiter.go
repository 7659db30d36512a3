package redisstore

import (
	"context"
	"crypto/sha256"
	_ "embed" // the scripts
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/store"
	"gatehouse/store/gcra"
)

//go:embed take.lua
var takeText string

//go:embed refund.lua
var refundText string

// Limiter keeps store.Limiter for all instances together: one script per
// decision. Keys expire when they no longer limit anybody. A key is stored under
// its hash, so that no address can be read in Redis.
type Limiter struct {
	c            *Client
	take, refund *redis.Script
}

var _ store.Limiter = (*Limiter)(nil)

// Limiter returns the shared counters.
func (c *Client) Limiter() *Limiter {
	return &Limiter{c, redis.NewScript(takeText), redis.NewScript(refundText)}
}

// call is the keys and arguments of a script.
type call struct {
	keys []string       // of Redis, each once
	at   map[string]int // claim key to its place, from 1
	args []any
}

// split makes two numbers of nanoseconds: Lua has no integers of 64 bits.
func split(ns int64) (sec, rest int64) { return ns / 1e9, ns % 1e9 }

func (l *Limiter) call(now time.Time, claims []store.Claim) (call, error) {
	if err := gcra.Check(claims); err != nil {
		return call{}, err
	}
	c := call{at: map[string]int{}}
	sec, rest := split(now.UnixNano())
	c.args = append(c.args, sec, rest)
	for _, claim := range claims {
		if c.at[claim.Key] == 0 {
			c.keys = append(c.keys, l.key(claim.Key))
			c.at[claim.Key] = len(c.keys)
		}
		r, _ := gcra.RateOf(claim)
		is, in := split(r.Interval)
		cs, cn := split(r.Ceiling)
		soft := 0
		if claim.Soft {
			soft = 1
		}
		c.args = append(c.args, c.at[claim.Key], is, in, cs, cn, soft)
	}
	return c, nil
}

func (l *Limiter) key(key string) string {
	sum := sha256.Sum256([]byte(key))
	return l.c.key("limit:" + base64.RawURLEncoding.EncodeToString(sum[:16]))
}

// errDisagree would mean that the script and the Go arithmetic differ.
var errDisagree = errors.New("the script decided otherwise than the arithmetic")

// Take grants all claims or none.
func (l *Limiter) Take(ctx context.Context, now time.Time, claims ...store.Claim) (store.Decision, error) {
	refused := store.Decision{Refused: -1}
	c, err := l.call(now, claims)
	if err != nil {
		return refused, failed("take", err)
	}
	if len(claims) == 0 {
		return store.Decision{Allowed: true, Refused: -1, Used: []int{}}, nil
	}
	var answer []string
	err = l.c.do(ctx, func(ctx context.Context) (err error) {
		answer, err = l.take.Run(ctx, l.c.rdb(), c.keys, c.args...).StringSlice()
		return err
	})
	if err != nil {
		return refused, failed("take", err)
	}
	tats, err := c.before(answer)
	if err != nil {
		return refused, failed("take", err)
	}
	d, _ := gcra.Decide(now.UnixNano(), claims, tats)
	if d.Allowed != (answer[0] == "1") {
		return refused, failed("take", errDisagree)
	}
	return d, nil
}

// before reads what the keys held when the script ran.
func (c call) before(answer []string) (map[string]int64, error) {
	if len(answer) != len(c.keys)+1 {
		return nil, fmt.Errorf("the script answered %d values for %d keys", len(answer), len(c.keys))
	}
	tats := make(map[string]int64, len(c.at))
	for key, place := range c.at {
		if answer[place] == "" {
			continue
		}
		sec, rest, _ := strings.Cut(answer[place], ":")
		s, err1 := strconv.ParseInt(sec, 10, 64)
		n, err2 := strconv.ParseInt(rest, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("a limit holds %q: %w", answer[place], err)
		}
		tats[key] = s*1e9 + n
	}
	return tats, nil
}

// Refund gives one unit of each claim back.
func (l *Limiter) Refund(ctx context.Context, now time.Time, claims ...store.Claim) error {
	c, err := l.call(now, claims)
	if err != nil || len(claims) == 0 {
		return failed("refund", err)
	}
	return failed("refund", l.c.do(ctx, func(ctx context.Context) error {
		return l.refund.Run(ctx, l.c.rdb(), c.keys, c.args...).Err()
	}))
}

// Reset forgets the keys.
func (l *Limiter) Reset(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	hashed := make([]string, len(keys))
	for i, k := range keys {
		hashed[i] = l.key(k)
	}
	return failed("reset limits", l.c.do(ctx, func(ctx context.Context) error { return l.c.rdb().Del(ctx, hashed...).Err() }))
}

// Purge has nothing to do.
func (l *Limiter) Purge(context.Context, time.Time) (int64, error) { return 0, nil }

func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}
