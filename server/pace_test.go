package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dialFrames opens an HTTP/2 connection that takes frames as they are.
func (g *gate) dialFrames() (*http2.Framer, net.Conn) {
	g.t.Helper()
	c, err := tls.Dial("tcp", g.addrs.HTTPS, &tls.Config{RootCAs: g.roots, ServerName: testHost, NextProtos: []string{"h2"}})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	return f, c
}

// openStream asks for a page on the client's i-th stream.
func openStream(f *http2.Framer, i int) { open(f, i, "GET", true) }

// openUpload announces a body on it.
func openUpload(f *http2.Framer, i int) { open(f, i, "POST", false) }

func open(f *http2.Framer, i int, method string, whole bool, more ...[2]string) {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, field := range append([][2]string{{":method", method}, {":scheme", "https"}, {":authority", testHost}, {":path", "/"}}, more...) {
		_ = enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // a bytes.Buffer
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: head.Bytes(), EndHeaders: true, EndStream: whole})
}

// until reads frames up to one that is wanted.
func until(t *testing.T, f *http2.Framer, wanted func(http2.Frame) bool) {
	t.Helper()
	for {
		got, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if wanted(got) {
			return
		}
	}
}

// paced is the metric of the same name.
func (g *gate) paced() float64 {
	g.t.Helper()
	all, err := g.reg.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "gatehouse_paced_reads_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	g.t.Fatal("no metric")
	return 0
}

// ping sends pings together, and waits for the answer to the last.
func ping(t *testing.T, f *http2.Framer, c net.Conn, n int) {
	t.Helper()
	var all bytes.Buffer
	out := http2.NewFramer(&all, nil)
	for i := range n {
		_ = out.WritePing(false, [8]byte{byte(i >> 8), byte(i)}) // a bytes.Buffer
	}
	if _, err := all.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	last := [8]byte{byte((n - 1) >> 8), byte(n - 1)}
	until(t, f, func(f http2.Frame) bool { p, ok := f.(*http2.PingFrame); return ok && p.IsAck() && p.Data == last })
}

// T125: frames that ask for nothing, one after another, slow their own
// connection down, more and more; what comes of use pays it back, and earns
// some patience.
func TestT125_FramesOfNoUseAreSlowedDown(t *testing.T) {
	g := start(t, nil)
	f, c := g.dialFrames()
	few := func(n int) {
		t.Helper()
		before := g.paced()
		for range n {
			ping(t, f, c, 1)
		}
		if n := g.paced() - before; n != 0 {
			t.Errorf("%v reads waited, of few", n)
		}
	}
	few(paceFirst / 2)
	const many = 20
	began := time.Now()
	for n := 0; g.paced() < many; n++ {
		if ping(t, f, c, 1); n > 50*paceCredit {
			t.Fatalf("%v reads of %d waited", g.paced(), n)
		}
	}
	if took := time.Since(began); took < many*paceWait {
		t.Errorf("%v reads waited, %v in all", g.paced(), took)
	}
	for i := range 2 * paceCredit / paceServed {
		openStream(f, i)
		until(t, f, func(f http2.Frame) bool { return f.Header().Flags.Has(http2.FlagDataEndStream) })
	}
	few(paceFirst + paceOpened)
}

// T125: a thousand pings fit into one read, which costs as much as many; who
// goes on with them is shown the door.
func TestT125_FramesAreWeighed(t *testing.T) {
	g := start(t, nil)
	f, c := g.dialFrames()
	for n := 0; g.paced() == 0; n++ {
		if n > 2*paceFirst/16 {
			t.Fatalf("no wait after %d KiB of pings", 16*n)
		}
		ping(t, f, c, 16<<10/17)
	}
	go func() { _, _ = io.Copy(io.Discard, c) }() // until it is over
	var err error
	for n := 0; err == nil; n++ {
		if n > 100*paceEnough {
			t.Fatalf("it goes on after %d pings", n*1000)
		}
		var all bytes.Buffer
		out := http2.NewFramer(&all, nil)
		for range 1000 {
			_ = out.WritePing(false, [8]byte{}) // a bytes.Buffer
		}
		_, err = all.WriteTo(c)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("it was kept to the end")
	}
}

