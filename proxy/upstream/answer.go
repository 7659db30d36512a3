package upstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// readHead reads the final answer, past interim ones.
func (x *exchange) readHead() (*http.Response, error) {
	for range maxInterim + 1 {
		head, err := x.conn.peekHead()
		if err != nil {
			return nil, err
		}
		if resp, ok := x.plainAnswer(head); ok {
			return x.final(resp), nil
		}
		if err := checkHead(head); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(x.conn.r, x.conn.asked(x.req.Method))
		if err != nil {
			return nil, err
		}
		switch {
		case resp.StatusCode < 100:
			return nil, fmt.Errorf("status %d", resp.StatusCode)
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return x.switched(resp)
		case resp.StatusCode >= 200:
			return x.final(resp), nil
		}
	}
	return nil, errors.New("too many interim answers")
}

func (x *exchange) switched(resp *http.Response) (*http.Response, error) {
	if x.req.Upgrade == "" || !strings.EqualFold(resp.Header.Get("Upgrade"), x.req.Upgrade) {
		return nil, errors.New("an upgrade nobody asked for")
	}
	x.conn.headArrived()
	x.conn.setPatience(24 * time.Hour) // the tunnel's own idle time is its owner's
	resp.Body = &Conn{conn: x.conn, stop: x.stop}
	return resp, nil
}

// final gives the answer a body that returns the connection when it ended
// cleanly.
func (x *exchange) final(resp *http.Response) *http.Response {
	x.conn.headArrived()
	// An answer to HEAD without a length is one that a GET ends by closing, and
	// the app may do just that.
	definite := len(resp.TransferEncoding) > 0 || resp.ContentLength >= 0
	bodiless := resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	b := &body{x: x, inner: resp.Body, ended: bodiless || x.req.Method == http.MethodHead || resp.ContentLength == 0}
	b.keep = (bodiless || definite) && !misframed(resp) && !resp.Close && resp.ProtoAtLeast(1, 1) &&
		!x.conn.wide && !binds(resp.Header) && !bound(x.req.Header)
	resp.Body = b
	return resp
}

// misframed reports an answer that has no body by its status, and announces
// one: what follows it on the connection is anybody's guess.
func misframed(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusNoContent:
		length := resp.Header["Content-Length"]
		return len(resp.TransferEncoding) > 0 || len(length) > 0 && length[0] != "0"
	case http.StatusNotModified:
		return len(resp.TransferEncoding) > 0
	}
	return false
}

// bound reports a request whose authentication belongs to its connection: NTLM
// and Negotiate must never be shared between users (threat T55).
func bound(request http.Header) bool {
	return slices.ContainsFunc(request["Authorization"], namesBound)
}

// binds reports an answer that asks for such, or says that it was had.
func binds(answer http.Header) bool {
	return slices.ContainsFunc(answer["Www-Authenticate"], namesBound) || len(answer["Persistent-Auth"]) > 0
}

// namesBound looks for the schemes wherever a list of challenges may hold one;
// a wrong guess costs a connection.
func namesBound(v string) bool {
	for word := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		if strings.EqualFold(word, "NTLM") || strings.EqualFold(word, "Negotiate") {
			return true
		}
	}
	return false
}

// body is the answer's body. Its connection goes back to the pool only after a
// definite end, with the request sent whole and nothing left over.
type body struct {
	x     *exchange
	inner io.ReadCloser
	keep  bool
	ended bool
	once  sync.Once
}

// Read implements io.Reader; a body cut short gives io.ErrUnexpectedEOF.
func (b *body) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.inner.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended = true
	} else if err != nil {
		b.keep = false
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.once.Do(b.finish)
	return nil
}

func (b *body) finish() {
	x := b.x
	alive := x.stop() // false: cancelled, and the connection closed with it
	sentWhole := x.sent == nil
	select {
	case <-x.sent:
		sentWhole = x.sendErr == nil
	default:
	}
	if alive && b.keep && b.ended && sentWhole && x.conn.r.Buffered() == 0 {
		x.client.put(x.conn)
		return
	}
	x.conn.close()
}
