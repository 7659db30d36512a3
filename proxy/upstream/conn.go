package upstream

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one connection to an app: a buffered side to read from, and deadlines
// that move with every byte.
type conn struct {
	net.Conn
	r     *bufio.Reader
	since time.Time // idle since
	once  sync.Once
	got   bool // a byte came since the request was sent
	wide  bool // its head did not fit the reader: not to be kept

	request http.Request // of the answer being read, for its parser
	closer  func()       // close, made once
	raw     syscall.RawConn

	mu       sync.Mutex
	patience time.Duration
	waiting  bool          // for the head of an answer
	until    time.Time     // by which that has to be here
	slack    time.Duration // that it may be late by
	readBy   time.Time     // deadlines in force; zero when not known
	writeBy  time.Time
}

func newConn(c net.Conn, patience time.Duration) *conn {
	cn := &conn{Conn: c, patience: patience}
	cn.closer = cn.close
	inner := c
	if t, ok := c.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if sys, ok := inner.(syscall.Conn); ok {
		cn.raw, _ = sys.SyscallConn() // nil for a connection that is closed already, which will say so
	}
	cn.r = bufio.NewReaderSize(readSide{cn}, 16<<10)
	return cn
}

// readSide reads under the deadline of the moment.
type readSide struct{ *conn }

// Read implements io.Reader.
func (s readSide) Read(p []byte) (int, error) {
	s.mu.Lock()
	until, slack := s.until, s.slack
	if !s.waiting {
		until, slack = time.Now().Add(s.patience), s.patience/8
	}
	s.readBy = renew(s.readBy, until, slack, s.SetReadDeadline)
	s.mu.Unlock()
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.got = true
	}
	return n, err
}

// renew moves a deadline seldom, for moving one costs as much as a short read:
// one that is in force stands as long as it is not early, and late by no more
// than slack, an eighth of the time it gives. It returns the deadline in force.
func renew(inForce, wanted time.Time, slack time.Duration, set func(time.Time) error) time.Time {
	if late := inForce.Sub(wanted); !inForce.IsZero() && late >= 0 && late <= slack {
		return inForce
	}
	wanted = wanted.Add(slack)
	_ = set(wanted) // a closed connection says so in Read and Write
	return wanted
}

// asked is the request of the answer that is read next, as far as its body
// depends on it. Nothing of the client's is kept for it.
func (c *conn) asked(method string) *http.Request {
	c.request.Method = http.MethodGet
	if method == http.MethodHead {
		c.request.Method = http.MethodHead
	}
	return &c.request
}

// awaitHead starts the wait for an answer's head.
func (c *conn) awaitHead(patience time.Duration) {
	until := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.until, c.slack = true, until, patience/8
}

// headDue moves the end of the wait for the head, under a reader that waits
// too. It reports false when the head is here already: from then on progress
// alone counts.
func (c *conn) headDue(until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting {
		return false
	}
	c.until, c.slack, c.readBy = until, 0, until
	_ = c.SetReadDeadline(until) // a closed connection says so in Read
	return true
}

// headArrived ends the wait.
func (c *conn) headArrived() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
}

// setPatience changes how long a side may be silent.
func (c *conn) setPatience(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patience = d
}

// writeSide gives every write the idle patience.
type writeSide struct{ *conn }

// Write implements io.Writer.
func (s writeSide) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.writeBy = renew(s.writeBy, time.Now().Add(s.patience), s.patience/8, s.SetWriteDeadline)
	s.mu.Unlock()
	return s.Conn.Write(p)
}

func (c *conn) close() { c.once.Do(func() { _ = c.Conn.Close() }) } // nothing of ours is lost

// quiet reports whether an idle connection has neither ended nor said anything:
// a byte nobody asked for belongs to no request of ours. It looks without
// waiting.
func (c *conn) quiet() bool {
	if c.r.Buffered() > 0 {
		return false
	}
	if t, ok := c.Conn.(*tls.Conn); ok {
		if !drained(t) {
			return false
		}
		c.forgetReadDeadline()
	}
	if c.raw == nil {
		return false
	}
	quiet := false
	err := c.raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && quiet
}

// forgetReadDeadline says that somebody else moved it.
func (c *conn) forgetReadDeadline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = time.Time{}
}

// drained reports whether crypto/tls holds nothing: it reads as much as there
// is, so that a record which came along with the last one is no longer in the
// socket. A deadline in the past keeps the read off the network, and does no
// harm to the connection.
func drained(t *tls.Conn) bool {
	if t.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	var one [1]byte
	n, err := t.Read(one[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// Conn is the body of a 101 answer: the raw connection, both ways.
type Conn struct {
	conn    *conn
	stop    func() bool
	onClose func()
}

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) { return c.conn.r.Read(p) }

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (int, error) { return writeSide{c.conn}.Write(p) }

// CloseWrite ends our side of the connection.
func (c *Conn) CloseWrite() error {
	if half, ok := c.conn.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements io.Closer.
func (c *Conn) Close() error {
	c.stop()
	c.conn.close()
	if c.onClose != nil {
		c.onClose()
	}
	return nil
}
