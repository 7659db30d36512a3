package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
)

// bytesOf counts what comes of streams until all of it did.
func (c *client) bytesOf(want map[uint32]int) map[uint32]int {
	c.t.Helper()
	got := map[uint32]int{}
	c.until(func(f h2.Frame) bool {
		if d, ok := f.(*h2.DataFrame); ok {
			got[d.StreamID] += len(d.Data())
		}
		for id, n := range want {
			if got[id] < n {
				return false
			}
		}
		return true
	})
	return got
}

// quiet fails if data comes; it asks for a ping's answer, which does.
func (c *client) quiet() {
	c.t.Helper()
	time.Sleep(20 * time.Millisecond) // what should not come would have
	_ = c.WritePing(false, [8]byte{1})
	c.until(func(f h2.Frame) bool {
		if d, ok := f.(*h2.DataFrame); ok && len(d.Data()) > 0 {
			c.t.Errorf("%d bytes of stream %d come unasked", len(d.Data()), d.StreamID)
		}
		p, ok := f.(*h2.PingFrame)
		return ok && p.IsAck()
	})
}

// An answer is sent as far as the client's windows go, of the stream and of the
// connection (RFC 9113 section 5.2).
func TestWindowsOfTheClient(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100_000)) })
	c := s.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 10})
	c.ask(1, true, get("/")...)
	c.bytesOf(map[uint32]int{1: 10})
	c.quiet()
	_ = c.WriteWindowUpdate(1, 5)
	c.bytesOf(map[uint32]int{1: 5})
	c.quiet()
	_ = c.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 110}) // 100 more for each
	c.bytesOf(map[uint32]int{1: 100})
	c.quiet()
	_ = c.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 0}) // 110 less: below nothing
	_ = c.WriteWindowUpdate(1, 110)
	c.quiet()
	_ = c.WriteWindowUpdate(1, 1<<20) // now it is the connection's
	c.bytesOf(map[uint32]int{1: 65535 - 115})
	c.quiet()
	_ = c.WriteWindowUpdate(0, 1<<20)
	c.until(func(f h2.Frame) bool { return f.Header().Flags.Has(h2.FlagDataEndStream) })
}

// The connection's window is shared: whoever waited for longest is first, and
// one that is reset meanwhile takes nothing.
func TestTheConnectionsWindowIsShared(t *testing.T) {
	const most = 100_000
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, most)) })
	c := s.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
	for id := uint32(1); id <= 9; id += 2 {
		c.ask(id, true, get("/")...)
	}
	left := 5 * most
	total := 0
	count := func(f h2.Frame) {
		if d, ok := f.(*h2.DataFrame); ok {
			total += len(d.Data())
		}
	}
	c.until(func(f h2.Frame) bool { count(f); return total == 65535 })
	eventually(t, "not all wait", func() bool {
		waiting := 0
		s.only(func(c *conn) {
			for _, st := range c.streams {
				if st.waits {
					waiting++
				}
			}
		})
		return waiting >= 4
	})
	got := map[uint32]int{}
	for range 8 {
		_ = c.WriteWindowUpdate(0, 1000)
		before := total
		c.until(func(f h2.Frame) bool {
			if d, ok := f.(*h2.DataFrame); ok {
				got[d.StreamID] += len(d.Data())
			}
			count(f)
			return total == before+1000
		})
	}
	if len(got) < 4 {
		t.Errorf("8 times 1000 bytes went to %v", got)
	}
	_ = c.WriteRSTStream(5, h2.ErrCodeCancel)
	_ = c.WriteWindowUpdate(0, uint32(left))
	ends := 0
	c.until(func(f h2.Frame) bool {
		if f.Header().Flags.Has(h2.FlagDataEndStream) && f.Header().Type == h2.FrameData {
			ends++
		}
		return ends == 4
	})
}

// What a client may send is allowed again whatever became of it: read, left
// unread, padding, for a stream that was reset, refused or answered early.
func TestWindowsForTheClientComeBack(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/read":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/closed":
			_ = r.Body.Close()
			<-r.Context().Done()
		case "/wait":
			<-r.Context().Done()
		}
	})
	c := s.dial()
	window, streams := connWindow, map[uint32]int{}
	id := uint32(1)
	allowed := func(f h2.Frame) {
		if u, ok := f.(*h2.WindowUpdateFrame); ok {
			if u.StreamID == 0 {
				window += int(u.Increment)
			} else {
				streams[u.StreamID] += int(u.Increment)
			}
		}
	}
	first := true
	for _, path := range []string{"/read", "/early", "/closed", "/wait", "/read"} {
		c.ask(id, false, post(path)...)
		for range 50 {
			piece := make([]byte, 16<<10-100)
			if len(piece)+100 > window {
				c.until(func(f h2.Frame) bool {
					if u, ok := f.(*h2.WindowUpdateFrame); ok && first && u.StreamID == 0 { // hello's own
						first = false
						return false
					}
					allowed(f)
					return len(piece)+100 <= window
				})
			}
			window -= len(piece) + 100
			if err := c.WriteDataPadded(id, false, piece, make([]byte, 99)); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.WriteRSTStream(id, h2.ErrCodeCancel)
		id += 2
	}
	eventually(t, "not all is allowed again", func() bool {
		var left int64
		s.only(func(c *conn) { left = c.inflow.left + c.inflow.read })
		return left == connWindow
	})
}

