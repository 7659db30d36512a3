package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
)

// dialSocket opens a WebSocket and returns the connection after the 101.
func (g *gate) dialSocket(headers ...string) (net.Conn, *bufio.Reader, *http.Response) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n"+strings.Join(headers, "\r\n")+"\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return c, br, resp
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSet-Cookie: __Host-gatehouse=evil\r\n\r\n"

func TestT130_T131_WebSocket(t *testing.T) {
	g := newGate(t, say(switching), nil)
	for _, c := range []struct {
		head   string
		status int
	}{
		{aliceCookie, 403}, {aliceCookie + "\r\nOrigin: https://evil.test", 403}, {aliceCookie + "\r\nOrigin: https://app.test\r\nOrigin: https://app.test", 403}, {"X-A: 1", 401},
		{aliceCookie + "\r\nOrigin: https://app.test", 101}, {aliceBearer, 101},
	} {
		conn, br, resp := g.dialSocket(c.head)
		if resp.StatusCode != c.status {
			t.Errorf("%q: %d, want %d", c.head, resp.StatusCode, c.status)
		}
		if resp.StatusCode == 101 {
			if len(resp.Header["Set-Cookie"]) != 0 || resp.Header.Get("Sec-WebSocket-Accept") != "x" {
				t.Errorf("101 with %v", resp.Header)
			}
			_, _ = io.WriteString(conn, "\x81\x02hi")
			got := make([]byte, 4)
			if _, err := io.ReadFull(br, got); err != nil || string(got) != "\x81\x02hi" {
				t.Errorf("echo %q %v", got, err)
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			if rest, err := io.ReadAll(br); err != nil || len(rest) != 0 {
				t.Errorf("after half-close: %q %v", rest, err)
			}
		}
	}
}

func TestT049_T050_OtherUpgrades(t *testing.T) {
	g := newGate(t, nil, nil)
	for _, up := range []string{"h2c", "TLS/1.0", "websocket, h2c", "websocket\x0b", "websocket\r\nUpgrade: h2c"} {
		a := g.get("/", aliceBearer, "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAA", "Upgrade: "+up)
		if a.StatusCode != 400 {
			t.Errorf("%q: %d", up, a.StatusCode)
		}
	}
	if g.up.count() != 0 {
		t.Error("an upgrade reached the app")
	}
}

func TestT132_T133_SocketsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*gate)
		code byte
	}{
		"session":    {func(g *gate) { g.Streams().CloseSession("sid-a") }, 0xF0},
		"user":       {func(g *gate) { g.Streams().CloseUser("sub-alice", 4) }, 0xF0},
		"token":      {func(g *gate) { g.Streams().CloseToken("jti-a") }, 0xF0},
		"key":        {func(g *gate) { g.Streams().CloseKey("kid-a") }, 0xF0},
		"drain":      {func(g *gate) { g.Drain(context.Background()) }, 0xE9},
		"everything": {func(g *gate) { g.Streams().CloseAll(1001) }, 0xE9},
	} {
		g := newGate(t, say(switching), nil)
		conn, br, resp := g.dialSocket(aliceBearer)
		if resp.StatusCode != 101 {
			t.Fatal(resp.StatusCode)
		}
		_ = conn.SetDeadline(time.Now().Add(3 * time.Second)) // sooner than for idling
		g.Streams().CloseUser("sub-alice", 3)                 // its own generation is good
		g.Streams().CloseSession("sid-b")
		g.Streams().CloseKey("kid-b")
		c.end(g)
		rest, _ := io.ReadAll(br)
		if string(rest) != string([]byte{0x88, 2, 3, c.code}) {
			t.Errorf("%s: the client got % x", name, rest)
		}
	}
}

func TestT134_EventStreamsFlowAndEnd(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	g := newGate(t, func(_ string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
		<-hold
	}, nil)
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.test\r\n"+aliceCookie+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 9)
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "data: 1\n\n" {
		t.Fatalf("%q %v", got, err)
	}
	_ = c.SetDeadline(time.Now().Add(3 * time.Second)) // sooner than for idling
	g.Streams().CloseSession("sid-a")
	rest, err := io.ReadAll(resp.Body)
	if err == nil {
		t.Errorf("the stream ended as if whole: %q", rest)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the stream goes on")
	}
}

func TestT132_SessionEndAndIdle(t *testing.T) {
	for name, end := range map[string]struct {
		edit func(*config.Config, *identity.Identity)
		code byte
	}{
		"session end": {func(_ *config.Config, id *identity.Identity) { id.SessionEnds = time.Now().Add(50 * time.Millisecond) }, 0xF0},
		"idle":        {func(c *config.Config, _ *identity.Identity) { c.Routes[0].Timeout.Idle = 50 * time.Millisecond }, 0xE9},
	} {
		g := newGate(t, say(switching), nil)
		cfg := g.config()
		end.edit(cfg, g.auth.users["alice"])
		if err := g.Load(cfg); err != nil {
			t.Fatal(err)
		}
		_, br, resp := g.dialSocket(aliceBearer)
		if resp.StatusCode != 101 {
			t.Fatal(resp.StatusCode)
		}
		if rest, _ := io.ReadAll(br); string(rest) != string([]byte{0x88, 2, 3, end.code}) {
			t.Errorf("%s: the client got % x", name, rest)
		}
	}
}

