package http2

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"
)

// Bounds of what is held to be sent, in bytes.
const (
	worthWhile = 16 << 10               // is sent, though more may come
	heldMost   = 64 << 10               // beyond it, who has a body to send waits
	oweMost    = 64 << 10               // of frames nobody waits for: acknowledgements to a client that reads none
	rounds     = 8                      // one goroutine sends for others, then another does
	errand     = 100 * time.Millisecond // or after this
)

var outgoing = sync.Pool{New: func() any { b := make([]byte, 0, worthWhile+4<<10); return &b }}

// sender is what a connection has to send. It is under the connection's lock.
type sender struct {
	out     *[]byte   // frames; lent as long as there are some
	owed    int       // bytes of those nobody waits for
	sending bool      // somebody is at it, without the lock
	room    sync.Cond // out was taken, or a stream ended

	window   int64     // of the connection, for what is sent
	initial  int64     // of a new stream
	most     int       // bytes of a frame
	thirsty  []*stream // whose turn it is when the window opens, in order
	failed   error     // of sending
	farewell bool      // nothing follows

	tableless bool // the client knows that we keep no table
}

// noTable sets the size of our table of fields to zero (RFC 7541 section 6.3).
// Some clients wait for that when they have asked for a smaller one.
const noTable = 0x20

var errOwesMuch = errors.New("http2: the client reads no acknowledgements")

// buffer is where frames are put.
func (s *sender) buffer() *[]byte {
	if s.out == nil {
		s.out = outgoing.Get().(*[]byte)
	}
	return s.out
}

// begin puts the head of a frame of n bytes (RFC 9113 section 4.1).
func (s *sender) begin(kind h2.FrameType, flags h2.Flags, id uint32, n int) *[]byte {
	b := s.buffer()
	*b = append(*b, byte(n>>16), byte(n>>8), byte(n), byte(kind), byte(flags)) //#nosec G115 -- 24 bits
	*b = binary.BigEndian.AppendUint32(*b, id)
	return b
}

// append puts a frame.
func (s *sender) append(kind h2.FrameType, flags h2.Flags, id uint32, payload []byte) {
	if s.farewell {
		return
	}
	b := s.begin(kind, flags, id, len(payload))
	*b = append(*b, payload...)
}

// append32 puts a frame whose payload are numbers, which answers nothing a
// handler said.
func (s *sender) append32(kind h2.FrameType, id uint32, numbers ...int64) {
	if s.farewell {
		return
	}
	b := s.begin(kind, 0, id, 4*len(numbers))
	for _, n := range numbers {
		*b = binary.BigEndian.AppendUint32(*b, uint32(n)) //#nosec G115 -- 31 bits
	}
	s.owed += 9 + 4*len(numbers)
}

// block puts a header block, in as many frames as it takes.
func (s *sender) block(id uint32, p []byte, end bool) {
	if !s.tableless {
		s.tableless = true
		p = append([]byte{noTable}, p...)
	}
	kind, flags := h2.FrameHeaders, h2.Flags(0)
	if end {
		flags = h2.FlagHeadersEndStream
	}
	for len(p) > s.most {
		s.append(kind, flags, id, p[:s.most])
		p, kind, flags = p[s.most:], h2.FrameContinuation, 0
	}
	s.append(kind, flags|h2.FlagHeadersEndHeaders, id, p)
}

// flush sends what there is, unless somebody is at it already, who then sends
// this too. It lets go of the lock meanwhile.
func (c *conn) flush() {
	if c.sending || c.out == nil {
		return
	}
	c.sending = true
	c.sendRounds()
}

// flushSoon is flush after those who may be about to answer on this connection
// had the processor, since one write can serve them all.
func (c *conn) flushSoon() {
	if c.sending || c.out == nil {
		return
	}
	c.sending = true
	if c.unanswered > 0 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.sendRounds()
}

// flushAll waits until everything is sent, or cannot be.
func (c *conn) flushAll() {
	for c.out != nil || c.sending {
		if c.flush(); c.sending {
			c.room.Wait()
		}
	}
}

// flushLater has another goroutine send what there is.
func (c *conn) flushLater() {
	if c.sending || c.out == nil {
		return
	}
	c.sending = true
	c.sendElsewhere()
}

func (c *conn) sendElsewhere() {
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sendRounds()
	}()
}

// sendRounds sends until nothing is left, or has another goroutine do so: it may
// be a handler's own, which has a request to finish.
func (c *conn) sendRounds() {
	began := time.Now()
	for round := 0; round < rounds && (round == 0 || time.Since(began) < errand); round++ {
		b := c.out
		if b == nil {
			c.sending = false
			c.room.Broadcast()
			c.endIfLeft()
			return
		}
		c.out, c.owed = nil, 0
		c.mu.Unlock()
		n, err := c.nc.Write(*b)
		if cap(*b) <= heldMost+worthWhile {
			*b = (*b)[:0]
			outgoing.Put(b)
		}
		c.mu.Lock()
		if err != nil {
			c.lost(err)
		} else {
			c.took(n)
		}
		c.room.Broadcast()
	}
	c.sendElsewhere()
}

