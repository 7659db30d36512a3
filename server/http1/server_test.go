package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
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

	"gatehouse/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serving runs a server behind a real socket.
type serving struct {
	*Server
	t    *testing.T
	addr string
}

func serve(t *testing.T, h http.HandlerFunc, change ...func(*Server)) *serving {
	t.Helper()
	s := &Server{Handler: h, Log: slog.New(slog.DiscardHandler), Head: 10 * time.Second, Idle: 10 * time.Second, MaxHead: 32 << 10, Extra: func(int) string { return "X-Extra: yes\r\n" }}
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

// client is a raw client that waits for ten seconds at most.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (s *serving) dial() *client {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{c, s.t, bufio.NewReader(c)}
}

func (c *client) send(text string) *client {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// answer reads one, whose body is not longer than a page.
func (c *client) answer() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(body)
}

// ends fails unless nothing follows.
func (c *client) ends() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Errorf("the connection does not end: %q, %v", rest, err)
	}
}

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func TestRefusals(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused request was served") })
	for in, status := range map[string]int{
		"nonsense\r\n\r\n":                                                                    400,
		"GET / HTTP/1.1\r\n\r\n":                                                              400,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                 400,
		"GET http://a.test/ HTTP/1.1\r\n\r\n":                                                 400,
		"PRI * HTTP/2.0\r\n\r\n":                                                              505,
		"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n":                   501,
		"GET / HTTP/1.1\r\nHost: a.test\r\nExpect: more\r\n\r\n":                              417,
		"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("x", 33<<10) + "\r\n\r\n":    431,
		"GET /" + strings.Repeat("x", 33<<10):                                                 431,
		"GET / HTTP/1.1\r\nHost: a.test\r\n" + strings.Repeat("X: y\r\n", 8<<10) + "\r\nrest": 431,
	} {
		c := s.dial().send(in)
		resp, _ := c.answer()
		if resp.StatusCode != status || !resp.Close || resp.Header.Get("X-Extra") != "yes" {
			t.Errorf("%.60q: %d %v, not %d", in, resp.StatusCode, resp.Header, status)
		}
		c.ends()
	}
}

// Half a head that ends is answered; one that does not come is not waited for.
func TestT123_HeadsHaveADeadline(t *testing.T) {
	s := serve(t, ok, func(s *Server) { s.Head = 300 * time.Millisecond })
	c := s.dial().send("GET / HTTP/1.1\r\n")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if resp, _ := c.answer(); resp.StatusCode != 400 {
		t.Error(resp.Status)
	}
	s.dial().ends()
	s.dial().send("GET / HTTP/1.1\r\nHost: a.te").ends()
	kept := s.dial().send(get)
	kept.answer()
	kept.send("GET / HT").ends()
	long := s.dial().send(get)
	long.answer()
	long.send("GET /" + strings.Repeat("x", 6<<10)).ends()
}

func TestT123_IdleConnectionsEnd(t *testing.T) {
	s := serve(t, ok, func(s *Server) { s.Idle = 300 * time.Millisecond })
	c := s.dial().send(get)
	c.answer()
	c.send(get).answer()
	c.ends()
}

// A head that does not fit the reader is read whole, and what follows it is not
// lost.
func TestLongHeads(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d %s", len(r.Header.Get("X")), b)
	})
	for _, n := range []int{3 << 10, 4 << 10, 4<<10 + 17, 8 << 10, 30 << 10} {
		head := "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nX: " + strings.Repeat("x", n) + "\r\n\r\nhello"
		c := s.dial().send(head + head + get)
		for range 2 {
			if _, body := c.answer(); body != fmt.Sprintf("%d hello", n) {
				t.Errorf("%d: %s", n, body)
			}
		}
		if _, body := c.answer(); body != "0 " {
			t.Error(body)
		}
	}
}

// The context of a request ends when its client leaves, and not when the client
// only says more.
func TestClientsAreMissed(t *testing.T) {
	type state struct {
		path string
		err  error
	}
	served := make(chan state)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		served <- state{r.URL.Path, r.Context().Err()}
		select {
		case <-r.Context().Done():
		case <-time.After(4 * lookEvery):
		}
		served <- state{r.URL.Path, r.Context().Err()}
		ok(w, r)
	})
	for _, text := range []string{get, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"} {
		leaves := s.dial().send(text)
		<-served
		_ = leaves.Close()
		if got := <-served; got.err == nil {
			t.Error("nobody noticed that a client left")
		}
		says := s.dial().send(text)
		<-served
		says.send("GET /more HTTP/1.1\r\nHost: a.test\r\n\r\n")
		for _, want := range []string{"/", "/more"} {
			if got := <-served; got.path != want || got.err != nil {
				t.Errorf("%v, not %s", got, want)
			}
			if _, body := says.answer(); body != "ok" {
				t.Error(body)
			}
			if want == "/" {
				<-served
			}
		}
		says.send(text) // the connection is as good as before
		<-served
		<-served
		says.answer()
	}
}

