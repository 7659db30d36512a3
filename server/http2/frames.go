package http2

import (
	"errors"

	h2 "golang.org/x/net/http2"
)

// errTooMuch ends a connection whose requests are taken back faster than their
// handlers return (CVE-2023-44487).
var errTooMuch = errors.New("http2: too many requests wait")

// take does what a frame says. An error is a stream's (h2.StreamError), or ends
// the connection.
func (c *conn) take(f h2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return errGone
	}
	c.asked = 0 // a sign of life
	switch f := f.(type) {
	case *h2.MetaHeadersFrame:
		return c.takeHeaders(f)
	case *h2.DataFrame:
		return c.takeData(f)
	case *h2.WindowUpdateFrame:
		return c.takeWindow(f)
	case *h2.RSTStreamFrame:
		return c.takeReset(f)
	case *h2.SettingsFrame:
		return c.takeSettings(f)
	case *h2.PingFrame:
		c.takePing(f)
	case *h2.GoAwayFrame:
		c.startLeaving()
	case *h2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return h2.StreamError{StreamID: f.StreamID, Code: h2.ErrCodeProtocol} // RFC 9113 section 5.3.1 left that of RFC 7540
		}
	case *h2.PushPromiseFrame:
		return h2.ConnectionError(h2.ErrCodeProtocol)
	}
	return nil
}

func (c *conn) takeHeaders(f *h2.MetaHeadersFrame) error {
	id := f.StreamID
	if st := c.streams[id]; st != nil {
		return st.takeTrailers(f)
	}
	switch {
	case c.wasReset(id):
		return nil // sent before the client heard of it
	case id%2 == 0, id <= c.last:
		return h2.ConnectionError(h2.ErrCodeProtocol)
	}
	c.last = id
	if c.deaf {
		c.noteReset(id) // it comes back elsewhere (RFC 9113 section 6.8)
		return nil
	}
	switch {
	case f.HasPriority() && f.Priority.StreamDep == id:
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeProtocol}
	case len(c.streams) < c.srv.Streams:
	case c.settled: // it knows how many may be open
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeProtocol}
	default:
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeRefusedStream}
	}
	return c.open(f)
}

// open begins a stream.
func (c *conn) open(f *h2.MetaHeadersFrame) error {
	st := &stream{id: f.StreamID, conn: c, window: c.initial, ended: f.StreamEnded()}
	st.ctx.Context = c.ctx
	st.turn.L = &c.mu
	st.w.st = st
	status, err := c.newRequest(st, f)
	if err != nil {
		return h2.StreamError{StreamID: st.id, Code: h2.ErrCodeProtocol, Cause: err}
	}
	c.streams[st.id] = st
	switch {
	case status != 0:
		c.refuse(st, status)
	case c.running < c.srv.Streams:
		c.start(st)
	case len(c.queue) < 4*c.srv.Streams:
		c.queue = append(c.queue, st)
	default:
		return errTooMuch
	}
	return nil
}

func (c *conn) start(st *stream) {
	c.running++
	c.unanswered++
	st.started, st.awaited = true, true
	c.srv.workers.serve(st)
}

// served says that a handler has returned: another one's turn.
func (c *conn) served() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	for len(c.queue) > 0 && c.running < c.srv.Streams {
		st := c.queue[0]
		c.queue = c.queue[1:]
		if st.err == nil {
			c.start(st)
		}
	}
}

// takeTrailers ends a request (RFC 9113 section 8.1).
func (st *stream) takeTrailers(f *h2.MetaHeadersFrame) error {
	if st.ended {
		return h2.StreamError{StreamID: st.id, Code: h2.ErrCodeStreamClosed}
	}
	if !f.StreamEnded() || len(f.PseudoFields()) > 0 || f.Truncated || st.body.length > 0 {
		return h2.StreamError{StreamID: st.id, Code: h2.ErrCodeProtocol}
	}
	st.body.keepTrailers(f.RegularFields())
	st.end()
	return nil
}

func (c *conn) takeData(f *h2.DataFrame) error {
	id, n := f.StreamID, int64(f.Length)
	if err := c.wasOpen(id); err != nil {
		return err
	}
	if !c.inflow.take(n) {
		return h2.ConnectionError(h2.ErrCodeFlowControl)
	}
	st := c.streams[id]
	switch {
	case st == nil && c.wasReset(id):
		c.allow(n) // sent before the client heard of it
		return nil
	case st == nil || st.ended:
		c.allow(n)
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeStreamClosed}
	case !st.body.inflow.take(n):
		c.allow(n)
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeFlowControl}
	}
	data := f.Data()
	if padding := n - int64(len(data)); padding > 0 {
		c.allow(padding)
		st.allow(padding)
	}
	return st.takeBody(data, f.StreamEnded())
}

