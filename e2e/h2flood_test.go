package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gatehouse/internal/gatetest"
)

// rawH2 is an HTTP/2 connection without any of a client's manners.
type rawH2 struct {
	*http2.Framer
	conn net.Conn
	enc  *hpack.Encoder
	head bytes.Buffer
}

func dialH2(ctx context.Context, t *testing.T, g *gatetest.Gate) (*rawH2, error) {
	t.Helper()
	raw, err := g.Dial(ctx, "tcp", "")
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, attackerTLS("h2"))
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &rawH2{Framer: http2.NewFramer(conn, conn), conn: conn}
	c.enc = hpack.NewEncoder(&c.head)
	return c, c.WriteSettings()
}

// get encodes a GET of a path.
func (c *rawH2) get(path string) []byte {
	return c.fields(hpack.HeaderField{Name: ":method", Value: "GET"}, hpack.HeaderField{Name: ":scheme", Value: "https"},
		hpack.HeaderField{Name: ":authority", Value: "open.test"}, hpack.HeaderField{Name: ":path", Value: path})
}

func (c *rawH2) fields(fields ...hpack.HeaderField) []byte {
	c.head.Reset()
	for _, f := range fields {
		_ = c.enc.WriteField(f) // a bytes.Buffer
	}
	return bytes.Clone(c.head.Bytes())
}

// discard reads what the server says until the connection ends.
func (c *rawH2) discard() { _, _ = io.Copy(io.Discard, c.conn) }

// goodbye reads until the server says why it ends the connection.
func (c *rawH2) goodbye() (code string, said bool) {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return "", false
		}
		if bye, ok := f.(*http2.GoAwayFrame); ok {
			return bye.ErrCode.String(), true
		}
	}
}

// attackers runs one attack on n connections at a time, each until the gate has
// ended it or it has done its share; at full size they come again.
func attackers(ctx context.Context, t *testing.T, g *gatetest.Gate, n int, attack func(c *rawH2)) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for again := true; again; again = gatetest.Full() && ctx.Err() == nil {
				c, err := dialH2(ctx, t, g)
				if err != nil {
					return // the flood is over
				}
				attack(c)
				_ = c.conn.Close()
			}
		})
	}
	wg.Wait()
}

// resetFifties opens and resets fifty streams by one write, and again when the
// gate has seen to those.
func (c *rawH2) resetFifties(rounds int) {
	_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
	var all bytes.Buffer
	out := http2.NewFramer(&all, nil)
	for i := range 50 * rounds {
		id := uint32(2*i + 1)
		_ = out.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.get("/"), EndHeaders: true, EndStream: true})
		_ = out.WriteRSTStream(id, http2.ErrCodeCancel)
		if i%50 < 49 {
			continue
		}
		_ = out.WritePing(false, [8]byte{})
		if _, err := all.WriteTo(c.conn); err != nil {
			return // shown the door
		}
		for seen := false; !seen; {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			p, ok := f.(*http2.PingFrame)
			seen = ok && p.IsAck()
		}
	}
}

// toItsEnd lets a flood of an everyday run, which is short, do its share.
func toItsEnd(ctx context.Context) context.Context {
	if gatetest.Full() {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// slowed wants that reads of a flood had to wait.
func slowed(t *testing.T, g *gatetest.Gate) {
	t.Helper()
	if strings.Contains(metrics(t, g), "gatehouse_paced_reads_total 0\n") {
		t.Error("no read of the flood had to wait")
	}
}

// T125, CVE-2023-39325: streams are opened and reset at once, far more than
// may be open at a time. Every second attacker has no more under way than may
// be, which only its account of frames without use tells from a client.
func TestT125_RapidReset(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	var n atomic.Int64
	withstandAgain(t, g, func(ctx context.Context) {
		attackers(toItsEnd(ctx), t, g, 4, func(c *rawH2) {
			if n.Add(1)%2 == 0 {
				c.resetFifties(gatetest.Scale(40, 4000))
				return
			}
			go c.discard()
			for i := range gatetest.Scale(2000, 200_000) {
				id := uint32(2*i + 1)
				if c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.get("/"), EndHeaders: true, EndStream: true}) != nil ||
					c.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
					return // shown the door
				}
			}
		})
	})
	slowed(t, g)
}

// T125, CVE-2023-45288: a header block that never ends.
func TestT125_ContinuationFlood(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	const most = 16 << 20 // what the sockets hold besides is the system's
	var mu sync.Mutex
	var ended []int
	said := newTally()
	withstandAgain(t, g, func(ctx context.Context) {
		attackers(toItsEnd(ctx), t, g, 4, func(c *rawH2) {
			go func() {
				if code, ok := c.goodbye(); ok {
					said.add(code)
				}
			}()
			sent := 0
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, sent)
			}()
			if c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.get("/"), EndStream: true}) != nil {
				return
			}
			block := c.fields(hpack.HeaderField{Name: "x-flood", Value: strings.Repeat("x", 8<<10), Sensitive: true})
			for sent <= most && c.WriteContinuation(1, false, block) == nil {
				sent += len(block)
			}
		})
	})
	said.only(t, "PROTOCOL_ERROR")
	for _, n := range ended {
		if n > most {
			t.Errorf("%d MiB of one header block were read", n>>20)
		}
	}
}

// T125: control frames that each want an answer, from a peer that reads none: it
// is shown the door.
func TestT125_PingAndSettingsFlood(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	var many bytes.Buffer
	out := http2.NewFramer(&many, nil)
	for i := range 100 {
		_ = out.WritePing(false, [8]byte{byte(i)})
		_ = out.WriteSettings()
	}
	var kept atomic.Int64
	withstandAgain(t, g, func(ctx context.Context) {
		attackers(toItsEnd(ctx), t, g, 4, func(c *rawH2) {
			_ = c.conn.SetWriteDeadline(time.Now().Add(time.Minute))
			var err error
			for i := 0; i < 20_000 && err == nil; i++ { // far more than the sockets hold answers to
				_, err = c.conn.Write(many.Bytes())
			}
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				kept.Add(1)
			}
		})
	})
	if n := kept.Load(); n > 0 {
		t.Errorf("%d peers that read no answer were kept", n)
	}
}

// T125: a peer opens as many streams as it may and takes nothing of the
// answers. More are refused, and others do not wait for it.
func TestT125_StreamsNobodyReads(t *testing.T) {
	alone(t)
	body := strings.Repeat("x", 256<<10)
	up := gatetest.NewUpstreamFunc(t, func(head string) string {
		if strings.HasPrefix(head, "GET /big") {
			return "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n" + body
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp"
	})
	g := gatetest.Start(t, floods(t, up.URL()))
	refused := newTally()
	withstandAgain(t, g, func(ctx context.Context) {
		attackers(toItsEnd(ctx), t, g, gatetest.Scale(2, 20), func(c *rawH2) {
			_ = c.conn.SetDeadline(time.Now().Add(time.Minute))
			for i := range 150 {
				if c.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: c.get("/big"), EndHeaders: true, EndStream: true}) != nil {
					return
				}
			}
			for {
				f, err := c.ReadFrame()
				if err != nil {
					return
				}
				if r, ok := f.(*http2.RSTStreamFrame); ok {
					refused.add(r.ErrCode.String())
					context.AfterFunc(ctx, func() { _ = c.conn.Close() }) // the flood is over, now or later
				}
			}
		})
	})
	refused.only(t, "REFUSED_STREAM")
}
