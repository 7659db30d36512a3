package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of what is copied at a time. Over HTTP/2 one client may have a hundred
// answers waiting until it reads them; one that has taken streamTaken of an
// answer does read.
const (
	copyBuffer   = 64 << 10
	streamBuffer = 16 << 10
	streamTaken  = 256 << 10
)

// newBuffers pools buffers of one size.
func newBuffers(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// copying is the buffer of one answer.
type copying struct {
	p     *Proxy
	pool  *sync.Pool
	buf   *[]byte
	moved int
}

func (p *Proxy) newCopying(http2 bool) copying {
	c := copying{p: p, pool: p.buffers}
	if http2 {
		c.pool = p.short
	}
	c.buf = c.pool.Get().(*[]byte)
	return c
}

// took books what the client took of the answer, with a larger buffer for more.
func (c *copying) took(n int) {
	if c.moved += n; c.moved >= streamTaken && c.pool == c.p.short {
		c.done()
		c.pool = c.p.buffers
		c.buf = c.pool.Get().(*[]byte)
	}
}

func (c *copying) done() { c.pool.Put(c.buf) }

// copyBody streams the answer. When its length is unknown every read is
// flushed, so that events arrive as they happen.
func (x *exchange) copyBody(resp *http.Response, run *run) error {
	c := x.p.newCopying(x.r.ProtoMajor >= 2)
	defer c.done()
	live := resp.ContentLength < 0
	var rc *http.ResponseController
	if live {
		rc = http.NewResponseController(x.w)
		x.p.metrics.events.Add(1)
		defer x.p.metrics.events.Add(-1)
		if err := flush(rc); err != nil {
			return err
		}
	}
	for {
		n, err := resp.Body.Read(*c.buf)
		run.progress()
		if n > 0 {
			if _, werr := x.w.Write((*c.buf)[:n]); werr != nil {
				return fmt.Errorf("write to client: %w", werr)
			}
			c.took(n)
			if live {
				if ferr := flush(rc); ferr != nil {
					return ferr
				}
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("read from upstream: %w", err)
		}
	}
}

func flush(rc *http.ResponseController) error {
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("flush to client: %w", err)
	}
	return nil
}

// declareTrailers announces what the app announced, but nothing that would be
// refused as a header.
func declareTrailers(h http.Header, resp *http.Response) []string {
	var names []string
	for name := range resp.Trailer {
		if trailerOK(name) {
			names = append(names, name)
			h.Add("Trailer", name)
		}
	}
	return names
}

// sendTrailers sends the announced ones; gRPC may add to them.
func sendTrailers(h http.Header, resp *http.Response, declared []string, grpc bool) {
	for _, name := range declared {
		if v := resp.Trailer[name]; len(v) > 0 {
			h[name] = v
		}
	}
	if !grpc {
		return
	}
	for name, v := range resp.Trailer {
		if trailerOK(name) && len(h[name]) == 0 && len(v) > 0 {
			h[http.TrailerPrefix+name] = v
		}
	}
}

func trailerOK(name string) bool {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Set-Cookie", "Clear-Site-Data", "Location", "Content-Type", "Content-Encoding", "Content-Range", "Cache-Control",
		"Strict-Transport-Security", "Www-Authenticate", headerResponse:
		return false
	}
	return !hopByHop(name) && !strings.HasPrefix(name, "Access-Control-")
}

// run watches one exchange: it is registered under its session, and ended when
// the session is, or when nothing moves for the route's idle time.
type run struct {
	life
	x      *exchange
	stream stream
	base   time.Time
	last   atomic.Int64 // of the last progress, since base
	sent   atomic.Bool  // the request is out
	head   atomic.Bool  // the answer has begun
	code   atomic.Int32 // close code for a WebSocket
	socket atomic.Bool  // the connection was taken over
}

func newRun(x *exchange) *run {
	r := &x.running
	r.x, r.base = x, time.Now()
	r.begin(x.r.Context())
	r.sent.Store(x.r.Body == nil || x.r.Body == http.NoBody) // over HTTP/2 one of length zero may still have to end
	r.stream.id, r.stream.exchange = x.id, r
	r.stream.endless.Store(x.upgrade != "")
	x.p.streams.add(&r.stream)
	return r
}

// stop ends the exchange. A client that does not read would hold the copy
// loop, and one that does not send the reader of its body, so the deadlines go
// too.
func (r *run) stop(code int, cause error) {
	r.code.CompareAndSwap(0, int32(code)) //#nosec G115 -- a WebSocket close code
	r.cancel(cause)
	if r.socket.Load() {
		return // pump sees the context
	}
	rc, past := http.NewResponseController(r.x.w), time.Unix(1, 0)
	if r.head.Load() {
		_ = rc.SetWriteDeadline(past) // best effort: the context is cancelled already
	}
	if !r.sent.Load() {
		_ = rc.SetReadDeadline(past) // as above
	}
}

func (r *run) progress() { r.last.Store(int64(time.Since(r.base))) }

func (r *run) answering() {
	r.progress()
	r.head.Store(true)
}

// look ends an exchange whose session is over, or in which nothing moves.
func (r *run) look(clock, now time.Time) {
	if r.code.Load() != 0 {
		return // it was told to end
	}
	// While the app thinks, its own deadline (response_header) counts.
	if r.sent.Load() && !r.head.Load() {
		r.last.Store(int64(clock.Sub(r.base)))
	}
	idle := r.x.rt.cfg.Timeout.Idle
	switch {
	case r.x.id != nil && !r.x.id.SessionEnds.IsZero() && !now.Before(r.x.id.SessionEnds):
		r.stop(closePolicy, errSessionUp)
	case idle > 0 && clock.Sub(r.base)-time.Duration(r.last.Load()) >= idle:
		r.stop(closeGoingAway, errIdle)
	}
}

// end forgets the exchange; after it nothing of ours touches the writer.
func (r *run) end() { r.x.p.streams.done(&r.stream) }
