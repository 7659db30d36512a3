package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/wire"

	"golang.org/x/net/http/httpguts"
)

// request is one that is served.
type request struct {
	*http.Request
	ctx  *wire.Context
	body *requestBody // nil without one
}

// refusal is an answer to what is no request.
type refusal struct {
	status int
	text   string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// readRequest reads a head and checks what http.ReadRequest leaves to a server.
// It is a function of its own: a connection that waits for its next request
// would keep the room for it on its stack.
//
//go:noinline
func (c *conn) readRequest() (*request, error) {
	head, err := c.bufferHead()
	if err != nil {
		return nil, err
	}
	if plain, ok := plainRequest(head); ok {
		_, _ = c.r.Discard(len(head)) // they are there
		return c.bodiless(&plain), nil
	}
	parsed, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, err
	}
	if err := check(parsed, head); err != nil {
		return nil, err
	}
	parsed.Close = parsed.Close || twoFramings(parsed, head)
	c.came(parsed)
	r := &request{ctx: &wire.Context{Context: c.ctx}}
	if parsed.Body != http.NoBody {
		r.body = c.newBody(parsed)
		parsed.Body = r.body
	}
	r.Request = parsed.WithContext(r.ctx)
	if r.body != nil {
		r.body.parsed, r.body.served = parsed, r.Request
	}
	return r, nil
}

// bodiless is a request without a body, of which it keeps a copy.
func (c *conn) bodiless(parsed *http.Request) *request {
	c.came(parsed)
	ctx := &wire.Context{Context: c.ctx}
	return &request{Request: parsed.WithContext(ctx), ctx: ctx}
}

// came says that a request was read, and tells it where from.
func (c *conn) came(r *http.Request) {
	c.posted = r.Method == http.MethodPost
	r.RemoteAddr, r.TLS = c.remote, c.tls
}

// check judges what is read well and still no request to serve.
func check(r *http.Request, head []byte) error {
	if r.ProtoMajor != 1 {
		return &refusal{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
	}
	// http.ReadRequest keeps the Host line to itself, and prefers what a target
	// names; the line has to be there and in order all the same (RFC 9112
	// section 3.2).
	hosts := []string{r.Host}
	if r.Host == "" || !strings.HasPrefix(r.RequestURI, "/") { // there may be none, with CONNECT
		hosts = fieldLines(head, "Host")
	}
	if len(hosts) == 0 && r.ProtoMinor > 0 && r.Method != http.MethodConnect {
		return &refusal{http.StatusBadRequest, "missing required Host header"}
	}
	if len(hosts) > 0 && !httpguts.ValidHostHeader(hosts[0]) {
		return &refusal{http.StatusBadRequest, "malformed Host header"}
	}
	if expect := r.Header.Get("Expect"); expect != "" && !hasWord(expect, "100-continue") {
		return &refusal{http.StatusExpectationFailed, ""}
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return &refusal{http.StatusBadRequest, "invalid header name"}
		}
		for _, v := range values {
			if !wire.ValidValue(v) {
				return &refusal{http.StatusBadRequest, "invalid header value"}
			}
		}
	}
	return nil
}

// twoFramings reports a request whose end somebody before us may have seen
// elsewhere, so that its connection has to end with it (RFC 9112 section 6.1,
// threat T42): a chunked one with a length, and one of HTTP/1.0 that names an
// encoding. Once parsed they look like any other.
func twoFramings(r *http.Request, head []byte) bool {
	switch {
	case len(r.TransferEncoding) > 0:
		return len(fieldLines(head, "Content-Length")) > 0
	case r.ProtoMinor == 0 && !r.Close:
		return len(fieldLines(head, "Transfer-Encoding")) > 0
	}
	return false
}

// hasWord reads a list as net/http does: spaces divide it as well as commas.
func hasWord(list, word string) bool {
	for w := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// refuse answers what could not be read, and ends the connection.
func (c *conn) refuse(err error) {
	var is *refusal
	switch text := err.Error(); {
	case errors.Is(err, errGone):
		return // nobody waits for an answer
	case errors.As(err, &is):
	case strings.HasPrefix(text, "unsupported transfer encoding"), strings.HasPrefix(text, "too many transfer encodings"):
		is = &refusal{http.StatusNotImplemented, "Unsupported transfer encoding"} // RFC 9112 section 6.1
	default:
		is = &refusal{http.StatusBadRequest, ""}
	}
	time.Sleep(c.srv.Pause)
	status := fmt.Sprintf("%d %s", is.status, http.StatusText(is.status))
	body := status
	if is.text != "" {
		body += ": " + is.text
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.Head)) // a closed connection says so in Write
	if _, err := fmt.Fprintf(c.nc, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n%s",
		status, len(body), c.srv.Extra(is.status), body); err == nil {
		c.linger()
	}
}

// requestBody is the body of a request, which may be read while the answer is
// written, and until the handler returns.
type requestBody struct {
	conn *conn
	from io.Reader
	left atomic.Int64 // of its length; negative when that is not known

	// Trailers are put into the request that was parsed, and served is a copy.
	parsed, served *http.Request

	asked  atomic.Bool // the client waits for 100 (RFC 9110 section 10.1.1)
	mu     sync.Mutex
	closed bool
	eof    bool
	broken bool
}

// newBody wraps the body of a request; a client may want to be asked for it.
func (c *conn) newBody(r *http.Request) *requestBody {
	b := &requestBody{conn: c, from: r.Body}
	b.left.Store(r.ContentLength)
	b.asked.Store(r.Header.Get("Expect") != "" && r.ProtoMinor > 0) // of which check has seen that it is 100-continue
	c.setReadBy(time.Time{})
	return b
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.asked.Load() {
		b.conn.w.sendContinue(&b.asked)
	}
	return b.read(p)
}

func (b *requestBody) read(p []byte) (int, error) {
	if b.eof {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	if b.left.Load() > 0 {
		b.left.Add(-int64(n))
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.eof = true
		b.served.Trailer = b.parsed.Trailer
		b.conn.bodyRead()
	default:
		b.broken = true
	}
	return n, err
}

// Close implements io.Closer. What is left is read when the handler has
// returned, or never.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// finish is called when the answer was written, and reports whether another
// request begins behind the body. It reads a little to get there.
func (b *requestBody) finish(w *writer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	switch {
	case b.eof:
		return true
	case b.broken || b.asked.Load():
		return false
	case w.linger:
		return false
	case b.left.Load() > maxDrain:
		w.linger = true
		return false
	}
	if !b.conn.moved.Load() { // nobody bounds it
		b.conn.setReadBy(time.Now().Add(b.conn.srv.Idle))
	}
	_, err := io.CopyN(io.Discard, reads{b}, maxDrain+1)
	w.linger = err == nil
	return errors.Is(err, io.EOF)
}

// reads is a body whose lock is held.
type reads struct{ *requestBody }

// Read implements io.Reader.
func (r reads) Read(p []byte) (int, error) { return r.read(p) }