// takeBody holds a body to its length (RFC 9113 section 8.1.1).
func (st *stream) takeBody(data []byte, end bool) error {
	b := &st.body
	if b.length >= 0 {
		if b.length -= int64(len(data)); b.length < 0 || end && b.length > 0 {
			st.conn.allow(int64(len(data)))
			return h2.StreamError{StreamID: st.id, Code: h2.ErrCodeProtocol}
		}
	}
	b.put(data)
	if end {
		st.end()
	}
	return nil
}

func (c *conn) takeWindow(f *h2.WindowUpdateFrame) error {
	n := int64(f.Increment)
	if f.StreamID == 0 {
		if c.window += n; c.window > windowMost {
			return h2.ConnectionError(h2.ErrCodeFlowControl)
		}
		c.callNext()
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		return c.wasOpen(f.StreamID)
	}
	if st.window += n; st.window > windowMost {
		return h2.StreamError{StreamID: f.StreamID, Code: h2.ErrCodeFlowControl}
	}
	st.turn.Signal()
	return nil
}

// wasOpen is an error for streams that never were.
func (c *conn) wasOpen(id uint32) error {
	if id > c.last || id%2 == 0 {
		return h2.ConnectionError(h2.ErrCodeProtocol)
	}
	return nil
}

func (c *conn) takeReset(f *h2.RSTStreamFrame) error {
	st := c.streams[f.StreamID]
	if st == nil {
		return c.wasOpen(f.StreamID)
	}
	st.abort(errReset)
	return nil
}

func (c *conn) takeSettings(f *h2.SettingsFrame) error {
	if f.IsAck() {
		c.settled = true
		return nil
	}
	if f.HasDuplicates() {
		return h2.ConnectionError(h2.ErrCodeProtocol)
	}
	if err := f.ForeachSetting(c.takeSetting); err != nil {
		return err
	}
	c.append(h2.FrameSettings, h2.FlagSettingsAck, 0, nil)
	c.owed += frameHead
	return nil
}

func (c *conn) takeSetting(s h2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	if s.ID == h2.SettingHeaderTableSize {
		c.tableless = false
	}
	if s.ID != h2.SettingInitialWindowSize {
		return nil // our frames are no larger than anybody takes
	}
	more := int64(s.Val) - c.initial
	c.initial = int64(s.Val)
	for _, st := range c.streams {
		if st.window += more; st.window > windowMost {
			return h2.ConnectionError(h2.ErrCodeFlowControl)
		}
		st.turn.Signal()
	}
	return nil
}

func (c *conn) takePing(f *h2.PingFrame) {
	switch {
	case !f.IsAck():
		c.append(h2.FramePing, h2.FlagPingAck, 0, f.Data[:])
		c.owed += frameHead + len(f.Data)
	case f.Data == farewellPing:
		c.stopListening()
	}
}

// reset ends a stream of which the client has to hear.
func (c *conn) reset(st *stream, code h2.ErrCode) {
	if st.err != nil {
		return
	}
	if !st.ended || !st.finished {
		c.resetID(st.id, code)
		return
	}
	st.abort(errReset)
}

func (c *conn) resetID(id uint32, code h2.ErrCode) {
	c.append32(h2.FrameRSTStream, id, int64(code))
	c.noteReset(id)
	if st := c.streams[id]; st != nil {
		st.abort(errReset)
	}
}

func (c *conn) noteReset(id uint32) {
	c.resets[c.nreset%resetsInMind] = id
	c.nreset++
}

// wasReset reports a stream that we reset of late: the client may not know yet.
func (c *conn) wasReset(id uint32) bool {
	for _, one := range c.resets[:min(c.nreset, resetsInMind)] {
		if one == id {
			return true
		}
	}
	return false
}

func (c *conn) settings(all ...h2.Setting) {
	payload := make([]byte, 0, 6*len(all))
	for _, s := range all {
		payload = append(payload, byte(s.ID>>8), byte(s.ID), byte(s.Val>>24), byte(s.Val>>16), byte(s.Val>>8), byte(s.Val)) //#nosec G115 -- byte by byte
	}
	c.append(h2.FrameSettings, 0, 0, payload)
}
