package server

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"gatehouse/web"
)

var _ web.Recorder = (*writer)(nil)

// writer is the one ResponseWriter of a request. It carries the Record, counts
// what was sent and puts the headers every answer has. It is pooled: a handler
// must not keep it after it returned, which net/http demands anyway.
type writer struct {
	http.ResponseWriter
	rec      web.Record
	status   int // 0 until the head was written
	bytes    int64
	hijacked bool
	gone     bool     // the client gave up before anything was done for it
	close    bool     // the connection ends with this answer (RFC 9112 section 6.1)
	hsts     []string // value for https answers; nil for plain ones
	failed   bool     // the answer is our own 500
	entry    *entry   // watchdog's view; nil when nothing is watched
	conn     *conn    // the client's; nil when it is not known
	corked   bool     // its TLS records may be gathered
	paced    bool     // it answers for what its client makes us do
}

// on says which connection the request came over.
func (w *writer) on(c *conn, r *http.Request) {
	if w.conn = c; c == nil {
		return
	}
	if w.paced = r.ProtoMajor >= 2; w.paced {
		c.pace.opened(r.ContentLength != 0)
	}
	if !c.known.Load() {
		c.known.Store(true)
		c.endTurn()
		c.pace.off.Store(!w.paced)
	}
	w.corked = r.ProtoMajor == 1 && r.TLS != nil
}

// Record implements web.Recorder.
func (w *writer) Record() *web.Record { return &w.rec }

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the head once; informational heads pass through.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 || w.hijacked {
		return
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	w.setHSTS()
	if w.close {
		w.Header()["Connection"] = []string{"close"}
	}
	if w.entry != nil {
		w.entry.answered()
	}
	w.ResponseWriter.WriteHeader(status)
}

// setHSTS has the final answer say it once (T64, T120).
func (w *writer) setHSTS() {
	if h := w.Header(); w.hsts != nil {
		h["Strict-Transport-Security"] = w.hsts
	} else {
		delete(h, "Strict-Transport-Security")
	}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.writeBody(p)
	w.bytes += int64(n)
	if w.paced {
		w.conn.pace.answered(n)
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom with the connection's own when it has one.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(onlyWriter{w}, src)
	}
	n, err := rf.ReadFrom(src)
	w.bytes += n
	return n, err
}

// onlyWriter hides ReadFrom from io.Copy.
type onlyWriter struct{ io.Writer }

// FlushError sends what is buffered.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.entry.flush(w.ResponseWriter)
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // http.Flusher has no error to return

// Hijack implements http.Hijacker. Whoever takes the connection over writes the
// header of this writer as that of a 101, which is an answer like any other to
// RFC 6797 section 7.1.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
		if w.status == 0 {
			w.status = http.StatusSwitchingProtocols
			w.setHSTS()
		}
	}
	return c, rw, err
}