// T125: no client that wants something waits, whatever it does much of. What a
// first upload sends ahead of the app may wait a moment, and no more of it.
func TestT125_UsefulTrafficIsNotSlowedDown(t *testing.T) {
	hold := make(chan struct{})
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/hold":
				select {
				case <-hold:
				case <-r.Context().Done():
				}
			case "/echo": // a conversation of small pieces
				w.Header().Set("Content-Type", "application/grpc")
				rc := http.NewResponseController(w)
				buf := make([]byte, 100)
				for {
					n, err := r.Body.Read(buf)
					_, _ = w.Write(buf[:n])
					_ = rc.Flush()
					if err != nil {
						return
					}
				}
			default:
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, strings.Repeat("x", 256<<10))
			}
		})
	})
	defer close(hold)
	c := g.client(true)
	send := func(ctx context.Context, path string, body io.Reader) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+testHost+path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	for name, act := range map[string]func() error{
		"an upload in small pieces": func() error { return send(t.Context(), "/", pieces(600, time.Millisecond)) },
		"a conversation":            func() error { return send(t.Context(), "/echo", pieces(300, time.Millisecond)) },
		"a page that is left while it loads": func() error {
			ctx, leave := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() { _ = send(ctx, "/hold", nil) }) // ends with the page
			}
			for g.watching() < 100 {
				time.Sleep(time.Millisecond)
			}
			leave()
			all.Wait()
			return send(t.Context(), "/", nil)
		},
		"many requests": func() error {
			var errs [100]error
			var all sync.WaitGroup
			for i := range errs {
				all.Go(func() { errs[i] = send(t.Context(), "/", nil) })
			}
			all.Wait()
			return errors.Join(errs[:]...)
		},
	} {
		c.CloseIdleConnections() // each begins with a connection that has saved nothing
		if err := act(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := g.paced(); n != 0 {
			t.Fatalf("%s: %v reads waited", name, n)
		}
	}
	c.CloseIdleConnections()
	for range 2 {
		if err := send(t.Context(), "/", bytes.NewReader(make([]byte, 4<<20))); err != nil {
			t.Errorf("an upload: %v", err)
		}
	}
	const ahead = 16 // reads before the server knows what it is
	if n := g.paced(); n > ahead {
		t.Errorf("an upload: %v reads waited", n)
	}
	before := g.paced()
	if err := send(t.Context(), "/", bytes.NewReader(make([]byte, 4<<20))); err != nil || g.paced() != before {
		t.Errorf("a further upload: %v, %v reads waited", err, g.paced()-before)
	}
}

// T125: a body that nobody reads is no flood. What its client sent before it
// knew holds nobody up.
func TestT125_RefusedUploadsAreNotSlowedDown(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	})
	f, c := g.dialFrames()
	openStream(f, 0)
	until(t, f, func(f http2.Frame) bool {
		return f.Header().Flags.Has(http2.FlagDataEndStream) || f.Header().Flags.Has(http2.FlagHeadersEndStream)
	})
	openUpload(f, 1)
	until(t, f, func(f http2.Frame) bool { return f.Header().StreamID == 3 && f.Header().Type == http2.FrameHeaders })
	var all bytes.Buffer
	out := http2.NewFramer(&all, nil)
	for range 63 { // a window, but for what its client may not know
		_ = out.WriteData(3, false, make([]byte, 16<<10)) // a bytes.Buffer
	}
	if _, err := all.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	ping(t, f, c, 1)
	if n := g.paced(); n != 0 {
		t.Errorf("%v reads waited", n)
	}
}

// Whoever asks the admin listener, often and over one connection, does not wait.
func TestAdminConnectionsAreNotSlowedDown(t *testing.T) {
	g := start(t, nil)
	for range 2 * paceCredit {
		resp, err := http.Get("http://" + g.addrs.Admin + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is kept
		_ = resp.Body.Close()
	}
	if n := g.paced(); n != 0 {
		t.Errorf("%v reads waited", n)
	}
}

// watching counts the requests in progress that are watched.
func (g *gate) watching() int {
	n := 0
	for i := range g.watch.shards {
		s := &g.watch.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// pieces is a body that comes in n pieces.
func pieces(n int, pause time.Duration) io.Reader {
	r, w := io.Pipe()
	go func() {
		for i := range n {
			if _, err := fmt.Fprintf(w, "piece %d of a body", i); err != nil {
				return
			}
			time.Sleep(pause)
		}
		_ = w.Close()
	}()
	return r
}
