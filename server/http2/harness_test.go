package http2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serving runs a server behind a real socket.
type serving struct {
	*Server
	t    *testing.T
	addr string
}

func newServer(h http.HandlerFunc) *Server {
	return &Server{
		Handler: h, Log: slog.New(slog.DiscardHandler), Head: 10 * time.Second, Idle: 10 * time.Second, Silence: time.Minute, Answer: time.Minute, MaxHead: 32 << 10, Streams: 100,
		Extra: func(_ int, h http.Header) { h["X-Extra"] = []string{"yes"} },
	}
}

func serve(t *testing.T, h http.HandlerFunc, change ...func(*Server)) *serving {
	t.Helper()
	s := newServer(h)
	for _, f := range change {
		f(s)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { s.Run(ctx) })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10) // so that a client that does not read is noticed
			all.Go(func() { s.Serve(ctx, c, nil) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.Close()
		cancel()
		all.Wait()
	})
	return &serving{s, t, l.Addr().String()}
}

// client speaks frames, and waits for ten seconds at most.
type client struct {
	*h2.Framer
	net.Conn
	t    *testing.T
	enc  *hpack.Encoder
	head bytes.Buffer
	dec  *hpack.Decoder
}

// dial says hello, and that it takes whatever settings the server has.
func (s *serving) dial(settings ...h2.Setting) *client {
	s.t.Helper()
	c := s.dialSilent()
	c.hello(settings...)
	return c
}

func (c *client) hello(settings ...h2.Setting) {
	_, _ = io.WriteString(c.Conn, h2.ClientPreface)
	_ = c.WriteSettings(settings...)
	_ = c.WriteSettingsAck()
}

// block encodes "name: value" lines.
func (c *client) block(lines ...string) []byte {
	c.head.Reset()
	for _, line := range lines {
		at := strings.Index(line[1:], ":") + 1
		_ = c.enc.WriteField(hpack.HeaderField{Name: line[:at], Value: strings.TrimPrefix(line[at+1:], " ")})
	}
	return bytes.Clone(c.head.Bytes())
}

func get(path string, more ...string) []string {
	return append([]string{":method: GET", ":scheme: https", ":authority: a.test", ":path: " + path}, more...)
}

func post(path string, more ...string) []string {
	return append([]string{":method: POST", ":scheme: https", ":authority: a.test", ":path: " + path}, more...)
}

// ask sends a head, and says whether that was all.
func (c *client) ask(id uint32, end bool, lines ...string) {
	_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(lines...), EndHeaders: true, EndStream: end})
}

// answer is what came on a stream.
type answer struct {
	interim  []string // heads
	head     string   // its lines, without Date
	body     string
	trailers string
	reset    string // code; empty without
	gone     string // code of the connection's end; empty without
}

// until reads frames until one is wanted.
func (c *client) until(wanted func(h2.Frame) bool) h2.Frame {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatalf("what is waited for does not come: %v", err)
		}
		if wanted(f) {
			return f
		}
	}
}

// answer reads until a stream has ended, or the connection.
func (c *client) answer(id uint32) (a answer) {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			if a.gone == "" {
				a.gone = "cut"
			}
			return a
		}
		switch f := f.(type) {
		case *h2.GoAwayFrame:
			if f.ErrCode != h2.ErrCodeNo {
				a.gone = f.ErrCode.String()
				return a
			}
		case *h2.HeadersFrame:
			lines := c.lines(f)
			if f.StreamID != id {
				continue
			}
			switch {
			case strings.HasPrefix(lines, ":status: 1"):
				a.interim = append(a.interim, lines)
			case a.head == "":
				a.head = lines
			default:
				a.trailers = lines
			}
		case *h2.DataFrame:
			if f.StreamID == id {
				a.body += string(f.Data())
			}
		case *h2.RSTStreamFrame:
			if f.StreamID == id {
				a.reset = f.ErrCode.String()
				return a
			}
		}
		if h := f.Header(); h.StreamID == id && (h.Type == h2.FrameData || h.Type == h2.FrameHeaders) && h.Flags.Has(h2.FlagDataEndStream) {
			return a
		}
	}
}

// lines decodes a header block that is one frame, or more.
func (c *client) lines(f *h2.HeadersFrame) string {
	var b strings.Builder
	c.dec.SetEmitFunc(func(f hpack.HeaderField) {
		if f.Name != "date" {
			fmt.Fprintf(&b, "%s: %s\n", f.Name, f.Value)
		}
	})
	_, err := c.dec.Write(f.HeaderBlockFragment())
	for ended := f.HeadersEnded(); !ended && err == nil; {
		var next h2.Frame
		if next, err = c.ReadFrame(); err == nil {
			more := next.(*h2.ContinuationFrame)
			_, err = c.dec.Write(more.HeaderBlockFragment())
			ended = more.HeadersEnded()
		}
	}
	if err != nil {
		c.t.Errorf("header block: %v", err)
	}
	return b.String()
}

// ends fails unless the connection ends by itself.
func (c *client) ends() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.Conn); err != nil {
		c.t.Errorf("the connection does not end: %v", err)
	}
}

// eventually waits for what is to come true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// only is the one connection of a server, locked for a look.
func (s *serving) only(look func(c *conn)) {
	s.conns.Each(func(c *conn) {
		c.mu.Lock()
		defer c.mu.Unlock()
		look(c)
	})
}

// dialSilent says nothing.
func (s *serving) dialSilent() *client {
	s.t.Helper()
	nc, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	return newClient(s.t, nc)
}

func newClient(t *testing.T, nc net.Conn) *client {
	c := &client{Framer: h2.NewFramer(nc, nc), Conn: nc, t: t, dec: hpack.NewDecoder(4096, nil)}
	c.enc = hpack.NewEncoder(&c.head)
	c.AllowIllegalWrites = true
	return c
}
