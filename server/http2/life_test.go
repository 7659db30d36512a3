package http2

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
)

func brief(s *Server) { s.Head, s.Idle = 200*time.Millisecond, 300*time.Millisecond }

// T123: a connection without a request ends, one that says nothing at all, too.
func TestT123_IdleConnectionsEnd(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, brief)
	s.dialSilent().ends()
	c := s.dial()
	c.ends()
	c = s.dial()
	c.ask(1, true, get("/")...)
	c.answer(1)
	c.until(func(f h2.Frame) bool { g, ok := f.(*h2.GoAwayFrame); return ok && g.ErrCode == h2.ErrCodeNo })
	c.ends()
}

// T123: half a header block, and half a frame, end the connection.
func TestT123_HalvesOfFrames(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {}, brief, func(s *Server) { s.Idle = 2 * time.Second })
	c := s.dial()
	_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(get("/")...)})
	began := time.Now()
	c.ends()
	if d := time.Since(began); d > 1500*time.Millisecond {
		t.Errorf("waited %v for the rest of a block", d)
	}
	c = s.dial()
	c.ask(1, false, post("/")...)
	_, _ = c.Conn.Write([]byte{0, 0, 9, 0, 0, 0, 0, 0, 1, 'x'})
	c.ends()
}

// A client that is silent with a request open is asked for a sign of life.
func TestSignsOfLife(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(s *Server) {
		s.Head, s.Silence, s.Answer = 320*time.Millisecond, 200*time.Millisecond, 400*time.Millisecond
	})
	c := s.dial()
	c.ask(1, true, get("/")...)
	for range 3 {
		p := c.until(func(f h2.Frame) bool { p, ok := f.(*h2.PingFrame); return ok && !p.IsAck() }).(*h2.PingFrame)
		_ = c.WritePing(true, p.Data)
	}
	c.until(func(f h2.Frame) bool { p, ok := f.(*h2.PingFrame); return ok && !p.IsAck() })
	c.ends() // it does not answer that one
}

// A client that takes an answer has no need to say anything.
func TestTakingIsASignOfLife(t *testing.T) {
	const pieces = 40
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range pieces {
			_, _ = w.Write(make([]byte, 100))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}, func(s *Server) {
		s.Head, s.Silence, s.Answer = 320*time.Millisecond, 200*time.Millisecond, 400*time.Millisecond
	})
	c := s.dial()
	c.ask(1, true, get("/")...)
	if got := c.answer(1); len(got.body) != pieces*100 || got.gone != "" {
		t.Errorf("%d bytes, then %q", len(got.body), got.gone)
	}
}

// Shutdown serves what was asked for before the client heard of it, and what is
// asked later not (RFC 9113 section 6.8).
func TestShutdown(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 3)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { entered <- struct{}{}; <-release; w.WriteHeader(204) })
	c := s.dial()
	c.ask(1, true, get("/")...)
	<-entered
	over := make(chan error, 1)
	go func() { over <- s.Shutdown(context.Background()) }()
	first := c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameGoAway }).(*h2.GoAwayFrame)
	if first.LastStreamID != windowMost || first.ErrCode != h2.ErrCodeNo {
		t.Errorf("first: %v", first)
	}
	c.ask(3, true, get("/")...) // on its way
	<-entered
	c.until(func(f h2.Frame) bool {
		p, ok := f.(*h2.PingFrame)
		if ok && !p.IsAck() {
			_ = c.WritePing(true, p.Data)
		}
		return ok && !p.IsAck()
	})
	last := c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameGoAway }).(*h2.GoAwayFrame)
	if last.LastStreamID != 3 {
		t.Errorf("last: %v", last)
	}
	c.ask(5, false, post("/")...)
	_ = c.WriteData(5, true, []byte("too late"))
	close(release)
	answered := map[uint32]bool{}
	for len(answered) < 2 {
		f := c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameHeaders }).(*h2.HeadersFrame)
		if head := c.lines(f); !strings.HasPrefix(head, ":status: 204") {
			t.Errorf("stream %d: %s", f.StreamID, head)
		}
		answered[f.StreamID] = true
	}
	c.ends()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if len(entered) > 0 {
		t.Error("what came too late was served")
	}
	s.dialSilent().ends()
}

// A client that greets while the server goes is not waited for.
func TestShutdownDuringTheGreeting(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := s.dialSilent()
	eventually(t, "no connection", func() bool { is := false; s.only(func(*conn) { is = true }); return is })
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- s.Shutdown(ctx) }()
	eventually(t, "it is not to end", func() bool { is := false; s.only(func(c *conn) { is = c.ending }); return is })
	c.hello()
	c.ends()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// Shutdown waits for its context, and Close for nobody.
func TestShutdownWaitsNoLonger(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := s.dial()
	c.ask(1, true, get("/")...)
	eventually(t, "no stream", func() bool { is := false; s.only(func(c *conn) { is = len(c.streams) == 1 }); return is })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("no error")
	}
	s.Close()
	c.ends()
}

// An answer that closes the connection has the client come back over another
// one, when all is served.
func TestConnectionClose(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	c := s.dial()
	c.ask(1, true, get("/")...)
	c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameGoAway })
	c.ask(3, true, get("/")...) // on its way
	if got := c.answer(3); got.head != okHead+"content-length: 0\n" {
		t.Errorf("%+v", got)
	}
	c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameGoAway })
	c.ends()
}

// The context of a request ends with the stream and with the connection.
func TestContextsEnd(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	c := s.dial()
	c.ask(1, true, get("/")...)
	<-entered
	_ = c.WriteRSTStream(1, h2.ErrCodeCancel)
	<-ended
	c.ask(3, false, post("/")...)
	<-entered
	_ = c.Close()
	<-ended
}

// Workers that nobody needs end.
func TestWorkersEnd(t *testing.T) {
	var p workers
	for range 8 {
		p.idle = append(p.idle, &worker{next: make(chan *stream, 1)})
	}
	p.age() // nobody knows yet how many are needed
	for want := 4; want > 0; want /= 2 {
		p.age()
		if len(p.idle) != want {
			t.Fatalf("%d are left, not %d", len(p.idle), want)
		}
	}
	p.trim()
	if p.rest(&worker{}) || len(p.idle) > 0 {
		t.Error("they wait on")
	}
}
