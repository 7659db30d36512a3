package server

import (
	"errors"
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

var errNoTurn = errors.New("too many new connections at once")

// take waits for a turn.
func (t *turns) take() error {
	select {
	case t.free <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(t.patience)
	defer late.Stop()
	select {
	case t.free <- struct{}{}:
		return nil
	case <-late.C:
		return errNoTurn
	}
}

// newcomer is the part of a connection that takes turns.
type newcomer struct {
	known atomic.Bool  // it had a request
	since atomic.Int64 // tick of the turn it has; 0 for none
}

func (c *conn) takeTurn() error {
	if c.known.Load() {
		return nil
	}
	if err := c.table.turns.take(); err != nil {
		return err
	}
	c.since.Store(c.table.tick.Load())
	return nil
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
