package server

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"gatehouse/web"
)

// Patience bounds peers that make no progress. There is no total deadline on a
// request: an upload of hours is fine as long as it moves.
type Patience struct {
	Header time.Duration // TLS handshake, and again the head of a request; 5 s
	Idle   time.Duration // a kept connection without a request; 60 s
	Body   time.Duration // credit of a request body at its start, and the most it can save up; 20 s
	Rate   int           // bytes per second at which a body earns new credit; 500
	Write  time.Duration // a write to the client that does not move; 60 s
	Drain  time.Duration // for requests in flight at the end; 25 s
	Sweep  time.Duration // between two looks; 1 s
}

func (p Patience) withDefaults() Patience {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&p.Header, 5*time.Second)
	def(&p.Idle, 60*time.Second)
	def(&p.Body, 20*time.Second)
	def(&p.Write, 60*time.Second)
	def(&p.Drain, 25*time.Second)
	def(&p.Sweep, time.Second)
	if p.Rate <= 0 {
		p.Rate = 500
	}
	return p
}

// watchdog looks at the requests that can be held up by their client in a way
// the connection does not show: bodies being read, and HTTP/2 streams being
// written. One goroutine looks at all of them, so that nothing on the way of a
// byte sets a timer.
type watchdog struct {
	patience Patience
	shards   [16]struct {
		mu      sync.Mutex
		entries map[*entry]struct{}
	}
}

func newWatchdog(p Patience) *watchdog {
	d := &watchdog{patience: p}
	for i := range d.shards {
		d.shards[i].entries = map[*entry]struct{}{}
	}
	return d
}

// run looks around until ctx ends; slow is told of every request it ends.
func (d *watchdog) run(ctx context.Context, slow func(kind string)) {
	t := time.NewTicker(d.patience.Sweep)
	defer t.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !stoodStill(last, d.patience.Sweep) {
			d.sweep(time.Now(), slow)
		}
	}
}

// stoodStill reports that the process got no time between two looks, as when
// its machine was suspended: what peers did meanwhile waits to be noticed, so
// nobody can be called slow yet (fault F-G4).
func stoodStill(last time.Time, every time.Duration) bool {
	return time.Since(last) > 5*every+time.Second
}

func (d *watchdog) sweep(now time.Time, slow func(kind string)) {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		for e := range s.entries {
			if kind := e.check(now); kind != "" {
				slow(kind)
			}
		}
		s.mu.Unlock()
	}
}

// open starts watching a request, and wraps its body. It returns nil for
// requests whose connection tells enough.
func (d *watchdog) open(w *writer, r *http.Request) *entry {
	hasBody := r.Body != nil && r.Body != http.NoBody // over HTTP/2 one of length zero may still have to end
	if !hasBody && r.ProtoMajor < 2 {
		return nil
	}
	e := &entry{d: d, w: w.ResponseWriter, rec: &w.rec, rc: http.NewResponseController(w.ResponseWriter), h2: r.ProtoMajor >= 2, shard: rand.IntN(len(d.shards))} //#nosec G404 -- spreads a lock, decides nothing
	e.idle.L = &e.mu
	if hasBody {
		// A gRPC body is a conversation whose pace the two ends choose.
		e.free = strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
		e.credit = d.patience.Body
		e.body = r.Body
		if w.paced {
			e.pace = &w.conn.pace
		}
		r.Body = &watchedBody{e: e}
		e.guardDiscard()
	}
	s := &d.shards[e.shard]
	s.mu.Lock()
	s.entries[e] = struct{}{}
	s.mu.Unlock()
	return e
}

// entry is one watched request. The connection's deadlines are only touched
// when patience ends, and around the places where net/http reads by itself.
type entry struct {
	d     *watchdog
	w     http.ResponseWriter // net/http's own
	rec   *web.Record         // not touched once closed
	rc    *http.ResponseController
	h2    bool
	shard int
	body  io.ReadCloser // nil without one
	pace  *pace         // that pieces of it pay for; nil where nothing is owed

	mu       sync.Mutex
	idle     sync.Cond // on mu: no Read is in progress
	free     bool      // no minimum rate
	credit   time.Duration
	reading  time.Time // start of the Read in progress
	writing  time.Time // start of the Write in progress
	eof      bool
	armed    bool // a read deadline of ours is set
	closed   bool
	exceeded bool // the body was too slow
	stalled  bool // the client took nothing
}

