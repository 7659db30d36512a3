package server

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestClientConnectionsAreKeptAlive(t *testing.T) {
	l, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, name, want int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveEvery},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveCount},
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	} {
		if err := raw.Control(func(fd uintptr) {
			if got, err := syscall.GetsockoptInt(int(fd), o.level, o.name); err != nil || got != o.want {
				t.Errorf("option %d of level %d is %d, want %d (%v)", o.name, o.level, got, o.want, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listen(t.Context(), "127.0.0.1:http-nothing"); err == nil {
		t.Error("an address that is none")
	}
}

// T123: an answer that its client does not read waits where it comes from, and
// not in megabytes of this machine's kernel.
func TestT123_WhatIsNotReadIsNotTaken(t *testing.T) {
	var taken atomic.Int64
	over := make(chan struct{})
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(over)
			for piece := make([]byte, 16<<10); ; {
				n, err := w.Write(piece)
				taken.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	})
	c := g.raw(testHost)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	before := int64(-1)
	for now := taken.Load(); now != before || now == 0; now = taken.Load() {
		before = now
		time.Sleep(200 * time.Millisecond)
	}
	if before > 1<<20 {
		t.Errorf("%d KiB were taken for a client that reads nothing", before>>10)
	}
	_ = c.NetConn().Close()
	<-over
}
