package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// heapFloor is how large the heap may get between two collections however
// little of it is live. With Go's default a gateway that holds 8 MiB would
// collect after every further 8; under load that is ten times a second. From
// half of it on, Go's default counts, so that many connections cost what they
// cost anyway.
const heapFloor = 32 << 20

// sentinel is collected in every cycle, which is how we learn of one.
type sentinel struct{ floor *floor }

// floor keeps GOGC such that the heap's next goal is no lower than it.
type floor struct {
	bytes  uint64
	set    int // the percentage in force
	closed atomic.Bool
}

// keepHeapFloor puts the floor in force until the returned function is called.
// Whoever sets GOGC knows better; half of a memory limit bounds the floor.
func keepHeapFloor(env func(string) (string, bool)) (stop func()) {
	if _, chosen := env("GOGC"); chosen {
		return func() {}
	}
	limit := debug.SetMemoryLimit(-1)
	f := &floor{bytes: min(heapFloor, uint64(limit)/2), set: 100} //#nosec G115 -- a limit is positive
	f.adjust()
	f.watch()
	return func() {
		if !f.closed.Swap(true) {
			debug.SetGCPercent(100)
		}
	}
}

// watch has adjust called after every collection.
func (f *floor) watch() {
	runtime.SetFinalizer(&sentinel{f}, func(s *sentinel) {
		if !s.floor.closed.Load() {
			s.floor.adjust()
			s.floor.watch()
		}
	})
}

func (f *floor) adjust() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	percent := gcPercent(sample[0].Value.Uint64(), f.bytes)
	// Setting it stops the world for a moment; not for trifles.
	if off := percent - f.set; off > f.set/8 || off < -f.set/8 {
		f.set = percent
		debug.SetGCPercent(percent)
	}
}

// gcPercent is the GOGC whose goal is floor, or 100 when that gives more. What
// is live before the first collection is not known; 4 MiB is Go's own smallest
// heap.
func gcPercent(live, floor uint64) int {
	live = max(live, 4<<20)
	if 2*live >= floor {
		return 100
	}
	return int(min((floor-live)*100/live, math.MaxInt32)) //#nosec G115 -- bounded
}