// check ends what made no progress and says what that was.
func (e *entry) check(now time.Time) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return ""
	case !e.exceeded && !e.reading.IsZero() && !e.free && now.Sub(e.reading) > e.credit:
		e.exceeded = true
		e.rec.SlowBody.Store(true)
		_ = e.rc.SetReadDeadline(now.Add(-time.Second)) // the reader sees the outcome
		return "body"
	case !e.stalled && !e.writing.IsZero() && now.Sub(e.writing) > e.d.patience.Write:
		e.stalled = true
		_ = e.rc.SetWriteDeadline(now.Add(-time.Second)) // the writer sees the outcome
		return "stream"
	}
	return ""
}

// guardDiscard bounds the reads the connection makes by itself: after the
// handler it reads up to 256 KiB of a body that nobody read. HTTP/2 resets the
// stream instead.
func (e *entry) guardDiscard() {
	if e.h2 || e.eof || e.body == nil || e.exceeded {
		return
	}
	e.armed = true
	_ = e.rc.SetReadDeadline(time.Now().Add(e.d.patience.Body)) // a connection without deadlines is the default
}

// answered is called when the head goes out. From then on a body that is still
// being read is one half of a conversation.
func (e *entry) answered() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reading.IsZero() {
		e.guardDiscard()
	} else {
		e.free = true
	}
}

// write runs one write to the client under watch; a nil entry watches nothing,
// and a connection tells by itself.
func (e *entry) write(w io.Writer, p []byte) (int, error) {
	e.writes(true)
	defer e.writes(false)
	return w.Write(p)
}

// flush is a write of what is held back.
func (e *entry) flush(w http.ResponseWriter) error {
	e.writes(true)
	defer e.writes(false)
	return http.NewResponseController(w).Flush()
}

// writes notes when a write to a stream begins, and that it is over.
func (e *entry) writes(begins bool) {
	if e == nil || !e.h2 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = time.Time{}
	if begins {
		e.writing = time.Now()
	}
}

// close ends the watch when the handler returned, or was cut off.
func (e *entry) close(cutOff bool) {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.closed = true
	switch {
	case !e.h2 && !e.reading.IsZero():
		e.hangUp()
	case !e.h2 && cutOff:
		_ = e.rc.SetReadDeadline(time.Unix(1, 0)) // the connection ends now, whatever the client still sends
	case !e.h2 && e.exceeded:
		e.endWithAnswer()
	default:
		e.guardDiscard()
	}
	if e.h2 {
		// What is buffered is sent after the handler, within the peer's window.
		_ = e.rc.SetWriteDeadline(time.Now().Add(e.d.patience.Write))
	}
	e.mu.Unlock()
	s := &e.d.shards[e.shard]
	s.mu.Lock()
	delete(s.entries, e)
	s.mu.Unlock()
}

// hangUp ends a read that is in progress when its handler has returned: an app
// answered early, and the client stalls within its body. net/http would end it
// too, but take every deadline off the connection with it, and then wait for
// the rest of the body for as long as the client likes. What the client still
// sends is no request, so that the connection ends with the answer.
func (e *entry) hangUp() {
	_ = e.rc.SetReadDeadline(time.Unix(1, 0)) // the reader sees the outcome
	for !e.reading.IsZero() {
		e.idle.Wait()
	}
	e.endWithAnswer()
}

// endWithAnswer has the connection closed once the client could read the
// answer, although it may still send.
func (e *entry) endWithAnswer() {
	if c, ok := e.w.(interface{ EndConnection() }); ok {
		c.EndConnection()
	}
}

// errSlowBody is what the reader of a body gets whose client was too slow; it
// is a timeout for everybody who asks.
type errSlowBody struct{}

func (errSlowBody) Error() string   { return "request body came too slowly" }
func (errSlowBody) Timeout() bool   { return true }
func (errSlowBody) Temporary() bool { return false }
func (errSlowBody) Unwrap() error   { return os.ErrDeadlineExceeded }

// watchedBody is the request body under a minimum rate. It is not pooled: a
// transport may still hold it when the handler is long gone.
type watchedBody struct{ e *entry }

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	e := b.e
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	if e.armed {
		e.armed = false
		_ = e.rc.SetReadDeadline(time.Time{}) // the watchdog takes over
	}
	start := time.Now()
	e.reading = start
	e.mu.Unlock()

	n, err := e.body.Read(p)
	if e.pace != nil {
		e.pace.received(n)
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	e.reading = time.Time{}
	e.idle.Broadcast()
	earned := time.Duration(n) * time.Second / time.Duration(e.d.patience.Rate)
	e.credit = min(e.credit-time.Since(start)+earned, e.d.patience.Body)
	if err == io.EOF {
		e.eof = true
	}
	if e.exceeded && err != nil && err != io.EOF && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSlowBody{}
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error { return b.e.body.Close() }
