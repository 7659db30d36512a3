// Package circuit stops asking a server that does not answer, so that nobody
// waits for it in vain, and finds out by itself when it answers again. It
// decides when a server counts as gone; it does not know what is asked of it.
package circuit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrOpen says that the server was not asked, because it does not answer.
var ErrOpen = errors.New("it did not answer lately; asking again is left to a probe")

// Options of New.
type Options struct {
	Failures int                         // in a row, that open the circuit
	Every    time.Duration               // between two probes
	Wait     time.Duration               // that a probe waits for its answer
	Probes   int                         // that wait at the same time; 0 = 1
	Probe    func(context.Context) error // asks the server whether it works
	Changed  func(open bool, err error)  // is told of every change; may be nil
}

// Circuit is closed while the server answers. It is safe for concurrent use.
type Circuit struct {
	o        Options
	failures atomic.Int32
	open     atomic.Bool
	mu       sync.Mutex // guards probing and stopped
	probing  bool
	ctx      context.Context
	stop     context.CancelFunc
	stopped  bool
	running  sync.WaitGroup
}

// New makes a closed circuit; Close must be called.
func New(o Options) *Circuit {
	c := &Circuit{o: o}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Allow is nil when the server may be asked, and ErrOpen when not.
func (c *Circuit) Allow() error {
	if c.open.Load() {
		return ErrOpen
	}
	return nil
}

// Succeeded reports an answer of the server, be it a refusal.
func (c *Circuit) Succeeded() {
	if c.failures.Load() != 0 {
		c.failures.Store(0)
	}
}

// Failed reports that the server did not answer, or cannot do its work.
func (c *Circuit) Failed(err error) {
	if int(c.failures.Add(1)) < c.o.Failures {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.probing || c.stopped {
		return
	}
	c.probing = true
	c.open.Store(true)
	c.tell(true, err)
	c.running.Go(c.probe)
}

func (c *Circuit) tell(open bool, err error) {
	if c.o.Changed != nil {
		c.o.Changed(open, err)
	}
}

// probe asks until the server works. One question that hangs, at a machine that
// is gone, does not hold up the next, which may find another machine.
func (c *Circuit) probe() {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	most := max(c.o.Probes, 1)
	answers := make(chan error, most)
	tick := time.NewTicker(c.o.Every)
	defer tick.Stop()
	for waiting := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if waiting < most {
				waiting++
				c.running.Go(func() { answers <- c.ask(ctx) })
			}
		case err := <-answers:
			waiting--
			if err == nil {
				c.shut()
				return
			}
		}
	}
}

func (c *Circuit) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Wait)
	defer cancel()
	return c.o.Probe(ctx)
}

// shut lets everybody ask again.
func (c *Circuit) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
	c.failures.Store(0)
	c.open.Store(false)
	c.tell(false, nil)
}

// Close ends the probe and waits for it.
func (c *Circuit) Close() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}
