package main

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/internal/servertest"
)

// F-C2: a clock more than ten seconds off is refused at the start, and a smaller
// difference is measured.
func TestFC2_ClockIsComparedWithRedis(t *testing.T) {
	cfg := &config.Config{Cluster: true, Redis: config.Redis{URLs: []string{"redis://" + servertest.StartRedis(t).Addr}}, Tokens: config.Tokens{Issuer: "https://gate.test"}}
	redis, err := openRedis(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redis.Close() })
	c := newCluster(cfg, redis, nil, slog.New(slog.DiscardHandler))
	for _, off := range []time.Duration{0, 8 * time.Second, -8 * time.Second, 20 * time.Second, -90 * time.Second} {
		c.now = func() time.Time { return time.Now().Add(off) }
		for deadline := time.Now().Add(20 * time.Second); ; { // Redis may be slow to answer on a busy machine
			c.skew.Store(int64(time.Hour))
			err = c.measure(t.Context())
			if c.skew.Load() != int64(time.Hour) || time.Now().After(deadline) {
				break
			}
		}
		if errors.Is(err, errSkew) != (off.Abs() > maxSkew) {
			t.Errorf("%v off: %v", off, err)
		}
		if got := time.Duration(c.skew.Load()); (got - off).Abs() > time.Second {
			t.Errorf("%v off is measured as %v", off, got)
		}
	}
}
