package http2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"

	"gatehouse/wire"
)

// stream is one request and its answer (RFC 9113 section 5.1). What has no note
// is under the connection's lock.
type stream struct {
	id      uint32
	conn    *conn
	ctx     wire.Context
	request *http.Request
	w       writer
	body    body

	started  bool      // a handler has it
	awaited  bool      // it has not begun to answer
	window   int64     // bytes the client takes of the body, the connection's window aside
	turn     sync.Cond // to send; on the connection's lock
	waits    bool      // in the line for the connection's window
	called   bool      // it was its turn, and it has not taken or passed it on
	ended    bool      // the client has sent all
	answered bool      // the head of the answer is sent
	finished bool      // all of it is
	err      error     // why neither side says more
	writeBy  int64     // on the server's clock; 0 for never
	readBy   int64
}

var (
	errReset = errors.New("http2: the stream was reset")
	errGone  = errors.New("http2: the connection is gone")
)

// serve has the request answered. It runs in a goroutine of the server's.
func (st *stream) serve() {
	defer st.conn.served()
	st.w.begin()
	defer st.w.release()
	defer st.recovered()
	st.conn.srv.Handler.ServeHTTP(&st.w, st.request)
	st.ctx.End()
	st.w.finish()
}

// recovered ends a stream whose handler panicked; an answer that was begun must
// not look whole.
func (st *stream) recovered() {
	cause := recover()
	if cause == nil {
		return
	}
	if cause != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		st.conn.srv.Log.LogAttrs(context.Background(), slog.LevelError, "panic while serving a stream", slog.String("type", fmt.Sprintf("%T", cause)), slog.String("stack", string(debug.Stack())))
	}
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(st, h2.ErrCodeInternal)
	c.flush()
}

// end says that the client has sent all of the request.
func (st *stream) end() {
	st.ended = true
	st.body.end(nil)
	st.forget()
}

// forget takes a stream that both sides are done with off the connection.
func (st *stream) forget() {
	if st.ended && st.finished || st.err != nil {
		delete(st.conn.streams, st.id)
		st.conn.rested()
	}
}

// noLongerAwaited says that the handler's answer has begun, or comes to nobody.
func (st *stream) noLongerAwaited() {
	if st.awaited {
		st.awaited = false
		st.conn.unanswered--
	}
}

// abort ends both sides of it, and the context of its request.
func (st *stream) abort(err error) {
	if st.err != nil {
		return
	}
	st.err = err
	st.noLongerAwaited()
	st.body.cutOff(err)
	if !st.started {
		st.request = nil // it may be in the queue for a while
	}
	st.forget()
	st.ctx.End()
	st.turn.Broadcast()
	st.conn.room.Broadcast()
}

// due sets a deadline, and ends what is late already. Nothing is sent here: it
// may be somebody who looks after all streams that says so.
func (st *stream) due(by *int64, t time.Time) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.srv.clock.Load()
	*by = 0
	switch left := min(time.Until(t), farAway); {
	case t.IsZero():
	case left <= 0:
		*by = now
	default:
		*by = now + int64(left+lookEvery) // the clock may be late by as much
	}
	st.overdue(now)
	c.flushLater()
}

const farAway = 365 * 24 * time.Hour

// overdue ends what has to be over by now.
func (st *stream) overdue(now int64) {
	if st.readBy != 0 && now >= st.readBy {
		st.readBy = 0
		st.body.end(os.ErrDeadlineExceeded)
	}
	if st.writeBy != 0 && now >= st.writeBy {
		st.writeBy = 0
		st.conn.reset(st, h2.ErrCodeInternal)
	}
}
