package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"gatehouse/web"
)

// What a request body came to, as seen by the goroutine that sends it on.
const (
	bodyFine int32 = iota
	bodyTooLarge
	bodyBroken
)

var errBodyTooLarge = errors.New("request body is over the route's limit")

// requestBody counts and watches a client's body. A body that ends before its
// framing says so is an error to the reader, so that the app never sees it as
// complete.
type requestBody struct {
	from  io.ReadCloser
	limit int64 // 0 = none
	n     int64
	state atomic.Int32
	whole atomic.Bool // read to its end
	run   *run
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.limit > 0 && int64(len(p)) > b.limit-b.n+1 {
		p = p[:b.limit-b.n+1]
	}
	n, err := b.from.Read(p)
	b.n += int64(n)
	b.run.progress()
	if b.limit > 0 && b.n > b.limit {
		b.state.Store(bodyTooLarge)
		return 0, errBodyTooLarge
	}
	switch {
	case errors.Is(err, io.EOF):
		b.whole.Store(true)
		b.run.sent.Store(true)
	case err != nil:
		if !errors.Is(err, http.ErrBodyReadAfterClose) {
			b.state.CompareAndSwap(bodyFine, bodyBroken)
		}
		b.run.sent.Store(true)
	}
	return n, err
}

// Close leaves the body to the server, which closes it when the handler has
// returned. Closing it here would wait for a read in progress, and that for a
// client which may be waiting for the answer.
func (b *requestBody) Close() error { return nil }

// unread reports a request body that was not read to its end.
func (x *exchange) unread() bool { return x.body != nil && !x.body.whole.Load() }

// endAfterAnswer ends an HTTP/1.1 connection with this answer when the body
// was not read to its end: what is behind it, also the rest of a body that broke
// or never came, is no request (RFC 9112 section 9.3).
func (x *exchange) endAfterAnswer() {
	if x.r.ProtoMajor == 1 && x.unread() {
		x.w.Header()["Connection"] = []string{"close"}
	}
}

// tooLarge closes an HTTP/1.1 connection, or the server would look for the next
// request behind the rest.
func (x *exchange) tooLarge() *web.Error {
	if x.r.ProtoMajor == 1 {
		x.w.Header()["Connection"] = []string{"close"}
	}
	return &web.Error{Status: http.StatusRequestEntityTooLarge, Code: "body_too_large", Detail: "The request body is larger than this route accepts."}
}
