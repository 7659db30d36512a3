package http2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Sizes of what HTTP/2 has defaults for (RFC 9113 section 6.5.2).
const (
	frameHead    = 9
	firstWindow  = 65535
	frameSize    = 16 << 10
	tableSize    = 4 << 10
	perField     = 32 // that a field counts for beside its bytes
	usualFields  = 10 // that are not held against the bytes of a head
	windowMost   = 1<<31 - 1
	resetsInMind = 256
)

// conn is one connection. Its goroutine runs serve and reads; what others touch
// is under the lock, or atomic.
type conn struct {
	srv    *Server
	nc     net.Conn
	r      *bufio.Reader
	in     *h2.Framer
	ctx    context.Context //nolint:containedctx // the parent of its requests'
	remote string
	tls    *tls.ConnectionState

	since atomic.Int64 // on the server's clock, when the frame that is being read began; 0 between two
	may   atomic.Int64 // take so long, in nanoseconds
	heard atomic.Int64 // on the server's clock, the last frame

	mu sync.Mutex
	sender
	inflow     inflow
	streams    map[uint32]*stream
	running    int       // handlers
	unanswered int       // of their answers, those that have not begun
	queue      []*stream // whose handlers wait for others to return
	last       uint32    // the newest stream
	resets     [resetsInMind]uint32
	nreset     int
	settled    bool   // the client has acknowledged our settings
	idle       int64  // on the server's clock, since when there is no stream
	asked      int64  // on the server's clock, for a sign of life; 0 for not
	leaving    int64  // on the server's clock, since when the client knows; 0 for not
	deaf       bool   // streams that begin are not served
	lastly     uint32 // the newest that was not too late
	ending     bool   // the time to close was set
	gone       bool   // no frame is looked at any more
}

func newConn(ctx context.Context, s *Server, nc net.Conn, state *tls.ConnectionState) *conn {
	s.clock.CompareAndSwap(0, 1)
	c := &conn{srv: s, nc: nc, ctx: ctx, tls: state, remote: nc.RemoteAddr().String(), streams: map[uint32]*stream{}}
	c.r = bufio.NewReader(nc)
	c.in = h2.NewFramer(nil, c.r)
	c.in.SetMaxReadFrameSize(frameSize)
	c.in.SetReuseFrames()
	c.in.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	c.in.MaxHeaderListSize = uint32(s.MaxHead + usualFields*perField) //#nosec G115 -- some KiB
	c.room.L = &c.mu
	c.window, c.initial, c.most = firstWindow, firstWindow, frameSize
	c.inflow.left = connWindow
	c.idle = s.clock.Load()
	c.heard.Store(c.idle)
	return c
}

// serve reads frames until the connection ends.
func (c *conn) serve() {
	defer c.close()
	defer c.recovered()
	if err := c.greet(); err != nil {
		c.goodbye(err)
		return
	}
	for {
		f, err := c.next()
		if err == nil {
			err = c.take(f)
		}
		if err = c.forgive(err); err != nil {
			c.goodbye(err)
			return
		}
	}
}

// greet reads the preface and says what we take (RFC 9113 section 3.4). All of
// it, with the client's first frame, has to be there in time.
func (c *conn) greet() error {
	_ = c.nc.SetReadDeadline(time.Now().Add(c.srv.Head)) // a closed connection says so in Read
	c.mu.Lock()
	c.settings(
		h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: uint32(c.srv.Streams)}, //#nosec G115 -- a hundred
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: windowSize},
		h2.Setting{ID: h2.SettingMaxHeaderListSize, Val: c.in.MaxHeaderListSize})
	c.append32(h2.FrameWindowUpdate, 0, connWindow-firstWindow)
	c.flush()
	c.mu.Unlock()
	preface := make([]byte, len(h2.ClientPreface))
	if _, err := io.ReadFull(c.r, preface); err != nil {
		return err
	}
	if string(preface) != h2.ClientPreface {
		return h2.ConnectionError(h2.ErrCodeProtocol)
	}
	f, err := c.next()
	if err != nil {
		return err
	}
	first, ok := f.(*h2.SettingsFrame)
	if !ok || first.IsAck() {
		return h2.ConnectionError(h2.ErrCodeProtocol)
	}
	c.inTime()
	return c.take(f)
}

