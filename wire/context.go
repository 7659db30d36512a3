package wire

import (
	"context"
	"sync"
)

// Context is that of a request a client made. It ends when the client leaves,
// and when its request was served. Usually nobody asks for Done, and one waits
// for the end. It is safe for concurrent use, and must not be copied.
type Context struct {
	context.Context //nolint:containedctx // its values

	mu    sync.Mutex
	over  bool
	done  chan struct{} // made when somebody asks
	hooks Hooks
}

// End ends it, once.
func (c *Context) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	if c.done != nil {
		close(c.done)
	}
	c.hooks.Run()
}

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} {
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
func (c *Context) Err() error {
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
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		go f()
		return func() bool { return false }
	}
	number := c.hooks.Add(f)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.hooks.Remove(number)
	}
}
