package http1

import (
	"context"
	"slices"
	"sync"
)

// requestContext ends when the client leaves, and when its request was served.
// Usually nobody asks for Done, and one waits for the end.
type requestContext struct {
	context.Context

	mu    sync.Mutex
	over  bool
	done  chan struct{} // made when somebody asks
	last  int           // number of the newest hook
	hooks []hook
	room  [1]hook // of hooks, usually
}

type hook struct {
	number int
	run    func()
}

func (c *requestContext) end() {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	if c.done != nil {
		close(c.done)
	}
	hooks := c.hooks
	c.hooks = nil
	c.mu.Unlock()
	for _, h := range hooks {
		go h.run()
	}
}

// Done implements context.Context.
func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.over {
			close(c.done)
		}
	}
	return c.done
}

// Err implements context.Context.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return context.Canceled
	}
	return nil
}

// AfterFunc is what package context calls for contexts made from this one: f
// runs in its own goroutine once this ends. stop reports whether it kept f from
// running.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		go f()
		return func() bool { return false }
	}
	if c.hooks == nil {
		c.hooks = c.room[:0]
	}
	c.last++
	number := c.last
	c.hooks = append(c.hooks, hook{number, f})
	return func() bool { return c.remove(number) }
}

func (c *requestContext) remove(number int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.hooks, func(h hook) bool { return h.number == number })
	if at < 0 {
		return false
	}
	c.hooks = slices.Delete(c.hooks, at, at+1)
	return true
}
