package gatetest

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
)

// Upstream is a TCP server that speaks just enough HTTP/1.1 to answer, and
// keeps the bytes of every request as they came.
type Upstream struct {
	Addr string
	mu   sync.Mutex
	seen []string
}

// NewUpstream starts one; every request gets 200 with the body "app".
func NewUpstream(t testing.TB) *Upstream {
	t.Helper()
	return NewUpstreamFunc(t, func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp" })
}

// NewUpstreamFunc starts one that answers each request head with the bytes
// answer returns.
func NewUpstreamFunc(t testing.TB, answer func(head string) string) *Upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{Addr: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go u.serve(c, answer)
		}
	}()
	return u
}

// URL is the address as a route's upstream.
func (u *Upstream) URL() string { return "http://" + u.Addr }

// Seen returns the request heads and bodies so far, oldest first.
func (u *Upstream) Seen() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.seen...)
}

// Forget drops what was seen and returns how much it was.
func (u *Upstream) Forget() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.seen)
	u.seen = nil
	return n
}

// Last returns the newest request, or "".
func (u *Upstream) Last() string {
	if s := u.Seen(); len(s) > 0 {
		return s[len(s)-1]
	}
	return ""
}

func (u *Upstream) serve(c net.Conn, answer func(string) string) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		head, err := readHead(r)
		if err != nil {
			return
		}
		body, err := readBody(r, head)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.seen = append(u.seen, head+body)
		u.mu.Unlock()
		if _, err := c.Write([]byte(answer(head))); err != nil {
			return
		}
	}
}

func readHead(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

func readBody(r *bufio.Reader, head string) (string, error) {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		return "", err
	}
	var body strings.Builder
	if len(req.TransferEncoding) > 0 {
		buf := make([]byte, 32<<10)
		for chunks := httputil.NewChunkedReader(r); ; {
			n, err := chunks.Read(buf)
			body.Write(buf[:n])
			if err != nil {
				_, _ = r.ReadString('\n') // the empty line after the last chunk
				return body.String(), nil
			}
		}
	}
	for n := req.ContentLength; n > 0; n-- {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		body.WriteByte(b)
	}
	return body.String(), nil
}
