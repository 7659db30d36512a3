package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// No frame of ours may land inside one of the app's, or behind its last.
func TestT132_CloseFrameStandsBetweenFrames(t *testing.T) {
	own := string([]byte{0x88, 2, 3, 0xF0})
	for name, c := range map[string]struct{ sent, more string }{
		"after a frame":           {"\x81\x02hi", own},
		"between fragments":       {"\x01\x02hi", own}, // a control frame may stand there
		"inside a head":           {"\x81\x02hi\x81", ""},
		"inside a long head":      {"\x82\x7e\x01", ""},
		"inside a payload":        {"\x82\x7e\x01\x00half", ""},
		"after the app's own end": {"\x88\x02\x03\xe8", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, say(switching+c.sent), nil)
			_, br, resp := g.dialSocket(aliceBearer)
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(resp.StatusCode)
			}
			got := make([]byte, len(c.sent))
			if _, err := io.ReadFull(br, got); err != nil || string(got) != c.sent {
				t.Fatalf("%q, %v", got, err)
			}
			g.Streams().CloseSession("sid-a")
			if rest, _ := io.ReadAll(br); string(rest) != c.more {
				t.Errorf("then came % x", rest)
			}
		})
	}
}

// A connection that is closed over unread bytes is reset, and the close frame
// may be lost with it; so what the client still sends is read.
func TestT132_FarewellHearsTheClientOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		_ = ours.SetDeadline(time.Now().Add(closeWait))
		done := make(chan struct{})
		go func() {
			defer close(done)
			farewell(ours, ours, nil, &frames{}, closePolicy)
			_ = ours.Close()
		}()
		frame := make([]byte, 4)
		if _, err := io.ReadFull(theirs, frame); err != nil || frame[0] != 0x88 {
			t.Fatalf("% x, %v", frame, err)
		}
		for range 3 { // what was under way, and the answering close frame
			if _, err := theirs.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal("not heard out:", err)
			}
		}
		_ = theirs.Close()
		<-done
	})
}

// An end of ours closes the app's connection at the same moment, and the copy
// from the app may be done first: the client is told goodbye all the same.
func TestT132_FarewellThoughTheAppsEndBrokeFirst(t *testing.T) {
	for range 20 {
		ours, theirs := net.Pipe()
		app, _ := net.Pipe()
		ended := &run{base: time.Now()}
		ended.begin(t.Context())
		ended.code.Store(closeGoingAway)
		ended.cancel(errDraining)
		_ = app.Close()
		told := make(chan error, 1)
		ended.life.mu.Lock() // pump waits here while the copies end
		go func() {
			told <- pump(ours, ours, pipeBody{app}, ended)
			_ = ours.Close()
		}()
		time.Sleep(10 * time.Millisecond)
		ended.life.mu.Unlock()
		got := make([]byte, 4)
		if _, err := io.ReadFull(theirs, got); err != nil || string(got) != "\x88\x02\x03\xe9" {
			t.Fatalf("the client got % x, %v", got, err)
		}
		_ = theirs.Close()
		if err := <-told; !errors.Is(err, errDraining) {
			t.Fatal(err)
		}
	}
}

type pipeBody struct{ net.Conn }

func (pipeBody) CloseWrite() error { return nil }

// A client that reads nothing cannot keep its socket.
func TestT132_StalledSocketEnds(t *testing.T) {
	flood, sent := make(chan error, 1), atomic.Int64{}
	g := newGate(t, func(_ string, c net.Conn) {
		_, _ = io.WriteString(c, switching)
		for frame := append([]byte{0x82, 126, 0xff, 0xff}, make([]byte, 0xffff)...); ; {
			if _, err := c.Write(frame); err != nil {
				flood <- err
				return
			}
			sent.Add(1)
		}
	}, nil)
	if _, _, resp := g.dialSocket(aliceBearer); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.StatusCode)
	}
	stalls(t, &sent)
	g.Streams().CloseSession("sid-a")
	<-flood
	eventually(t, "the exchange is over", func() bool { return g.Streams().Len() == 0 })
}

// stalls waits until nothing more of what is counted fits in.
func stalls(t *testing.T, sent *atomic.Int64) {
	t.Helper()
	last := int64(-1)
	eventually(t, "nothing fits in any more", func() bool {
		time.Sleep(20 * time.Millisecond)
		before := last
		last = sent.Load()
		return last > 0 && last == before
	})
}

// An upload whose client says nothing more ends too: with 401 for the client,
// and a broken body for the app.
func TestT134_StalledUploadEnds(t *testing.T) {
	for _, length := range []string{"Content-Length: 1000\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		g := newGate(t, nil, nil)
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\n"+length)
		eventually(t, "the upload runs", func() bool { return g.Streams().Len() == 1 })
		g.Streams().CloseSession("sid-a")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusUnauthorized || !resp.Close {
			t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
		}
		eventually(t, "the exchange is over", func() bool { return g.Streams().Len() == 0 })
		if g.up.count() != 0 {
			t.Errorf("the app saw a whole request: %q", g.up.last())
		}
	}
}

// A long poll and a stalled download end as well.
func TestT134_PollAndStalledDownloadEnd(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	g := newGate(t, func(_ string, _ net.Conn) { <-hold }, nil)
	answered := make(chan int, 1)
	go func() { answered <- g.get("/", aliceBearer).StatusCode }()
	eventually(t, "the poll runs", func() bool { return g.Streams().Len() == 1 })
	g.Streams().CloseSession("sid-a")
	if got := <-answered; got != http.StatusUnauthorized {
		t.Errorf("the poll got %d", got)
	}

	var sent atomic.Int64
	g = newGate(t, func(_ string, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(1<<30)+"\r\n\r\n")
		for chunk := make([]byte, 1<<16); sent.Load() < 1<<14; sent.Add(1) {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	}, nil)
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.test\r\n"+aliceBearer+"\r\n\r\n")
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	stalls(t, &sent)
	g.Streams().CloseSession("sid-a")
	eventually(t, "the download is over", func() bool { return g.Streams().Len() == 0 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
