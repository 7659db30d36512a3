package upstream

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/wire"
)

// plainAnswer takes a final answer with a body of known length off the
// connection, if its head can be read in one way only. What is not ok is left
// where it is.
func (x *exchange) plainAnswer(head []byte) (resp *http.Response, ok bool) {
	if x.req.Method == http.MethodHead {
		return nil, false
	}
	if resp, ok = plainResponse(head); !ok {
		return nil, false
	}
	_, _ = x.conn.r.Discard(len(head)) // they are there
	resp.Request = x.conn.asked(x.req.Method)
	if resp.ContentLength > 0 {
		resp.Body = &plainBody{x.conn.r, resp.ContentLength}
	}
	return resp, true
}

// plainResponse reads the head of an answer to anything but HEAD, as checkHead
// and http.ReadResponse would, if there is only one way to read it. What is not
// ok is theirs to judge: nothing is refused here, and nothing taken that they do
// not take.
func plainResponse(head []byte) (resp *http.Response, ok bool) {
	line, fields, _ := strings.Cut(string(head), "\n")
	status, is11 := strings.CutPrefix(line, "HTTP/1.1 ")
	status, ended := strings.CutSuffix(status, "\r")
	code := plainStatus(status)
	if !is11 || !ended || code == 0 {
		return nil, false
	}
	h, ok := wire.PlainFields(fields)
	if !ok || len(h["Content-Length"]) != 1 {
		return nil, false
	}
	length, ok := plainLength(h["Content-Length"][0])
	return &http.Response{
		Status: status, StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: length, Body: http.NoBody,
	}, ok
}

// plainStatus is the code of a status that is final and may have a body, with
// words behind it; else 0.
func plainStatus(s string) int {
	if len(s) < len("200 X") || s[3] != ' ' || !wire.Visible(s) || s[0] < '2' || s[0] > '5' {
		return 0
	}
	code, err := strconv.ParseUint(s[:3], 10, 16)
	if err != nil || code == http.StatusNoContent || code == http.StatusNotModified {
		return 0
	}
	return int(code) //#nosec G115 -- three digits
}

// plainLength reads digits, of which there are not too many.
func plainLength(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int64(s[i]-'0')
	}
	return n, s != "" && len(s) <= 18
}

// plainBody is as many bytes as were announced.
type plainBody struct {
	r    *bufio.Reader
	left int64
}

// Read implements io.Reader; a body cut short gives io.ErrUnexpectedEOF.
func (b *plainBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0:
		err = io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *plainBody) Close() error { return nil }
