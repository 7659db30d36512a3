package http2

import (
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Sizes of what is held back of an answer.
const (
	measure  = 2 << 10 // of a body whose length nobody said, to say it
	holdBody = 4 << 10 // of one that comes in small pieces
)

// writer is the ResponseWriter of a stream. Like net/http's it must not be used
// by two goroutines at once, but that a body may be read meanwhile, nor when the
// handler has returned.
type writer struct {
	st       *stream
	head     bool // the request was a HEAD
	status   int  // 0 until the head is fixed
	sent     bool // the head is
	length   int64
	written  int64
	err      error
	trailers []string // announced
	*scratch          // lent while the handler runs
}

// begin makes the writer ready.
func (w *writer) begin() {
	w.scratch = scratches.Get().(*scratch)
	w.length = -1
}

// release gives back what was lent.
func (w *writer) release() {
	if w.scratch == nil {
		return
	}
	w.scratch.clear()
	scratches.Put(w.scratch)
	w.scratch = nil
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999 || status == http.StatusSwitchingProtocols: // of which HTTP/2 has none
		panic("http2: a status of " + strconv.Itoa(status))
	case w.status != 0:
	case status < 200:
		w.encode(status, func(name string) bool { return lowerName(name) != "content-length" })
		w.send(piece{head: w.block.Bytes(), interim: true, now: true})
	default:
		w.fix(status)
	}
}

// fix keeps the head as it is now, but for the length of its body.
func (w *writer) fix(status int) {
	w.status = status
	h := w.header
	for _, v := range h["Connection"] {
		if httpguts.HeaderValuesContainsToken([]string{v}, "close") {
			w.st.conn.leave()
		}
	}
	if v := h["Content-Length"]; len(v) > 0 {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
	w.encode(status, w.ordinary)
	if _, has := h["Date"]; !has {
		w.field("date", w.st.conn.srv.date.Now())
	}
	w.announce()
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
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
	switch {
	case w.head:
	case len(w.held)+len(p) <= w.mayHold():
		w.held = append(w.held, p...)
	default:
		w.startBody()
		w.send(piece{data: p})
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

func (w *writer) mayHold() int {
	if w.length < 0 && !w.sent {
		return measure
	}
	return holdBody
}

// startBody sends the head, and what was held back.
func (w *writer) startBody() {
	p := piece{data: w.held}
	if !w.sent {
		w.frame(false)
		p.head = w.block.Bytes()
	}
	if p.head != nil || len(p.data) > 0 {
		w.send(p)
	}
	w.held = w.held[:0]
}

func (w *writer) send(p piece) {
	if err := w.st.send(p); err != nil && w.err == nil {
		w.err = err
	}
}

// finish sends the rest of the answer, the handler having returned.
func (w *writer) finish() {
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	if w.err == nil && (w.head || !w.bodyAllowed() || w.length < 0 || w.written == w.length) {
		w.sendRest()
	}
	w.st.close()
}

func (w *writer) sendRest() {
	p := piece{data: w.held, end: true}
	if !w.sent {
		w.frame(true)
		p.head = w.block.Bytes()
	}
	if !w.head && w.hasTrailers() {
		p.trailers = w.encodeTrailers()
	}
	w.send(p)
}

// FlushError sends what there is of the answer.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.fix(http.StatusOK)
	}
	w.startBody()
	w.send(piece{now: true})
	return w.err
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // http.Flusher has no error to return

// SetReadDeadline serves http.ResponseController.
func (w *writer) SetReadDeadline(t time.Time) error {
	w.st.due(&w.st.readBy, t)
	return nil
}

// SetWriteDeadline serves http.ResponseController. A stream that is late is
// reset.
func (w *writer) SetWriteDeadline(t time.Time) error {
	w.st.due(&w.st.writeBy, t)
	return nil
}

// EnableFullDuplex serves http.ResponseController: it always is.
func (w *writer) EnableFullDuplex() error { return nil }