// A client is told of its room before it has none left, however much of the
// window is held by bodies nobody reads.
func TestAClientWithLittleLeftIsToldSoon(t *testing.T) {
	for _, c := range []struct{ left, give, allow int64 }{
		{windowSize, renewAfter - 1, 0},
		{windowSize, renewAfter, renewAfter},
		{100_000, 99_999, 0},
		{100_000, 100_000, 100_000},
		{0, renewSoon - 1, 0}, // and not by a frame for each byte
		{0, renewSoon, renewSoon},
	} {
		f := inflow{left: c.left}
		if got := f.give(c.give); got != c.allow || f.left != c.left+c.allow || f.read != c.give-c.allow {
			t.Errorf("with %d left, %d of %d that were read are allowed again: %+v", c.left, got, c.give, f)
		}
	}
}

// An app that reads nothing stops the request it has, and not the ones beside it
// on the connection.
func TestABodyNobodyReadsStopsNoOther(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	})
	c := s.dial()
	room := map[uint32]int{0: firstWindow, 3: windowSize}
	upload := func(id uint32, n int) {
		for ; n > 0; n -= chunkSize {
			for min(room[id], room[0]) < chunkSize {
				c.until(func(f h2.Frame) bool {
					u, ok := f.(*h2.WindowUpdateFrame)
					if ok {
						room[u.StreamID] += int(u.Increment)
					}
					return ok
				})
			}
			room[id] -= chunkSize
			room[0] -= chunkSize
			_ = c.WriteData(id, n == chunkSize, make([]byte, chunkSize))
		}
	}
	c.ask(1, false, post("/wait")...)
	for range windowSize / chunkSize {
		_ = c.WriteData(1, false, make([]byte, chunkSize))
	}
	room[0] -= windowSize
	c.ask(3, false, post("/read")...)
	upload(3, 3*windowSize)
	if got := c.answer(3); got.body != fmt.Sprint(3*windowSize, nil) {
		t.Errorf("%+v", got)
	}
}

// A body that is read may be as long as it likes.
func TestBodiesBeyondTheWindow(t *testing.T) {
	begin := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-begin
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	})
	c := s.dial()
	c.ask(1, false, post("/")...)
	go func() {
		for range 64 {
			_ = c.WriteData(1, false, make([]byte, 16<<10)) // just what the window has
		}
		close(begin)
	}()
	var total int
	c.until(func(f h2.Frame) bool {
		if u, ok := f.(*h2.WindowUpdateFrame); ok && u.StreamID == 1 {
			total += int(u.Increment)
		}
		return total > windowSize-renewAfter // all but what is not worth a frame
	})
	_ = c.WriteData(1, true, nil)
	if got := c.answer(1); got.body != fmt.Sprint(windowSize, nil) {
		t.Errorf("%+v", got)
	}
}

// T125: more than a stream may send is its fault, and the connection's room
// comes back.
func TestT125_AStreamsWindowIsHeldTo(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := s.dial()
	c.ask(1, false, post("/")...)
	eventually(t, "no stream", func() bool {
		is := false
		s.only(func(c *conn) {
			if st := c.streams[1]; st != nil {
				st.body.inflow.left = 1000
				is = true
			}
		})
		return is
	})
	_ = c.WriteData(1, false, make([]byte, 1001))
	if got := c.answer(1); got.reset != "FLOW_CONTROL_ERROR" {
		t.Errorf("%+v", got)
	}
	s.only(func(c *conn) {
		if c.inflow.left+c.inflow.read != connWindow {
			t.Errorf("%d and %d are left of the connection's window", c.inflow.left, c.inflow.read)
		}
	})
}

// T125, CVE-2023-44487: requests that are taken back while their handlers run
// on wait for them, and too many end the connection.
func TestT125_RequestsTakenBackWait(t *testing.T) {
	release := make(chan struct{})
	served := make(chan struct{}, 1000)
	s := serve(t, func(http.ResponseWriter, *http.Request) { served <- struct{}{}; <-release }, func(s *Server) { s.Streams = 10 })
	c := s.dial()
	for i := range 60 {
		c.ask(uint32(2*i+1), true, get("/")...)
		_ = c.WriteRSTStream(uint32(2*i+1), h2.ErrCodeCancel)
	}
	if got := c.answer(99); got.gone != "ENHANCE_YOUR_CALM" {
		t.Errorf("%+v", got)
	}
	close(release)
	eventually(t, "handlers are left", func() bool { return len(served) == 10 })
	time.Sleep(20 * time.Millisecond)
	if n := len(served); n != 10 {
		t.Errorf("%d were served", n)
	}
}

