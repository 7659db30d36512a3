package redisstore

import (
	"context"
	"sync"
	"testing"

	"gatehouse/internal/servertest"
)

// F-R4: what is rung is heard, also after the stream was emptied and after the
// server came back empty; each gap is told.
func TestFR4_BellSurvivesFlushAndRestart(t *testing.T) {
	server := servertest.StartRedis(t)
	ringer, listener := client(t, Options{Addrs: []string{server.Addr}, Name: "gate"}), client(t, Options{Addrs: []string{server.Addr}, Name: "gate"})
	var mu sync.Mutex
	heard, missed := map[string]bool{}, 0
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		listener.Bell().Follow(ctx, func(m []byte) {
			mu.Lock()
			heard[string(m)] = true
			mu.Unlock()
		}, func() {
			mu.Lock()
			missed++
			mu.Unlock()
		})
	})
	defer wg.Wait()
	defer stop()
	arrives := func(message string) {
		t.Helper()
		eventually(t, message+" is heard", func() bool {
			_ = ringer.Bell().Ring(t.Context(), []byte(message)) // tried until it is heard
			mu.Lock()
			defer mu.Unlock()
			return heard[message]
		})
	}
	arrives("first")
	server.Do("FLUSHALL")
	arrives("after the flush")
	server.Kill()
	eventually(t, "the gap is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return missed > 0
	})
	server.Run()
	arrives("after the restart")
}

func TestOldMessagesAreTrimmed(t *testing.T) {
	server := servertest.StartRedis(t)
	c := client(t, Options{Addrs: []string{server.Addr}, Name: "gate", wait: patient})
	for i := range 300 {
		server.Do("XADD", c.key("bell"), i+1, "m", "old")
	}
	if err := c.Bell().Ring(t.Context(), []byte("new")); err != nil {
		t.Fatal(err)
	}
	if n := server.Do("XLEN", c.key("bell")); n.(int64) > 150 { // Redis trims whole nodes of 100
		t.Errorf("%v messages are kept", n)
	}
}
