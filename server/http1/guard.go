package http1

import (
	"bufio"
	"errors"
	"sync"
	"time"

	"gatehouse/wire"
)

// guard notices that a client leaves while its request is served. Somebody has
// to read from the connection for that; it is done for requests that last, once
// their body is read, by a goroutine of its own.
type guard struct {
	may    bool      // nobody else reads
	age    int       // looks that found the same request
	runs   bool      // the goroutine does
	stops  bool      // and is told to end
	ended  sync.Cond // on the connection's lock: it does not run
	client *wire.Context
}

// startGuard says that a request is served; may, that it has no body.
func (c *conn) startGuard(may bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = busy
	c.guard.may, c.guard.age, c.guard.client = may, 0, c.w.req.ctx
}

// bodyRead says that the body of the request at hand was read to its end.
func (c *conn) bodyRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guard.may = c.phase == busy && c.guard.client != nil
}

// look is called now and then.
func (c *conn) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := &c.guard
	if !g.may || g.runs {
		return
	}
	if g.age++; g.age < 2 {
		return
	}
	g.runs = true
	c.moved.Store(true)
	_ = c.nc.SetReadDeadline(time.Time{}) // a closed connection says so in Read
	go c.watch()
}

// watch reads until the client says something or leaves. What it says stays
// where the next request is looked for.
func (c *conn) watch() {
	_, err := c.r.Peek(c.r.Buffered() + 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	g := &c.guard
	if err != nil && g.client != nil && !errors.Is(err, bufio.ErrBufferFull) && !(g.stops && isTimeout(err)) {
		g.client.End()
	}
	g.runs, g.may = false, false
	g.ended.Broadcast()
}

// stopGuard says that the request was served: the connection is its own
// goroutine's again. It reports false when it is somebody else's.
func (c *conn) stopGuard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == taken {
		return false
	}
	c.endGuard()
	return true
}

func (c *conn) endGuard() {
	g := &c.guard
	g.may, g.client = false, nil
	if !g.runs {
		return
	}
	g.stops = true
	_ = c.nc.SetReadDeadline(longAgo()) // ends the read
	for g.runs {
		g.ended.Wait()
	}
	g.stops = false
	c.setReadBy(time.Time{})
}

// take gives the connection away.
func (c *conn) take() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == taken {
		return errTaken
	}
	c.endGuard()
	c.phase = taken
	return c.nc.SetDeadline(time.Time{})
}
