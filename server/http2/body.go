package http2

import (
	"io"
	"net/http"
	"sync"

	"golang.org/x/net/http/httpguts"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Windows (RFC 9113 section 5.2): what a client may send of bodies before
// somebody reads it. A connection has room for more than one stream has, so that
// an app that does not read stops the client of one request and not the others
// beside it.
const (
	windowSize = 1 << 20 // of a stream
	connWindow = windowSize + windowSize/4
	renewAfter = windowSize / 4  // of what was read, by one frame,
	renewSoon  = windowSize / 16 // or of so much, for a client that has little left
	chunkSize  = 16 << 10        // a frame's most
	shortBody  = 4 << 10
)

// inflow is what the client may still send.
type inflow struct {
	left int64
	read int64 // and not said so yet
}

// take reports whether the client was allowed so many bytes.
func (f *inflow) take(n int64) bool {
	if n > f.left {
		return false
	}
	f.left -= n
	return true
}

// give returns what to allow the client, when it is worth a frame: sooner when
// little is left, for which it may be waiting.
func (f *inflow) give(n int64) (allow int64) {
	if f.read += n; f.read < min(renewAfter, max(f.left, renewSoon)) {
		return 0
	}
	allow, f.read = f.read, 0
	f.left += allow
	return allow
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}

// body is that of a request: what came of it and was not read, in chunks. All of
// it is under the connection's lock. It may be read while the answer is written,
// and until the handler returns.
type body struct {
	st     *stream // nil without a body
	inflow inflow
	came   sync.Cond // something did
	parts  []*[]byte
	at     int   // bytes of the first part that were read
	size   int64 // bytes that were not
	length int64 // of the body still to come; -1 when nobody said
	asked  bool  // the client waits for 100 (RFC 9110 section 10.1.1)
	over   bool  // nothing more comes, for the reason err, nil for its end
	err    error
	closed bool

	trailers http.Header // that came
}

// openBody gives a request a body.
func (st *stream) openBody(r *http.Request) {
	b := &st.body
	b.st = st
	b.inflow.left = windowSize
	b.came.L = &st.conn.mu
	b.length = r.ContentLength
	if httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue") {
		b.asked = true
		delete(r.Header, "Expect")
	}
	r.Body = b
}

// put keeps a piece. What nobody will read is allowed to the connection again,
// and not to the stream, so that a client with much of it stops.
func (b *body) put(p []byte) {
	if b.closed || b.over {
		b.st.conn.allow(int64(len(p)))
		return
	}
	b.size += int64(len(p))
	for len(p) > 0 {
		if n := len(b.parts); n == 0 || len(*b.parts[n-1]) == cap(*b.parts[n-1]) {
			b.parts = append(b.parts, chunkFor(n, len(p)))
		}
		last := b.parts[len(b.parts)-1]
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		p = p[n:]
	}
	b.came.Broadcast()
}

// chunkFor returns room for a piece of n bytes. Most bodies are short, and take
// no more than they need.
func chunkFor(before, n int) *[]byte {
	if before == 0 && n <= shortBody {
		b := make([]byte, 0, n)
		return &b
	}
	return chunks.Get().(*[]byte)
}

// end says that nothing more comes, and why.
func (b *body) end(err error) {
	if b.st == nil || b.over {
		return
	}
	b.over, b.err = true, err
	b.came.Broadcast()
}

// cutOff is the end of a body whose stream has ended: what was not read is lost,
// and who reads on hears of it, even if all of it had come.
func (b *body) cutOff(err error) {
	if b.size > 0 {
		b.over, b.err = true, err
	}
	b.end(err)
	b.discard()
}

// discard lets go of what was not read.
func (b *body) discard() {
	for _, part := range b.parts {
		lend(part)
	}
	b.parts, b.at = nil, 0
	if b.size > 0 {
		b.st.conn.allow(b.size)
		b.size = 0
	}
}

func lend(part *[]byte) {
	if cap(*part) == chunkSize {
		*part = (*part)[:0]
		chunks.Put(part)
	}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case b.closed:
			return 0, http.ErrBodyReadAfterClose
		case b.size > 0:
			return b.take(p), nil
		case b.over && b.err == nil:
			b.showTrailers()
			return 0, io.EOF
		case b.over:
			return 0, b.err
		}
		if b.asked {
			b.asked = false
			b.ask() // which lets go of the lock
			continue
		}
		b.came.Wait()
	}
}

// keepTrailers keeps what was sent behind the body.
func (b *body) keepTrailers(fields []hpack.HeaderField) { b.trailers = readFields(fields) }

// showTrailers puts those that were announced where handlers look for them.
func (b *body) showTrailers() {
	for name := range b.st.request.Trailer {
		if v, came := b.trailers[name]; came {
			b.st.request.Trailer[name] = v
		}
	}
	b.trailers = nil
}

// ask has the client send the body.
func (b *body) ask() {
	if b.st.answered || b.st.err != nil {
		return
	}
	c := b.st.conn
	c.block(b.st.id, goOn, false)
	c.flush()
}

// goOn is ":status: 100" (RFC 7541): the name by its index, and three bytes.
var goOn = []byte{0x08, 3, '1', '0', '0'}

// take moves what there is, and allows the client as much.
func (b *body) take(p []byte) int {
	total := 0
	for len(p) > 0 && len(b.parts) > 0 {
		first := b.parts[0]
		n := copy(p, (*first)[b.at:])
		p, total = p[n:], total+n
		if b.at += n; b.at == len(*first) {
			lend(first)
			b.parts, b.at = b.parts[1:], 0
		}
	}
	if len(b.parts) == 0 {
		b.parts = nil
	}
	b.size -= int64(total)
	b.st.conn.allow(int64(total))
	b.st.allow(int64(total))
	b.st.conn.flushLater() // who reads does not wait for a client to
	return total
}

// Close implements io.Closer.
func (b *body) Close() error {
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	b.close()
	c.flushLater()
	return nil
}

func (b *body) close() {
	if b.st == nil || b.closed {
		return
	}
	b.closed = true
	b.discard()
	b.came.Broadcast()
}

// allow tells the client that it may send so much more on any stream.
func (c *conn) allow(n int64) {
	if more := c.inflow.give(n); more > 0 {
		c.append32(h2.FrameWindowUpdate, 0, more)
	}
}

// allow tells the client that it may send so much more on this stream.
func (st *stream) allow(n int64) {
	if st.ended || st.err != nil {
		return
	}
	if more := st.body.inflow.give(n); more > 0 {
		st.conn.append32(h2.FrameWindowUpdate, st.id, more)
	}
}
