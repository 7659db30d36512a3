package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// phase is what a connection is at.
type phase int

const (
	fresh phase = iota // no request came so far
	idle               // between two
	busy               // a request is read, or served
	taken              // somebody else's
)

// conn is one connection. Its goroutine runs serve; what others touch is under
// the lock.
type conn struct {
	srv    *Server
	nc     net.Conn
	src    source
	r      *bufio.Reader
	ctx    context.Context //nolint:containedctx // the parent of its requests'
	remote string
	tls    *tls.ConnectionState
	began  time.Time
	readBy time.Time   // deadline in force; zero for none, or not known
	moved  atomic.Bool // by somebody else since
	posted bool        // the request before was a POST
	w      writer      // of the request at hand

	mu    sync.Mutex
	phase phase
	guard guard
}

func newConn(ctx context.Context, s *Server, nc net.Conn, state *tls.ConnectionState) *conn {
	c := &conn{srv: s, nc: nc, ctx: ctx, tls: state, began: time.Now(), remote: nc.RemoteAddr().String()}
	c.src.Reader = nc
	c.r = bufio.NewReader(&c.src)
	c.guard.ended.L = &c.mu
	return c
}

// serve serves one request after another.
func (c *conn) serve() {
	defer c.close()
	defer c.recovered()
	if !c.untilFirst() {
		return
	}
	for {
		r, err := c.readRequest()
		if err != nil {
			c.refuse(err)
			return
		}
		if !c.answer(r) || !c.untilNext() {
			return
		}
	}
}

// answer has a request served, and reports whether another may follow.
func (c *conn) answer(r *request) bool {
	w := &c.w
	w.begin(c, r)
	defer r.ctx.End()
	c.startGuard(r.body == nil)
	c.srv.Handler.ServeHTTP(w, r.Request)
	r.ctx.End()
	if !c.stopGuard() {
		return false // taken over
	}
	keep := w.finish()
	if r.body != nil && !r.body.finish(w) {
		keep = false
	}
	switch {
	case w.linger:
		c.linger()
		return false
	case !keep || c.srv.conns.Closing():
		return false
	}
	w.release()
	return true
}

// recovered ends a connection whose handler panicked; an answer that was begun
// must not look whole, and is left as it is.
func (c *conn) recovered() {
	cause := recover()
	if cause == nil || cause == http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		return
	}
	c.srv.Log.LogAttrs(c.ctx, slog.LevelError, "panic while serving a connection", slog.String("type", fmt.Sprintf("%T", cause)), slog.String("stack", string(debug.Stack())))
}

// close ends the connection, unless it is somebody else's.
func (c *conn) close() {
	if c.stopGuard() {
		_ = c.nc.Close() // nobody is left to tell
	}
}

// untilFirst waits for the first byte of the first request; its whole head has
// to be there in time.
func (c *conn) untilFirst() bool {
	c.setReadBy(c.began.Add(c.srv.Head))
	_, err := c.r.Peek(1)
	return err == nil
}

// untilNext waits for the beginning of another request. Old clients send an
// empty line behind the body of a POST, which is forgiven (RFC 9112 section
// 2.2).
func (c *conn) untilNext() bool {
	if !c.enter(idle) {
		return false
	}
	if c.r.Buffered() < beginning {
		c.renewIdle()
	}
	b, err := c.r.Peek(beginning)
	if err != nil {
		return false
	}
	if c.posted {
		_, _ = c.r.Discard(len(b) - len(bytes.TrimLeft(b, "\r\n"))) // they are there
	}
	return c.enter(busy)
}

// beginning is less than any request has, and more than a line's end.
const beginning = 4

// enter changes the phase; it reports false when the connection is to end.
func (c *conn) enter(p phase) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = p
	return p != idle || !c.srv.conns.Closing()
}

// endIfIdle is a shutdown's question.
func (c *conn) endIfIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == idle || c.phase == fresh && time.Since(c.began) > freshFor {
		_ = c.nc.SetReadDeadline(longAgo()) // its reader closes it
	}
}

// cut ends it whatever it is at. Like endIfIdle it leaves the closing to those
// who use it: TLS's farewell may wait for a client that does not read.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.nc.SetDeadline(longAgo()) // a closed connection needs none
	if c.guard.client != nil {
		c.guard.client.End()
	}
}

// setReadBy moves the deadline for reads; the zero time takes it off.
func (c *conn) setReadBy(t time.Time) {
	c.readBy = t
	_ = c.nc.SetReadDeadline(t) // a closed connection says so in Read
}

// renewIdle moves the deadline seldom, which costs as much as a short read: one
// that is in force stands as long as it is not early, and late by an eighth at
// most.
func (c *conn) renewIdle() {
	if c.moved.Swap(false) {
		c.readBy = time.Time{}
	}
	wanted, slack := time.Now().Add(c.srv.Idle), c.srv.Idle/8
	if late := c.readBy.Sub(wanted); c.readBy.IsZero() || late < 0 || late > slack {
		c.setReadBy(wanted.Add(slack))
	}
}

// linger has the client read the answer before the connection ends: one that is
// closed over unread bytes is reset, and the answer lost with it.
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it ends either way
	}
	time.Sleep(lingering)
}

func longAgo() time.Time { return time.Unix(1, 0) }

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
