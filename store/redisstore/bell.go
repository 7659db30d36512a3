package redisstore

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	bellKept  = time.Minute // messages are for those who listen, not for later
	bellBlock = 500 * time.Millisecond
	bellPause = 100 * time.Millisecond // after a failure
	bellPage  = 100
)

// Bell is a stream that all instances read. What it carries may be lost: who
// listens polls the list as well.
type Bell struct{ c *Client }

// Bell returns the doorbell of this cluster.
func (c *Client) Bell() *Bell { return &Bell{c} }

// Ring tells all who listen. It does not wait for Redis to come back.
func (b *Bell) Ring(ctx context.Context, message []byte) error {
	return failed("ring", b.c.do(ctx, func(ctx context.Context) error {
		return b.c.rdb().XAdd(ctx, &redis.XAddArgs{
			Stream: b.c.key("bell"), MinID: strconv.FormatInt(time.Now().Add(-bellKept).UnixMilli(), 10), Approx: true,
			Values: []any{"m", message},
		}).Err()
	}))
}

// Follow hands on every message from now on, and says after each gap in the
// listening that something may have been missed, until ctx ends.
func (b *Bell) Follow(ctx context.Context, heard func(message []byte), missed func()) {
	last := ""
	for ctx.Err() == nil {
		next, err := b.listen(ctx, last, heard)
		if err == nil {
			last = next
			continue
		}
		missed()
		last = "" // the server may be another one, or empty: start at its end
		select {
		case <-ctx.Done():
		case <-time.After(bellPause):
		}
	}
}

// listen waits for messages after last and returns where to go on. A stream
// that ends before last was emptied: it is read from its new end.
func (b *Bell) listen(ctx context.Context, last string, heard func([]byte)) (string, error) {
	if err := b.c.circuit.Allow(); err != nil {
		return "", err
	}
	key := b.c.key("bell")
	if last == "" {
		return b.tail(ctx, key)
	}
	limited, cancel := context.WithTimeout(ctx, bellBlock+2*b.c.wait)
	defer cancel()
	got, err := b.c.rdb().XRead(limited, &redis.XReadArgs{Streams: []string{key, last}, Block: bellBlock, Count: bellPage}).Result()
	if errors.Is(err, redis.Nil) {
		return b.checked(ctx, key, last)
	}
	if err != nil {
		if ctx.Err() == nil {
			b.c.errors.add(kindOf(err))
			b.c.circuit.Failed(err)
		}
		return "", err
	}
	b.c.circuit.Succeeded()
	for _, stream := range got {
		for _, m := range stream.Messages {
			last = m.ID
			if text, ok := m.Values["m"].(string); ok {
				heard([]byte(text))
			}
		}
	}
	return last, nil
}

// errEmptied says that the stream is not the one that was read before.
var errEmptied = errors.New("the stream was emptied")

func (b *Bell) checked(ctx context.Context, key, last string) (string, error) {
	end, err := b.tail(ctx, key)
	if err != nil {
		return "", err
	}
	if older(end, last) {
		return "", errEmptied
	}
	return last, nil
}

// tail is the id of the newest message; "0-0" when there is none.
func (b *Bell) tail(ctx context.Context, key string) (id string, err error) {
	err = b.c.do(ctx, func(ctx context.Context) error {
		got, err := b.c.rdb().XRevRangeN(ctx, key, "+", "-", 1).Result()
		if err != nil {
			return err
		}
		id = "0-0"
		if len(got) > 0 {
			id = got[0].ID
		}
		return nil
	})
	return id, err
}

// older compares stream ids, MILLISECONDS-NUMBER.
func older(a, b string) bool {
	am, an := parts(a)
	bm, bn := parts(b)
	return am < bm || am == bm && an < bn
}

func parts(id string) (ms, n uint64) {
	for i := range id {
		if id[i] == '-' {
			ms, _ = strconv.ParseUint(id[:i], 10, 64) // Redis made it
			n, _ = strconv.ParseUint(id[i+1:], 10, 64)
		}
	}
	return ms, n
}
