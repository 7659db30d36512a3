package server

import (
	"runtime"
	"sync/atomic"
	"time"
)

// turns lets connections without a request so far compute on half of the
// processors at most, so that a flood of them leaves the rest to those that had
// one. A turn goes from what was read to the next read or write: through a TLS
// handshake, or the head of the first request, and never while a client, an app
// or an authority is waited for.
type turns struct {
	free     chan struct{}
	patience time.Duration
}

// turnLasts is when a turn is given back for a connection that still has it.
const turnLasts = 2 * time.Second

func newTurns(patience time.Duration) *turns {
	return &turns{free: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), patience: patience}
}

// take waits for a turn, and reports whether there was one: who has waited for
// all of its patience goes on without.
func (t *turns) take() bool {
	select {
	case t.free <- struct{}{}:
		return true
	default:
	}
	late := time.NewTimer(t.patience)
	defer late.Stop()
	select {
	case t.free <- struct{}{}:
		return true
	case <-late.C:
		return false
	}
}

// newcomer is the part of a connection that takes turns.
type newcomer struct {
	known  atomic.Bool  // it had a request
	since  atomic.Int64 // tick of the turn it has; 0 for none
	closed atomic.Bool  // set before the last turn is given back
}

// takeTurn waits for a turn, if the connection is one that takes them.
func (c *conn) takeTurn() {
	if c.known.Load() || !c.table.turns.take() {
		return
	}
	if c.since.Swap(c.table.tick.Load()) != 0 {
		<-c.table.turns.free // it had one
	}
	if c.closed.Load() { // meanwhile, by somebody else: nobody would give it back
		c.endTurn()
	}
}

// endTurn gives a turn back, if there is one.
func (c *conn) endTurn() {
	if c.since.Load() != 0 && c.since.Swap(0) != 0 {
		<-c.table.turns.free
	}
}

// overstays reports a turn that lasts too long.
func (c *conn) overstays(now int64) bool {
	since := c.since.Load()
	return since != 0 && now-since > int64(turnLasts)
}
