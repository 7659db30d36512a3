package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"time"

	"gatehouse/wire"
)

// errGone says that nobody waits for an answer.
var errGone = errors.New("http1: the client is gone, or too slow")

func tooLarge() error { return &refusal{http.StatusRequestHeaderFieldsTooLarge, ""} }

// source is what a connection's reader reads: the connection, behind a head
// that had not fitted the reader.
type source struct {
	io.Reader
	head []byte
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if len(s.head) == 0 {
		return s.Reader.Read(p)
	}
	n := copy(p, s.head)
	if s.head = s.head[n:]; len(s.head) == 0 {
		s.head = nil
	}
	return n, nil
}

// bufferHead waits until a whole head is there to be parsed, so that nothing of
// one that is too large or too slow is. A head that comes in one piece sets no
// deadline. The bytes are good until something is read that is not buffered.
func (c *conn) bufferHead() (head []byte, err error) {
	for seen, armed := 0, c.w.served == 0; ; {
		b, _ := c.r.Peek(c.r.Buffered()) // no more than is there, so never an error
		if end := wire.HeadEnd(b, seen); end > 0 {
			return b[:end], c.fits(end)
		}
		if len(b) > c.srv.MaxHead {
			return nil, tooLarge()
		}
		if !armed {
			c.setReadBy(time.Now().Add(c.srv.Head))
			armed = true
		}
		if seen = len(b); seen == c.r.Size() {
			return c.longHead()
		}
		if _, err := c.r.Peek(seen + 1); err != nil {
			return nil, gone(err, seen)
		}
	}
}

// gone tells a client that left from one that sent half a head and said that
// this was all.
func gone(err error, seen int) error {
	if seen > 0 && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errGone, err)
}

func (c *conn) fits(n int) error {
	if n > c.srv.MaxHead {
		return tooLarge()
	}
	return nil
}

// longHead gathers a head that is longer than the reader, and puts it before
// what the reader reads next.
func (c *conn) longHead() (head []byte, err error) {
	for seen := 0; ; {
		if _, err := c.r.Peek(1); err != nil {
			return nil, gone(err, 1)
		}
		b, _ := c.r.Peek(c.r.Buffered()) // as above
		head = append(head, b...)
		_, _ = c.r.Discard(len(b)) // as above
		if end := wire.HeadEnd(head, seen); end > 0 {
			c.src.head = head
			c.r.Reset(&c.src)
			return head[:end], c.fits(end)
		}
		if seen = len(head); seen > c.srv.MaxHead {
			return nil, tooLarge()
		}
	}
}

// fieldLines are the values of a field in a head, by the parser that
// http.ReadRequest uses, which keeps some fields to itself.
func fieldLines(head []byte, name string) []string {
	_, fields, _ := bytes.Cut(head, []byte("\n"))
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(fields))).ReadMIMEHeader() // what it says of errors, http.ReadRequest has said
	return h[name]
}

// early is what was read and belongs to nobody yet.
func (c *conn) early() []byte {
	b, _ := c.r.Peek(c.r.Buffered()) // no more than is there, so never an error
	return slices.Concat(b, c.src.head)
}