// A context that was not asked for anything costs no goroutine, and package
// context agrees with it.
func TestRequestContext(t *testing.T) {
	type key struct{}
	c := &wire.Context{Context: context.WithValue(context.Background(), key{}, 1)}
	child, cancel := context.WithCancel(c)
	defer cancel()
	ran := make(chan string, 2)
	c.AfterFunc(func() { ran <- "kept" })
	stop := c.AfterFunc(func() { ran <- "stopped" })
	if !stop() || stop() {
		t.Error("stop")
	}
	if c.Err() != nil || child.Err() != nil || child.Value(key{}) != 1 {
		t.Error("before the end")
	}
	c.End()
	c.End()
	<-child.Done()
	<-c.Done()
	if got := <-ran; got != "kept" || !errors.Is(c.Err(), context.Canceled) || !errors.Is(child.Err(), context.Canceled) {
		t.Error(got, c.Err(), child.Err())
	}
	if c.AfterFunc(func() { ran <- "late" })() {
		t.Error("stopped what had run")
	}
	if got := <-ran; got != "late" {
		t.Error(got)
	}
}

// The client is asked for its body when it is read, and not when it is refused
// without.
func TestExpectContinue(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	const head = " HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	c := s.dial().send("POST /" + head)
	if resp, _ := c.answer(); resp.StatusCode != http.StatusContinue {
		t.Fatal(resp.Status)
	}
	if _, body := c.send("hello").answer(); body != "hello" {
		t.Error(body)
	}
	if resp, _ := c.send("POST /no" + head).answer(); resp.StatusCode != 403 || !resp.Close {
		t.Error(resp.Status, resp.Close)
	}
	c.ends()
}

// What a client sent before and behind a head reaches whoever takes the
// connection over.
func TestHijackLosesNothing(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(4 * lookEvery) // the client is being watched by now
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, errTaken) {
			t.Error(err)
		}
		early, _ := rw.Peek(rw.Reader.Buffered())
		if !bytes.HasPrefix(early, []byte("early")) {
			t.Errorf("%q", early)
		}
		line, err := rw.ReadString('\n')
		_, _ = fmt.Fprintf(c, "%s%v", line, err)
	})
	for _, n := range []int{1, 6 << 10} {
		c := s.dial().send("GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("x", n) + "\r\n\r\nearly ")
		c.send("late\n")
		if got, err := io.ReadAll(c.r); string(got) != "early late\n<nil>" {
			t.Error(string(got), err)
		}
	}
}

// A panic ends the connection, and an answer that was begun stays broken.
func TestPanicsEndTheConnection(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("a bug")
	})
	for _, path := range []string{"/", "/abort"} {
		c := s.dial().send("GET " + path + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		c.ends()
	}
}

// Each answer arrives before its client says anything more, whatever its size.
func TestAnswersAreWhole(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var n, step int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d", &n, &step)
		if r.URL.RawQuery == "length" {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		w.Header().Set("X-Head", strings.Repeat("h", step%(20<<10)))
		for body := bytes.Repeat([]byte("b"), n); len(body) > 0; body = body[min(step, len(body)):] {
			if _, err := w.Write(body[:min(step, len(body))]); err != nil {
				t.Error(err)
			}
		}
	})
	c := s.dial()
	for _, n := range []int{0, 1, 2047, 2048, 2049, 4096, 16 << 10, 16<<10 + 1, 100_000} {
		for _, step := range []int{1 + n/50, 2048, 5000, 40_000, 1 << 20} {
			for _, query := range []string{"", "?length"} {
				c.send(fmt.Sprintf("GET /%d/%d%s HTTP/1.1\r\nHost: a.test\r\n\r\n", n, step, query))
				if resp, body := c.answer(); len(body) != n || strings.Trim(body, "b") != "" || len(resp.Header.Get("X-Head")) != step%(20<<10) {
					t.Errorf("%d in steps of %d%s: %d bytes", n, step, query, len(body))
				}
			}
		}
	}
}

// A shutdown ends who waits, and has who is served finish.
func TestShutdown(t *testing.T) {
	served, goOn := make(chan bool), make(chan bool)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			served <- true
			<-goOn
		}
		ok(w, r)
	})
	idle := s.dial().send(get)
	idle.answer()
	slow := s.dial().send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n")
	<-served
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	idle.ends()
	late := s.dial()
	late.ends()
	done := make(chan error)
	go func() { done <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	goOn <- true
	if resp, body := slow.answer(); body != "ok" || !resp.Close {
		t.Error(body, resp.Header)
	}
	slow.ends()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An early answer to a long upload is read although the client still sends.
func TestRefusedUploads(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // what it always does
		w.(interface{ EndConnection() }).EndConnection()
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	c := s.dial().send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000))
	if resp, _ := c.answer(); resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Error(resp.Status, resp.Close)
	}
	c.ends()
}
