package main

import (
	"slices"
	"sync"
	"time"
)

// loginFlood compares the latency of proxied requests, sent at a steady pace,
// without and with 500 clients that sign in.
func loginFlood(r *rig, res *result) error {
	g, err := r.gate(gateOptions{})
	if err != nil {
		return err
	}
	if err := r.command(g, "correct-horse-battery-1\n", "user", "add", "flood@bench.test"); err != nil {
		return err
	}
	tokens, err := g.mint(r.ctx, 1)
	if err != nil {
		return err
	}
	g.token = tokens[0].text
	for range r.o.rounds {
		calm := pace(g.peer, r.o.duration)
		before := memory(g.procs)
		f, err := r.flood(g.peer)
		if err != nil {
			return err
		}
		rough := pace(g.peer, r.o.duration)
		grown := memory(g.procs) - before
		ok, other, err := f.stop()
		if err != nil {
			return err
		}
		res.add("idle", calm)
		res.add("flood", rough)
		res.set("logins answered 200", float64(ok))
		res.set("logins refused as too many", float64(other))
		res.set("KiB grown", float64(grown))
		progress("  idle p99 %.2f ms, flood p99 %.2f ms; %d signed in, %d refused; %d KiB more", calm.P99, rough.P99, ok, other, grown)
	}
	return nil
}

// pace sends 200 requests a second, whatever the answers do, and measures from
// the moment each was due.
func pace(p *peer, d time.Duration) sample {
	c := client(false)
	defer c.CloseIdleConnections()
	const every = 5 * time.Millisecond
	n := int(d / every)
	took := make([]float64, n)
	var s sample
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		due := begin.Add(time.Duration(i) * every)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			ok := fetch(c, p, "/1k")
			mu.Lock()
			defer mu.Unlock()
			took[i] = float64(time.Since(due).Microseconds()) / 1000
			if !ok {
				s.Wrong++
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	s.Requests, s.Rate = int64(n), float64(n)/time.Since(begin).Seconds()
	s.P50, s.P99 = took[n/2], took[n*99/100]
	return s
}