// took notes that the client makes room, which is a sign of life, unless it may
// be no more than for the question whether it lives.
func (c *conn) took(n int) {
	c.heard.Store(c.srv.clock.Load())
	if n > frameHead+len(farewellPing) {
		c.asked = 0
	}
}

// full reports that so much is to be sent that it has to wait.
func (s *sender) full() bool { return s.out != nil && len(*s.out) >= heldMost }

// piece is a part of an answer.
type piece struct {
	head     []byte // header block; nil when it is sent
	interim  bool   // more heads follow (1xx)
	data     []byte
	trailers []byte // header block; nil for none
	end      bool   // nothing follows
	now      bool   // it is not to wait for what follows
}

// send sends a piece, as the client allows. It returns once nothing of it is
// needed any more.
func (st *stream) send(p piece) error {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := st.awaitRoom(); err != nil {
		return err
	}
	if p.head != nil {
		if !p.interim {
			st.answered = true
			st.noLongerAwaited()
		}
		c.block(st.id, p.head, p.end && len(p.data) == 0 && p.trailers == nil)
	}
	if err := st.sendData(p.data, p.end && p.trailers == nil); err != nil {
		return err
	}
	switch {
	case p.trailers != nil:
		c.block(st.id, p.trailers, true)
	case p.end && len(p.data) == 0 && p.head == nil:
		c.append(h2.FrameData, h2.FlagDataEndStream, st.id, nil)
	}
	if p.end {
		st.finished = true
		st.forget()
	}
	if p.now || c.out != nil && len(*c.out) >= worthWhile {
		c.flush()
	}
	return st.err
}

// close is called when the handler has returned: what follows of the request is
// for nobody (RFC 9113 section 8.1), and an answer that is not whole must not
// look so.
func (st *stream) close() {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	st.body.close()
	st.noLongerAwaited()
	switch {
	case !st.finished:
		c.reset(st, h2.ErrCodeInternal)
	case !st.ended:
		c.reset(st, h2.ErrCodeNo)
	}
	c.flushSoon()
}

// sendData puts frames as windows and room allow. The last one ends the stream
// if end says so.
func (st *stream) sendData(p []byte, end bool) error {
	c := st.conn
	for len(p) > 0 {
		if err := st.await(); err != nil {
			return err
		}
		n := min(int64(len(p)), int64(c.most), c.window, st.window)
		c.window -= n
		st.window -= n
		c.callNext()
		var flags h2.Flags
		if end && n == int64(len(p)) {
			flags = h2.FlagDataEndStream
		}
		c.append(h2.FrameData, flags, st.id, p[:n])
		p = p[n:]
	}
	return nil
}

// awaitRoom waits while there is more to be sent than may be held.
func (st *stream) awaitRoom() error {
	c := st.conn
	for c.full() && st.err == nil {
		if c.flush(); c.full() && st.err == nil {
			c.room.Wait()
		}
	}
	return st.err
}

// await waits until there is room to put a frame and the client takes one.
func (st *stream) await() error {
	c := st.conn
	for {
		if err := st.awaitRoom(); err != nil {
			st.passOn()
			return err
		}
		if st.window > 0 && c.window > 0 {
			st.leaveLine()
			return nil // who takes from the window calls the next one
		}
		c.flush()
		switch {
		case st.err != nil || st.window > 0 && c.window > 0: // meanwhile
		case st.window <= 0:
			st.passOn()
			st.turn.Wait()
		default:
			st.queue()
			st.turn.Wait()
		}
	}
}

// queue waits in line for the connection's window.
func (st *stream) queue() {
	st.called = false
	if !st.waits {
		st.waits = true
		st.conn.thirsty = append(st.conn.thirsty, st)
	}
}

func (st *stream) leaveLine() {
	st.called = false
	if st.waits {
		st.waits = false
		c := st.conn
		c.thirsty = slices.DeleteFunc(c.thirsty, func(one *stream) bool { return one == st })
	}
}

// passOn leaves the line, and the turn to the next one.
func (st *stream) passOn() {
	called := st.called
	st.leaveLine()
	if called {
		st.conn.callNext()
	}
}

// callNext wakes who is first in line, if the window is open. Who is called and
// leaves something of it calls the next one.
func (s *sender) callNext() {
	if s.window > 0 && len(s.thirsty) > 0 {
		st := s.thirsty[0]
		s.thirsty = slices.Delete(s.thirsty, 0, 1)
		st.waits, st.called = false, true
		st.turn.Signal()
	}
}