// Streams that waited for a handler get one, those taken back do not.
func TestQueuedStreamsAreServed(t *testing.T) {
	release := make(chan struct{})
	served := make(chan string, 100)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { served <- r.URL.Path; <-release }, func(s *Server) { s.Streams = 2 })
	c := s.dial()
	for i, path := range []string{"/a", "/b"} {
		c.ask(uint32(2*i+1), true, get(path)...)
		<-served
		_ = c.WriteRSTStream(uint32(2*i+1), h2.ErrCodeCancel)
	}
	c.ask(5, true, get("/back")...)
	c.ask(7, true, get("/stays")...)
	_ = c.WriteRSTStream(5, h2.ErrCodeCancel)
	_ = c.WritePing(false, [8]byte{})
	c.until(func(f h2.Frame) bool { p, ok := f.(*h2.PingFrame); return ok && p.IsAck() })
	close(release)
	if got := c.answer(7); !strings.HasPrefix(got.head, okHead) || <-served != "/stays" || len(served) > 0 {
		t.Errorf("%+v", got)
	}
}

// T125, CVE-2019-9512, CVE-2019-9515: who reads no acknowledgements is shown
// the door.
func TestT125_AcknowledgementsNobodyReads(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := s.dial()
	var pings bytes.Buffer
	out := h2.NewFramer(&pings, nil)
	for range 1000 {
		_ = out.WritePing(false, [8]byte{})
	}
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		_, err = c.Conn.Write(pings.Bytes())
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a million pings are waited for")
	}
	eventually(t, "the connection is kept", func() bool {
		kept := false
		s.only(func(*conn) { kept = true })
		return !kept
	})
}

// A client that wants a smaller table of fields hears that ours is empty, as RFC
// 7541 section 4.2 has it, or may call the connection broken.
func TestTheTableOfFieldsIsEmpty(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "b") })
	c := s.dial(h2.Setting{ID: h2.SettingHeaderTableSize, Val: 0})
	c.dec.SetMaxDynamicTableSize(0)
	for id := uint32(1); id <= 3; id += 2 {
		c.ask(id, true, get("/")...)
		f := c.until(func(f h2.Frame) bool { return f.Header().Type == h2.FrameHeaders }).(*h2.HeadersFrame)
		if b := f.HeaderBlockFragment(); (b[0] == noTable) != (id == 1) {
			t.Errorf("stream %d: the block begins with %x", id, b[0])
		}
	}
}

// A head longer than a frame goes on in others.
func TestLongHeads(t *testing.T) {
	long := strings.Repeat("z", 70_000)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", long) })
	c := s.dial()
	c.dec.SetMaxStringLength(1 << 20)
	c.ask(1, true, get("/")...)
	if got := c.answer(1); got.head != okHead+"x-long: "+long+"\ncontent-length: 0\n" {
		t.Errorf("%.100v", got)
	}
}

// An answer is waited for until it begins or comes to nobody: one that goes on,
// as an event stream does, holds up no other.
func TestAnswersThatBeganAreNotWaitedFor(t *testing.T) {
	leave := make(chan struct{})
	begun := make(chan struct{}, 8)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			_ = http.NewResponseController(w).Flush()
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
		case "/panic":
			panic(http.ErrAbortHandler)
		}
		begun <- struct{}{}
		if r.URL.Path != "/now" {
			<-leave
		}
	})
	unanswered := func() (n int) {
		s.only(func(c *conn) { n = c.unanswered })
		return n
	}
	c := s.dial()
	c.ask(1, true, get("/events")...)
	<-begun
	c.ask(3, true, get("/now")...)
	<-begun
	c.answer(3)
	c.ask(5, true, get("/panic")...)
	c.answer(5)
	if n := unanswered(); n != 0 {
		t.Errorf("%d answers are waited for that have begun", n)
	}
	c.ask(7, true, get("/early")...)
	<-begun
	c.ask(9, true, get("/late")...)
	<-begun
	if n := unanswered(); n != 2 {
		t.Errorf("%d answers are waited for, of two", n)
	}
	_ = c.WriteRSTStream(9, h2.ErrCodeCancel)
	_ = c.WritePing(false, [8]byte{1})
	c.until(func(f h2.Frame) bool { p, is := f.(*h2.PingFrame); return is && p.IsAck() })
	if n := unanswered(); n != 1 {
		t.Errorf("%d answers are waited for, of one", n)
	}
	close(leave)
	c.answer(7)
	if n := unanswered(); n != 0 {
		t.Errorf("%d answers are waited for, of none", n)
	}
}