// stopped is an exchange that notes its end.
type stopped struct{ so bool }

func (s *stopped) stop(int, error)     { s.so = true }
func (s *stopped) look(_, _ time.Time) {}

// slow is an exchange that takes its time to be looked at.
type slow struct {
	stopped
	takes time.Duration
	busy  *atomic.Int64
	most  *atomic.Int64
	looks *atomic.Int64
}

func (s *slow) look(_, _ time.Time) {
	if n := s.busy.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	time.Sleep(s.takes)
	s.looks.Add(1)
	s.busy.Add(-1)
}

// However many exchanges there are, whoever looks at them does so alone and
// leaves nearly all of the time to others; and nobody looks when there are none.
func TestLooksNeitherOverlapNorTakeMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(time.Now)
		var busy, most, looks atomic.Int64
		var all []*stream
		for range 300 { // a second for a look at all of them
			st := &stream{exchange: &slow{takes: time.Second / 300, busy: &busy, most: &most, looks: &looks}}
			s.add(st)
			all = append(all, st)
		}
		for range 6000 {
			time.Sleep(10 * time.Millisecond)
			s.lookLater()
		}
		if n := looks.Load(); most.Load() != 1 || n < 300 || n > 300*(60/lookPart+1) {
			t.Errorf("%d looks in a minute, %d at once", n, most.Load())
		}
		time.Sleep(time.Minute)
		for _, st := range all {
			s.done(st)
		}
		time.Sleep(time.Minute)
		if s.looks.Load() {
			t.Error("somebody looks at nothing")
		}
		last := &slow{busy: &busy, most: &most, looks: &looks}
		st := &stream{exchange: last}
		looks.Store(0)
		s.add(st)
		time.Sleep(2 * lookEvery)
		if looks.Load() == 0 {
			t.Error("nobody looks any more")
		}
		s.done(st)
		time.Sleep(2 * lookEvery)
	})
}

func TestStreamsRefuseWhatWasJustRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(time.Now)
		s.CloseSession("a")
		s.CloseUser("u", 5)
		s.CloseUser("u", 4) // an older one takes nothing back
		s.CloseToken("j")
		s.CloseKey("k")
		s.CloseSession("")
		hit := func(id *identity.Identity) bool {
			var got stopped
			st := &stream{id: id, exchange: &got}
			s.add(st)
			s.done(st)
			return got.so
		}
		if !hit(&identity.Identity{Session: "a"}) || !hit(&identity.Identity{Subject: "u", Generation: 4}) ||
			!hit(&identity.Identity{TokenID: "j"}) || !hit(&identity.Identity{KeyID: "k"}) {
			t.Error("a request that was judged before the revocation runs on")
		}
		if hit(&identity.Identity{Session: "b", Subject: "u", Generation: 5, TokenID: "k", KeyID: "j"}) || hit(nil) {
			t.Error("a stranger was hit")
		}
		time.Sleep(recentFor - time.Second)
		s.CloseSession("c")
		time.Sleep(2 * time.Second)
		if !hit(&identity.Identity{Session: "a"}) || !hit(&identity.Identity{Session: "c"}) {
			t.Error("forgotten too early")
		}
		time.Sleep(recentFor)
		if hit(&identity.Identity{Session: "a"}) || hit(&identity.Identity{Session: "c"}) || s.recent.some.Load() {
			t.Error("the memory does not end")
		}
		if s.Len() != 0 {
			t.Error("a finished stream is still known")
		}
	})
}

func TestFrames(t *testing.T) {
	stream := append([]byte{0x81, 2, 'h', 'i', 0x82, 126, 1, 0}, make([]byte, 256)...)
	stream = append(stream, 0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'x', 0x81, 0x81, 1, 2, 3, 4, 'y')
	ends := map[int]bool{0: true, 4: true, 264: true, 275: true, 282: true}
	var f frames
	for i, b := range stream {
		if f.whole() != ends[i] {
			t.Errorf("byte %d: whole %v", i, f.whole())
		}
		f.feed([]byte{b})
	}
	if !f.whole() {
		t.Error("the end is not a boundary")
	}
}

// Ending 100,000 sessions at once must not slow down the requests that follow.
func BenchmarkStreamAfterManyRevocations(b *testing.B) {
	s := newStreams(time.Now)
	for i := range 100_000 {
		s.CloseSession(strconv.Itoa(i))
	}
	id := &identity.Identity{Session: "mine", Subject: "me", TokenID: "t", KeyID: "k"}
	b.ReportAllocs()
	for b.Loop() {
		var got stopped
		st := stream{id: id, exchange: &got}
		s.add(&st)
		s.done(&st)
		if got.so {
			b.Fatal("hit")
		}
	}
}
