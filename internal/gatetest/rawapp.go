package gatetest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// RawApp is an app under the test's control down to the byte: it gets every
// connection and decides what is read, what is written and when it ends.
type RawApp struct {
	Addr  string
	conns atomic.Int64
	log   syncBuffer
}

// RawConn is one connection to a RawApp. What was read of it is in Log.
type RawConn struct {
	net.Conn
	*bufio.Reader
	N int // of the connection, from 1
}

// Read implements io.Reader.
func (c *RawConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// NewRawApp starts one. Each connection is closed when handle returns.
func NewRawApp(t testing.TB, handle func(c *RawConn)) *RawApp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &RawApp{Addr: l.Addr().String()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			raw := &RawConn{Conn: c, Reader: bufio.NewReader(io.TeeReader(c, &a.log)), N: int(a.conns.Add(1))}
			wg.Go(func() {
				handle(raw)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	return a
}

// URL is the address as a route's upstream.
func (a *RawApp) URL() string { return "http://" + a.Addr }

// Conns is the number of connections so far.
func (a *RawApp) Conns() int { return int(a.conns.Load()) }

// Log is every byte the app has read so far, over all connections.
func (a *RawApp) Log() string { return a.log.String() }

// Head reads a request head with its last empty line; "" means that the
// connection ended.
func (c *RawConn) Head() string {
	head, err := readHead(c.Reader)
	if err != nil {
		return ""
	}
	return head
}

// Body reads the body that head announces; ok means that it came whole.
func (c *RawConn) Body(head string) (body string, ok bool) {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		return "", false
	}
	if len(req.TransferEncoding) == 0 {
		b := make([]byte, max(req.ContentLength, 0))
		n, err := io.ReadFull(c.Reader, b)
		return string(b[:n]), err == nil
	}
	b, err := io.ReadAll(httputil.NewChunkedReader(c.Reader))
	if err != nil {
		return string(b), false
	}
	end, err := c.ReadString('\n')
	return string(b), err == nil && end == "\r\n"
}

// Say writes bytes; a peer that is gone shows itself in the next read.
func (c *RawConn) Say(text string) { _, _ = io.WriteString(c.Conn, text) }
