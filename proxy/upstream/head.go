package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"gatehouse/wire"
)

// What the standard parser forgives and a gateway must not (threat T53): a
// reading of the framing that the app may not share.
var (
	errHeadTooLarge = errors.New("response head is over 64 KiB")
	errNotHTTP      = errors.New("not an HTTP/1 response")
	errTwoFramings  = errors.New("both Content-Length and Transfer-Encoding")
	errOldChunked   = errors.New("transfer-encoding in an HTTP/1.0 response")
	errFieldLine    = errors.New("response has a malformed field line")
)

// peekHead waits until a whole response head is buffered, and returns it
// without taking it (threat T129: 64 KiB at most).
func (c *conn) peekHead() ([]byte, error) {
	for have := 0; ; {
		_, err := c.r.Peek(have + 1)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && !c.wide:
			// The inner reader may keep bytes the outer one does not count, so
			// that such a connection is never used again.
			c.r, c.wide = bufio.NewReaderSize(c.r, maxResponseHead), true
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, errHeadTooLarge
		case errors.Is(err, io.EOF) && have > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		b, err := c.r.Peek(c.r.Buffered())
		if err != nil {
			return nil, err
		}
		const proto = "HTTP/1."
		if n := min(len(b), len(proto)); string(b[:n]) != proto[:n] {
			return nil, errNotHTTP // what speaks first may not say more
		}
		if end := wire.HeadEnd(b, have); end > 0 {
			return b[:end], nil
		}
		have = len(b)
	}
}

// checkHead judges the field lines of a head as they came.
func checkHead(head []byte) error {
	status, rest, _ := bytes.Cut(head, []byte("\n"))
	length, encoding := false, false
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 {
			break
		}
		name, err := fieldName(line)
		if err != nil {
			return err
		}
		length = length || len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length"))
		encoding = encoding || len(name) == 17 && bytes.EqualFold(name, []byte("Transfer-Encoding"))
	}
	switch {
	case length && encoding:
		return errTwoFramings
	case encoding && bytes.HasPrefix(status, []byte("HTTP/1.0")):
		return errOldChunked
	}
	return nil
}

// fieldName returns the name of a valid field line; of a continuation (RFC
// 9112 section 5.2), which the parser joins with a space, it is empty.
func fieldName(line []byte) ([]byte, error) {
	for _, c := range line {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return nil, fmt.Errorf("%w: a control byte", errFieldLine)
		}
	}
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil
	}
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, fmt.Errorf("%w: no name", errFieldLine)
	}
	for _, c := range name {
		if !tokenByte(c) {
			return nil, fmt.Errorf("%w: a name that is no token", errFieldLine)
		}
	}
	return name, nil
}

// tokenByte reports the bytes of a token (RFC 9110 section 5.6.2).
func tokenByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
