package http1

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Sizes of what is held back of an answer.
const (
	bufferSize = 16 << 10 // as much as goes into a TLS record
	holdBody   = 4 << 10  // of a body that comes in small pieces
	measure    = 2 << 10  // of one whose length nobody said, to say it
	smallest   = 4 << 10  // reader of who takes a connection over
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, bufferSize); return &b }}

// writer is the ResponseWriter of a connection, one request after another. Like
// net/http's it must not be used by two goroutines at once, but that a body may
// be read meanwhile.
type writer struct {
	conn   *conn
	req    *request
	header http.Header
	served int // requests, this one included

	hurried atomic.Bool // a deadline for writes was set

	mu     sync.Mutex // of what a body being read writes too
	status int        // 0 until the head is fixed
	framed bool       // the head is complete in out

	length   int64   // of the body as announced; -1 when nobody said
	written  int64   // of the body
	out      *[]byte // bytes to be sent, lent as long as there are some
	held     []byte  // of a body that may still be measured
	chunked  bool
	trailers []string // announced
	keep     bool     // the connection, as far as known
	linger   bool     // the client may still be sending when it ends
	err      error    // of the first write that failed
	names    []string // room for sorting
}

// begin makes the writer that of a request.
func (w *writer) begin(c *conn, r *request) {
	header := w.header
	if header == nil {
		header = http.Header{}
	}
	clear(header)
	w.conn, w.req, w.header = c, r, header
	w.served++
	w.status, w.framed, w.length, w.written, w.chunked = 0, false, -1, 0, false
	w.held, w.trailers, w.err, w.linger = w.held[:0], nil, nil, false
	w.keep = !r.Close && !hasWord(r.Header.Get("Connection"), "close")
}

// release lets go of what the next request does not need.
func (w *writer) release() {
	if w.hurried.Swap(false) {
		_ = w.conn.nc.SetWriteDeadline(time.Time{}) // a closed connection says so in Write
	}
	w.req, w.held, w.trailers = nil, nil, nil
	clear(w.header)
	clear(w.names[:cap(w.names)])
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("http1: a status of " + strconv.Itoa(status))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.status != 0:
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.writeInterim(status)
	default:
		w.fix(status)
	}
}

// sendContinue asks the client for the body, unless it got an answer already.
func (w *writer) sendContinue(asked *atomic.Bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 && asked.Swap(false) {
		w.add("HTTP/1.1 100 Continue\r\n\r\n")
		w.flush()
	}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, w.err
	case !w.bodyAllowed():
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if !w.framed && w.length < 0 && len(w.held)+len(p) <= measure {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.startBody()
	w.body(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// startBody ends the head and writes what was held back.
func (w *writer) startBody() {
	if w.framed {
		return
	}
	w.frame(false)
	if len(w.held) > 0 {
		w.body(w.held)
		w.held = w.held[:0]
	}
}

// body writes a piece of the body.
func (w *writer) body(p []byte) {
	if w.req.Method == http.MethodHead {
		return
	}
	if w.chunked {
		w.addInt(int64(len(p)), 16)
		w.add("\r\n")
	}
	w.send(p)
	if w.chunked {
		w.add("\r\n")
	}
}

// send adds p to what is to be sent, and sends what is more than to be held.
func (w *writer) send(p []byte) {
	b := w.buffer()
	if n := min(len(p), cap(*b)-len(*b)); n > 0 {
		*b = append(*b, p[:n]...)
		p = p[n:]
	}
	if len(p) > 0 || len(*b) > holdBody {
		w.flush()
	}
	if len(p) > 0 && w.err == nil {
		w.write(p)
	}
}

func (w *writer) buffer() *[]byte {
	if w.out == nil {
		w.out = buffers.Get().(*[]byte)
	}
	return w.out
}

// add writes what is not body.
func (w *writer) add(s string) {
	b := w.buffer()
	*b = append(*b, s...) // a head larger than the buffer makes it grow
}

func (w *writer) addInt(n int64, base int) {
	b := w.buffer()
	*b = strconv.AppendInt(*b, n, base)
}

// flush sends what there is.
func (w *writer) flush() {
	if w.out == nil {
		return
	}
	b := w.out
	w.out = nil
	if w.err == nil && len(*b) > 0 {
		w.write(*b)
	}
	if cap(*b) == bufferSize {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

func (w *writer) write(p []byte) {
	if _, err := w.conn.nc.Write(p); err != nil {
		w.err, w.keep = err, false
		w.req.ctx.End() // nobody is left to answer
	}
}

// finish writes the rest of the answer, and reports whether the connection can
// be kept as far as the answer goes.
func (w *writer) finish() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	if !w.framed {
		w.frame(true)
		if len(w.held) > 0 {
			w.body(w.held)
		}
	}
	if w.chunked {
		w.add("0\r\n")
		w.writeTrailers()
		w.add("\r\n")
	}
	w.flush()
	if w.bodyAllowed() && w.req.Method != http.MethodHead && w.length >= 0 && w.length != w.written {
		return false // the client has to see that something is missing
	}
	return w.keep && w.status != http.StatusSwitchingProtocols
}

// writeTrailers writes those announced, and those whose names say what they
// are.
func (w *writer) writeTrailers() {
	for _, name := range w.trailers {
		for _, v := range w.header[name] {
			w.field(name, v)
		}
	}
	for name, values := range w.header {
		if name, is := strings.CutPrefix(name, http.TrailerPrefix); is && httpguts.ValidHeaderFieldName(name) {
			for _, v := range values {
				w.field(name, v)
			}
		}
	}
}

// FlushError sends what there is of the answer.
func (w *writer) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	w.startBody()
	w.flush()
	return w.err
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // http.Flusher has no error to return

// SetReadDeadline serves http.ResponseController.
func (w *writer) SetReadDeadline(t time.Time) error {
	w.conn.moved.Store(true)
	return w.conn.nc.SetReadDeadline(t)
}

// SetWriteDeadline serves http.ResponseController.
func (w *writer) SetWriteDeadline(t time.Time) error {
	w.hurried.Store(true)
	return w.conn.nc.SetWriteDeadline(t)
}

// EnableFullDuplex serves http.ResponseController: it always is.
func (w *writer) EnableFullDuplex() error { return nil }

// EndConnection has the connection end with this answer, once the client could
// read it although it may still send.
func (w *writer) EndConnection() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep, w.linger = false, true
}

// Hijack implements http.Hijacker.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.conn.take(); err != nil {
		return nil, nil, err
	}
	early := w.conn.early()
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), w.conn.nc), max(smallest, len(early)))
	_, _ = r.Peek(len(early)) // all of it is there
	return w.conn.nc, bufio.NewReadWriter(r, bufio.NewWriter(w.conn.nc)), nil
}
