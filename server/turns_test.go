package server

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// Handshakes compute one after another; one that waits too long meets its
// deadline, and however one ends, its turn is given back.
func TestT123_HandshakesTakeTurns(t *testing.T) {
	g := start(t, func(o *Options) { o.Patience.Header = 2 * time.Second })
	for len(g.conns.turns.free) < cap(g.conns.turns.free) {
		g.conns.turns.free <- struct{}{}
	}
	dial := func(protocols ...string) error {
		c, err := tls.Dial("tcp", g.addrs.HTTPS, &tls.Config{RootCAs: g.roots, ServerName: testHost, NextProtos: protocols})
		if err == nil {
			err = c.Close()
		}
		return err
	}
	if err := dial("h2"); err == nil {
		t.Error("a handshake without a turn")
	}
	for len(g.conns.turns.free) > 0 {
		<-g.conns.turns.free
	}
	for range 3 * cap(g.conns.turns.free) {
		if err := dial("h2"); err != nil {
			t.Error(err)
		}
		if err := dial("nothing we know"); err == nil {
			t.Error("a protocol nobody speaks")
		}
		if c, err := net.Dial("tcp", g.addrs.HTTPS); err == nil { // leaves within its hello
			_, _ = c.Write([]byte{0x16, 3, 1, 2, 0, 1})
			_ = c.Close()
		}
	}
	g.allTurnsFree(10 * time.Second)
}

func (g *gate) allTurnsFree(soon time.Duration) {
	g.t.Helper()
	for deadline := time.Now().Add(soon); len(g.conns.turns.free) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%d turns were not given back", len(g.conns.turns.free))
		}
	}
}

// Nobody has a turn while an app or a client is waited for, and the sweep gives
// back what is left behind in any case.
func TestT123_TurnsAreShort(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 9)
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1))
			entered <- struct{}{}
			<-hold
		})
	})
	defer close(hold)
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: " + testHost + "\r\n\r\nGET / HTT",               // the next one follows at once
		"POST / HTTP/1.1\r\nHost: " + testHost + "\r\nContent-Length: 9\r\n\r\nx", // the rest does not come
	} {
		for range cap(g.conns.turns.free) {
			c, err := tls.Dial("tcp", g.addrs.HTTPS, &tls.Config{RootCAs: g.roots, ServerName: testHost})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, text)
			<-entered
		}
		g.allTurnsFree(turnLasts / 2) // before the sweep
	}
	c := &conn{table: g.conns, Conn: closedConn{}, kind: new(atomic.Int64)}
	_ = c.Close()
	c.takeTurn() // of a read that was under way
	g.allTurnsFree(10 * time.Second)
	c = &conn{table: g.conns, Conn: closedConn{}, kind: new(atomic.Int64)}
	c.takeTurn()
	g.conns.mu.Lock()
	g.conns.conns[c] = struct{}{}
	g.conns.mu.Unlock()
	g.allTurnsFree(10 * time.Second)
	g.conns.mu.Lock()
	delete(g.conns.conns, c)
	g.conns.mu.Unlock()
}

// closedConn is closed.
type closedConn struct{ net.Conn }

func (closedConn) Close() error { return nil }
