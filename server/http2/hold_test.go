package http2

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
)

// A body whose rest is lost never looks whole, even if all of it had come.
func TestABodyThatIsCutOffHasNoEnd(t *testing.T) {
	read, got := make(chan struct{}), make(chan error, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		read <- struct{}{}
		<-r.Context().Done()
		_, err := io.Copy(io.Discard, r.Body)
		got <- err
	})
	for _, cut := range []func(c *client){
		func(c *client) { _ = c.WriteRSTStream(1, h2.ErrCodeCancel) },
		func(c *client) { _ = c.Close() },
	} {
		c := s.dial()
		c.ask(1, false, post("/")...)
		_ = c.WriteData(1, true, []byte("hello, and the rest"))
		<-read
		cut(c)
		if err := <-got; err == nil {
			t.Error("half a body ends like a whole one")
		}
	}
}

// inLine waits until so many streams wait for the connection's window.
func (s *serving) inLine(n int) {
	s.t.Helper()
	eventually(s.t, "they do not wait", func() bool {
		is := false
		s.only(func(c *conn) { is = len(c.thirsty) == n })
		return is
	})
}

// Who is first in line and cannot take its turn passes it on.
func TestATurnIsPassedOn(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 200_000)) })
	c := s.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 100_000})
	c.ask(1, true, get("/")...)
	s.inLine(1)
	c.ask(3, true, get("/")...)
	s.inLine(2)
	_ = c.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 50_000}) // 15,535 less than it has taken
	s.inLine(1)
	_ = c.WriteWindowUpdate(0, 100_000)
	c.bytesOf(map[uint32]int{3: 50_000})
}

// T125: streams that are reset while they wait for the connection's window are
// not kept.
func TestT125_TheLineForgetsResetStreams(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 70_000)) })
	c := s.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
	go func() { _, _ = io.Copy(io.Discard, c.Conn) }()
	for id := uint32(1); id < 20; id += 2 {
		c.ask(id, true, get("/")...)
		s.inLine(1)
		_ = c.WriteRSTStream(id, h2.ErrCodeCancel)
		s.inLine(0)
	}
}

// T125: answers without a body, and refusals, that nobody reads are not piled
// up.
func TestT125_HeadsNobodyReads(t *testing.T) {
	for name, more := range map[string][]string{"answers": nil, "refusals": {"connection: x"}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/"+strings.Repeat("x", 3000))
				w.WriteHeader(302)
			})
			c := s.dial()
			most, block := 0, c.block(get("/", more...)...)
			for id := uint32(1); id < 4000; id += 2 {
				if c.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}) != nil {
					break // shown the door
				}
				waits := id%64 == 1
				for end := time.Now().Add(time.Second); waits && time.Now().Before(end); time.Sleep(time.Millisecond) {
					s.only(func(c *conn) {
						waits = c.running > 20 // one is writing
						if c.out != nil {
							most = max(most, len(*c.out))
						}
					})
				}
				if waits {
					break // no more of them are served
				}
			}
			if most > 2*heldMost+oweMost {
				t.Errorf("%d bytes are held for a client that reads nothing", most)
			}
		})
	}
}

// slowConn takes its time after each write.
type slowConn struct{ net.Conn }

func (c slowConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	time.Sleep(30 * time.Millisecond)
	return n, err
}

// onPipe is a client at the other end of a connection that holds nothing.
func onPipe(t *testing.T, h http.HandlerFunc, wrap func(net.Conn) net.Conn) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	srv := newServer(h)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(context.Background(), wrap(ours), nil) }()
	t.Cleanup(func() { _ = theirs.Close(); <-done; srv.workers.trim() })
	_ = theirs.SetDeadline(time.Now().Add(10 * time.Second))
	c := newClient(t, theirs)
	said := make(chan struct{})
	go func() { defer close(said); c.hello() }()
	c.until(func(f h2.Frame) bool { s, ok := f.(*h2.SettingsFrame); return ok && s.IsAck() })
	<-said
	return c
}

// A body that comes while its client is asked for it is read.
func TestABodyThatComesWhileAskedFor(t *testing.T) {
	c := onPipe(t, echo, func(c net.Conn) net.Conn { return slowConn{c} })
	c.ask(1, false, post("/", "expect: 100-continue")...)
	c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameHeaders })
	_ = c.WriteData(1, true, []byte("body"))
	if got := c.answer(1); got.body != "-1 body <nil> 0 map[]" {
		t.Errorf("%+v", got)
	}
}

// Who reads a body does not wait until the client hears that it may send more.
func TestReadingABodyWaitsForNoWrite(t *testing.T) {
	read := make(chan error, 1)
	c := onPipe(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	}, func(c net.Conn) net.Conn { return c })
	c.ask(1, false, post("/")...)
	for i := range 30 { // which are worth a frame, and nobody reads it
		_ = c.WriteData(1, i == 29, make([]byte, 16<<10))
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// Pings do not keep a connection that is to end, and what its client hears last
// does not grow.
func TestPingsKeepNothing(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := s.dial()
	c.ask(1, true, get("/")...)
	c.answer(1)
	s.conns.Each((*conn).leave)
	_ = c.WritePing(true, farewellPing)
	c.ask(3, true, get("/")...) // too late
	var last []uint32
	for began := time.Now(); ; {
		f, err := c.ReadFrame()
		if err != nil {
			break
		}
		if g, ok := f.(*h2.GoAwayFrame); ok {
			last = append(last, g.LastStreamID)
		}
		_ = c.WritePing(false, [8]byte{2})
		if time.Since(began) > 5*time.Second {
			t.Fatal("pings keep it")
		}
	}
	if len(last) != 2 || last[0] != windowMost || last[1] != 1 {
		t.Errorf("the last stream was %v", last)
	}
}

// A short body takes little room.
func TestShortBodies(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := s.dial()
	c.ask(1, false, post("/")...)
	_ = c.WriteData(1, false, []byte("short"))
	room := 0
	eventually(t, "no body", func() bool {
		s.only(func(c *conn) {
			for _, st := range c.streams {
				for _, part := range st.body.parts {
					room += cap(*part)
				}
			}
		})
		return room > 0
	})
	if room > 100 {
		t.Errorf("five bytes take %d", room)
	}
}
