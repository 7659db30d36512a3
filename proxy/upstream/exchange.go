package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"gatehouse/wire"

	"golang.org/x/net/http/httpguts"
)

// afterFailedSend is how long an answer may take that says why the app stopped
// reading.
const afterFailedSend = time.Second

// exchange is one request and its answer on one connection.
type exchange struct {
	client *client
	conn   *conn
	req    *Request
	stop   func() bool
	w      *bufio.Writer // of the connection, from writers; nil once all is sent

	sent    chan struct{} // closed when the body was written, or writing it failed; nil without one
	sendErr error         // valid once sent is closed
}

// writers are lent for as long as a request is sent: nearly all of its time an
// exchange waits for its answer, and a kept connection for its next one.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 16<<10) }}

func (x *exchange) borrowWriter() {
	x.w = writers.Get().(*bufio.Writer)
	x.w.Reset(writeSide{x.conn})
}

func (x *exchange) returnWriter() {
	x.w.Reset(nil)
	writers.Put(x.w)
	x.w = nil
}

func (x *exchange) run() (*http.Response, error) {
	x.conn.got = false
	x.borrowWriter()
	if err := x.writeHead(); err != nil {
		x.returnWriter()
		return nil, x.failure("send request", err)
	}
	if x.req.Body == nil {
		x.returnWriter()
		x.conn.awaitHead(x.client.timeout.ResponseHeader)
	} else {
		x.conn.awaitHead(24 * time.Hour) // counted from the end of the request
		x.sent = make(chan struct{})
		go x.writeBody()
	}
	resp, err := x.readHead()
	if err != nil {
		return nil, x.failure("read response", err)
	}
	return resp, nil
}

// failure sorts what went wrong into the sentinels.
func (x *exchange) failure(doing string, err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %s: %w", ErrTimeout, doing, err)
	case !x.conn.got && !errors.Is(err, errBadRequest):
		return fmt.Errorf("%w: %s: %w", errUnused, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrProtocol, doing, err)
}

var errBadRequest = errors.New("request cannot be written")

// hop are the names this client decides itself.
func hop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Content-Length", "Upgrade", "Host", "Trailer", "Expect", "Http2-Settings":
		return true
	}
	return false
}

// writeHead writes the head; every part is checked, since a line break in one
// would be a second request (threat T47).
func (x *exchange) writeHead() error {
	r := x.req
	host := r.Host
	if host == "" {
		host = x.client.url.Host
	}
	if !httpguts.ValidHeaderFieldName(r.Method) || !plainTarget(r.Target) || !httpguts.ValidHostHeader(host) || r.Upgrade != "" && r.Body != nil {
		return errBadRequest
	}
	head := x.w.AvailableBuffer() // usually all of it; the head is copied nowhere then
	head = append(append(append(append(head, r.Method...), ' '), r.Target...), " HTTP/1.1\r\nHost: "...)
	head = append(append(head, host...), "\r\n"...)
	for name, values := range r.Header {
		if hop(name) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return errBadRequest
		}
		for _, v := range values {
			if !wire.ValidValue(v) {
				return errBadRequest
			}
			head = append(append(append(append(head, name...), ": "...), v...), "\r\n"...)
		}
	}
	if _, err := x.w.Write(append(head, x.framing()...)); err != nil {
		return err
	}
	if r.Body != nil && r.ContentLength >= 0 {
		return nil // flushed with the first bytes of the body
	}
	return x.w.Flush() // a body of unknown length may be one half of a conversation
}

func (x *exchange) framing() string {
	r := x.req
	switch {
	case r.Upgrade != "":
		return "Connection: Upgrade\r\nUpgrade: " + r.Upgrade + "\r\n\r\n"
	case r.Body != nil && r.ContentLength < 0:
		return "Transfer-Encoding: chunked\r\n\r\n"
	case r.Body != nil:
		return "Content-Length: " + strconv.FormatInt(r.ContentLength, 10) + "\r\n\r\n"
	case r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch:
		return "Content-Length: 0\r\n\r\n"
	}
	return "\r\n"
}

func plainTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// errBody marks a body that could not be read: the client's doing.
var errBody = errors.New("read request body")

// writeBody copies the body in its own goroutine, so that an early answer is
// read meanwhile (fault F-U4). It ends with the body: the server ends a read of
// it when the handler has returned.
func (x *exchange) writeBody() {
	defer close(x.sent)
	defer x.returnWriter()
	x.sendErr = x.copyBody()
	if x.sendErr == nil {
		x.sendErr = x.w.Flush()
	}
	switch {
	case x.sendErr == nil:
		x.conn.headDue(time.Now().Add(x.client.timeout.ResponseHeader))
	case !x.conn.headDue(time.Now().Add(afterFailedSend)):
		// The answer is on its way already; its connection ends with it.
	case errors.Is(x.sendErr, errBody):
		x.conn.close() // the app shall see at once that this is no request
	}
}

func (x *exchange) copyBody() error {
	pooled := x.client.buffers.Get().(*[bodyBuffer]byte)
	defer x.client.buffers.Put(pooled)
	buf := pooled[:]
	chunked, left := x.req.ContentLength < 0, x.req.ContentLength
	for {
		n, err := x.req.Body.Read(buf)
		if n > 0 {
			if !chunked && int64(n) > left {
				return fmt.Errorf("%w: longer than announced", errBody)
			}
			left -= int64(n)
			if writeErr := x.writeChunk(buf[:n], chunked); writeErr != nil {
				return writeErr
			}
		}
		switch {
		case errors.Is(err, io.EOF) && !chunked && left > 0:
			return fmt.Errorf("%w: %w", errBody, io.ErrUnexpectedEOF)
		case errors.Is(err, io.EOF) && chunked:
			_, err = x.w.WriteString("0\r\n\r\n")
			return err
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBody, err)
		}
	}
}

func (x *exchange) writeChunk(p []byte, chunked bool) error {
	w := x.w
	if chunked {
		w.WriteString(strconv.FormatInt(int64(len(p)), 16) + "\r\n")
	}
	w.Write(p)
	if chunked {
		w.WriteString("\r\n")
	}
	return w.Flush()
}