// inTime takes the deadline of the greeting off, unless another one stands.
func (c *conn) inTime() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending && !c.gone {
		_ = c.nc.SetReadDeadline(time.Time{}) // a closed connection says so in Read
	}
}

// next reads a frame. Before it waits for one, what there is to say is said, by
// somebody else: a client may wait for us to read before it does.
func (c *conn) next() (h2.Frame, error) {
	if !c.hasFrame() {
		c.mu.Lock()
		c.flushLater()
		c.mu.Unlock()
	}
	if _, err := c.r.Peek(1); err != nil {
		return nil, err
	}
	now := c.srv.clock.Load()
	c.may.Store(int64(c.srv.Head))
	c.since.Store(now)
	defer c.since.Store(0)
	head, err := c.r.Peek(frameHead)
	if err != nil {
		return nil, err
	}
	if h2.FrameType(head[3]) != h2.FrameHeaders {
		c.may.Store(int64(c.srv.Idle))
	}
	f, err := c.in.ReadFrame()
	c.heard.Store(now)
	return f, err
}

// hasFrame reports that a whole frame was read already.
func (c *conn) hasFrame() bool {
	n := c.r.Buffered()
	if n < frameHead {
		return false
	}
	head, _ := c.r.Peek(frameHead) // it is there
	return n >= frameHead+int(head[0])<<16+int(head[1])<<8+int(head[2])
}

// forgive ends the stream alone where that is all an error asks for (RFC 9113
// section 5.4.2). Who makes us say more than it reads is not forgiven.
func (c *conn) forgive(err error) error {
	var one h2.StreamError
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
	case errors.As(err, &one):
		if one.StreamID > c.last {
			if one.StreamID%2 == 0 {
				return h2.ConnectionError(h2.ErrCodeProtocol)
			}
			c.last = one.StreamID
		}
		c.resetID(one.StreamID, one.Code)
	default:
		return err
	}
	if c.owed > oweMost {
		return errOwesMuch
	}
	return nil
}

// goodbye tells the client why no more is read (RFC 9113 section 6.8). A
// connection that is closed over unread bytes is reset, and what was said lost
// with it: it is closed a little later.
func (c *conn) goodbye(err error) {
	code, worth := why(err)
	c.mu.Lock()
	worth = worth && c.failed == nil
	if worth && !c.farewell {
		c.append32(h2.FrameGoAway, 0, int64(c.newest()), int64(code))
		c.farewell = true
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.Head)) // a closed connection says so in Write
		c.flushAll()
	}
	c.lost(err)
	c.mu.Unlock()
	if worth {
		if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // it ends either way
		}
		time.Sleep(lingering)
	}
}

// why is the code of an error, and whether somebody may be there to read it.
func why(err error) (code h2.ErrCode, worth bool) {
	var is h2.ConnectionError
	switch {
	case errors.As(err, &is):
		return h2.ErrCode(is), true
	case errors.Is(err, h2.ErrFrameTooLarge):
		return h2.ErrCodeFrameSize, true
	case errors.Is(err, errTooMuch):
		return h2.ErrCodeEnhanceYourCalm, true
	}
	return h2.ErrCodeNo, false // it is gone, or reads nothing
}

// recovered ends a connection that came upon a fault of ours.
func (c *conn) recovered() {
	if cause := recover(); cause != nil {
		c.srv.Log.LogAttrs(c.ctx, slog.LevelError, "panic while reading frames", slog.String("type", fmt.Sprintf("%T", cause)), slog.String("stack", string(debug.Stack())))
	}
}

func (c *conn) close() {
	c.mu.Lock()
	c.lost(errGone)
	c.mu.Unlock()
	_ = c.nc.Close() // nobody is left to tell
}

// lost says that nothing more comes of the connection.
func (c *conn) lost(err error) {
	if c.failed != nil {
		return
	}
	c.failed, c.farewell, c.gone = err, true, true
	for _, st := range c.streams {
		st.abort(errGone)
	}
	for _, st := range c.queue {
		st.abort(errGone)
	}
	c.queue = nil
	_ = c.nc.SetDeadline(time.Unix(1, 0)) // who reads or writes hears of it
	c.room.Broadcast()
}

// cut ends it whatever it is at. It leaves the closing to its goroutine: TLS's
// farewell may wait for a client that does not read.
func (c *conn) cut() {
	_ = c.nc.SetDeadline(time.Unix(1, 0)) // a closed connection needs none
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost(errGone)
}
