package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"gatehouse/config"
)

// Bounds of what an app may send and of what is kept.
const (
	maxResponseHead = 64 << 10 // bytes (threat T129)
	maxInterim      = 5        // 1xx answers before the final one
	maxIdle         = 128      // connections per address
	idleFor         = 60 * time.Second
	bodyBuffer      = 32 << 10 // of a request body on its way
)

// client is our own HTTP/1.1 client for one address: exact bytes out, framing
// of its own, the standard parser's reading in, no retry that could run a request
// twice.
type client struct {
	*dialer
	buffers sync.Pool // *[bodyBuffer]byte

	mu     sync.Mutex
	idle   []*conn // newest last
	sweeps *time.Timer
	closed bool
}

func newClient(u config.UpstreamURL, t config.RouteTimeout, connected func()) *client {
	c := &client{dialer: newDialer(u, t, "http/1.1", connected)}
	c.buffers.New = func() any { return new([bodyBuffer]byte) }
	return c
}

// take returns an idle connection that is still quiet and open, newest first.
func (c *client) take() *conn {
	now := time.Now()
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			return nil
		}
		cn := c.idle[n-1]
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if now.Sub(cn.since) < idleFor && cn.quiet() {
			return cn
		}
		cn.close()
	}
}

// put keeps a connection whose last exchange ended cleanly.
func (c *client) put(cn *conn) {
	cn.since = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= maxIdle {
		cn.close()
		return
	}
	c.idle = append(c.idle, cn)
	if c.sweeps == nil {
		c.sweeps = time.AfterFunc(idleFor/4, c.sweep)
	}
}

// sweep closes what has idled too long, has ended or has spoken unasked; it
// comes again while anything is idle.
func (c *client) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweeps = nil
	if c.closed {
		return
	}
	kept := c.idle[:0]
	for _, cn := range c.idle {
		if time.Since(cn.since) < idleFor && cn.quiet() {
			kept = append(kept, cn)
		} else {
			cn.close()
		}
	}
	clear(c.idle[len(kept):])
	c.idle = kept
	if len(kept) > 0 {
		c.sweeps = time.AfterFunc(idleFor/4, c.sweep)
	}
}

// close ends the idle connections; those in use end with their exchange.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.sweeps != nil {
		c.sweeps.Stop()
	}
	for _, cn := range c.idle {
		cn.close()
	}
	c.idle = nil
}

// roundTrip sends r. Only a request without a body and without side effects is
// tried again, once, and only when a kept connection died before the first byte
// of an answer (threat T54; RFC 9110 section 9.2.2). A request that
// authenticates its connection always gets a new one (threat T55).
func (c *client) roundTrip(ctx context.Context, r *Request) (*http.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("upstream exchange: %w", err) // no connection is worth it
	}
	var kept *conn
	if !bound(r.Header) {
		kept = c.take()
	}
	if kept != nil {
		resp, err := c.exchange(ctx, kept, r)
		if err == nil || !errors.Is(err, errUnused) {
			return resp, err
		}
		if r.Body != nil || !idempotent(r.Method) {
			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
	}
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.exchange(ctx, newConn(raw, c.timeout.Idle), r)
	if errors.Is(err, errUnused) {
		err = fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return resp, err
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT":
		return true
	}
	return false
}

// errUnused says that a connection ended before any byte of an answer came.
var errUnused = errors.New("connection closed before an answer")

// afterEnd is context.AfterFunc, without its wrapping of a context that has the
// method itself.
func afterEnd(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// exchange writes r and reads the head of its answer. On an error the
// connection is closed.
func (c *client) exchange(ctx context.Context, cn *conn, r *Request) (*http.Response, error) {
	stop := afterEnd(ctx, cn.closer)
	x := &exchange{client: c, conn: cn, req: r, stop: stop}
	resp, err := x.run()
	if err != nil {
		stop()
		cn.close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("upstream exchange: %w", ctx.Err())
		}
		return nil, err
	}
	return resp, nil
}

var _ io.ReadWriteCloser = (*Conn)(nil)
