package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

func TestT053_FramingTheAppMayNotShareIsRefused(t *testing.T) {
	for name, head := range map[string]string{
		"both framings":                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"both framings, other case":    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"chunked in HTTP/1.0":          "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"two lengths":                  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"a list of lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
		"a signed length":              "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
		"a negative length":            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"an encoding nobody decodes":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"two encodings":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"a space before the colon":     "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
		"a name that is no token":      "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 3\r\n\r\nabc",
		"an empty name":                "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 3\r\n\r\nabc",
		"a bare CR in a value":         "HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\nabc",
		"a NUL in a value":             "HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 3\r\n\r\nabc",
		"a continuation before a line": "HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 3\r\n\r\nabc",
		"another protocol":             "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"HTTP/2":                       "HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"a status of two digits":       "HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\nabc",
		"a signed status":              "HTTP/1.1 +20 OK\r\nContent-Length: 3\r\n\r\nabc",
		"a status below 100":           "HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nabc",
		"no status":                    "\r\nContent-Length: 3\r\n\r\nabc",
		"an upgrade nobody asked for":  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, answering(head))
			g := a.group()
			for range 2 {
				wantErr(t, get(t, g, "/"), ErrProtocol)
			}
			if n := a.conns.Load(); n != 2 {
				t.Errorf("%d connections for 2 requests: one was used again", n)
			}
		})
	}
}

func TestT053_WhatFollowsAnAnswerIsNobodysAnswer(t *testing.T) {
	const junk = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, first := range map[string]string{
		"after a length":              okAnswer + junk,
		"after chunks":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + junk,
		"after an empty body":         "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + junk,
		"after 204":                   "HTTP/1.1 204 No Content\r\n\r\n" + junk,
		"a body of a 204":             "HTTP/1.1 204 No Content\r\nContent-Length: 57\r\n\r\n" + junk,
		"a body of a 304":             "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n" + junk,
		"after HTTP/1.0":              "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok" + junk,
		"after a head over 16 KiB":    "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("a", 20<<10) + "\r\nContent-Length: 2\r\n\r\nok" + junk,
		"after Connection: close":     "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok" + junk,
		"a length that is too short":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"a second final after 1xx":    "HTTP/1.1 103 Early Hints\r\n\r\n" + okAnswer + junk,
		"a single byte":               okAnswer + "x",
		"an empty line and an answer": okAnswer + "\r\n" + junk,
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, n int) {
				for i := 0; a.request(r) != ""; i++ {
					if n == 1 && i == 0 {
						_, _ = io.WriteString(c, first)
					} else {
						_, _ = io.WriteString(c, okAnswer)
					}
				}
			})
			g := a.group()
			if o := get(t, g, "/1"); o.err != nil || strings.Contains(o.body, "poison") {
				t.Fatalf("%d %q %v", o.status, o.body, o.err)
			}
			for range 3 {
				wantOK(t, get(t, g, "/2"), "ok")
			}
			if got := a.conns.Load(); got != 2 {
				t.Errorf("%d connections, want a second one for what follows", got)
			}
		})
	}
}

// A record that crypto/tls read along with the answer is invisible in the
// socket, and must still keep the connection from being used again.
func TestT053_BytesHeldByTLSKeepAConnectionFromReuse(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer srv.Close()
	a := newApp(t, func(a *app, c net.Conn, _ *bufio.Reader, n int) {
		held := &coalesced{Conn: c}
		s := tls.Server(held, &tls.Config{Certificates: srv.TLS.Certificates})
		r := bufio.NewReader(s)
		for a.request(r) != "" {
			_, _ = io.WriteString(s, okAnswer)
			if n == 1 {
				_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
			}
			_ = held.flush()
		}
	})
	g := a.group(func(o *Options) { o.URLs[0].Scheme = "https" })
	trust(g, func(c *tls.Config) {
		c.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		c.ServerName = "example.com"
	})
	wantOK(t, get(t, g, "/1"), "ok")
	wantOK(t, get(t, g, "/2"), "ok")
	wantOK(t, get(t, g, "/3"), "ok")
	if n := a.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2: the first was poisoned, the second was not", n)
	}
}

func TestT053_AByteOnAnIdleConnectionClosesIt(t *testing.T) {
	speak, spoken := make(chan struct{}), make(chan struct{})
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, n int) {
		for a.request(r) != "" {
			_, _ = io.WriteString(c, okAnswer)
			if n == 1 {
				<-speak
				_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
				close(spoken)
				_, _ = io.Copy(io.Discard, r)
				return
			}
		}
	})
	g := a.group()
	wantOK(t, get(t, g, "/1"), "ok")
	cn := g.addrs[0].client.(*client).idle[0]
	close(speak)
	<-spoken
	eventually(t, "the byte is seen", func() bool { return !cn.quiet() })
	wantOK(t, get(t, g, "/2"), "ok")
	if n := a.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestIdleConnectionsThatEndedAreSwept(t *testing.T) {
	end := make(chan struct{})
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
		a.request(r)
		_, _ = io.WriteString(c, okAnswer)
		<-end
	})
	g := a.group()
	wantOK(t, get(t, g, "/"), "ok")
	c := g.addrs[0].client.(*client)
	c.sweep()
	if len(c.idle) != 1 || c.sweeps == nil {
		t.Fatalf("%d connections after a sweep of a good one, timer %v", len(c.idle), c.sweeps)
	}
	close(end)
	eventually(t, "the end is seen", func() bool {
		c.sweep()
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.idle) == 0 && c.sweeps == nil
	})
}

func TestT054_OnlyWhatCannotRunTwiceIsSentAgain(t *testing.T) {
	body := func() io.ReadCloser { return io.NopCloser(strings.NewReader("x")) }
	for _, tc := range []struct {
		name  string
		r     Request
		again bool
	}{
		{"GET", Request{Method: "GET"}, true},
		{"HEAD", Request{Method: "HEAD"}, true},
		{"PROPFIND without a body", Request{Method: "PROPFIND"}, true},
		{"GET with a body", Request{Method: "GET", Body: body(), ContentLength: 1}, false},
		{"POST", Request{Method: "POST", Body: body(), ContentLength: 1}, false},
		{"POST without a body", Request{Method: "POST"}, false},
		{"POST with Idempotency-Key", Request{Method: "POST", Header: http.Header{"Idempotency-Key": {"1"}, "X-Idempotency-Key": {"1"}}}, false},
		{"PUT", Request{Method: "PUT", Body: body(), ContentLength: 1}, false},
		{"DELETE", Request{Method: "DELETE"}, false},
		{"MKCOL", Request{Method: "MKCOL"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, n int) {
				for i := 0; a.request(r) != ""; i++ {
					if n == 1 && i == 1 {
						return // the kept connection dies with the request in hand
					}
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
			g := a.group()
			if o := get(t, g, "/first"); o.err != nil {
				t.Fatal(o.err)
			}
			tc.r.Target = "/second"
			o := send(t, g, &tc.r)
			times := 0
			for _, s := range a.requests() {
				if strings.Contains(s, " /second ") {
					times++
				}
			}
			if tc.again && (o.err != nil || times != 2) {
				t.Errorf("sent %d times, %v; want it sent again", times, o.err)
			}
			if !tc.again && (!errors.Is(o.err, ErrProtocol) || times != 1) {
				t.Errorf("sent %d times, error %v; want it sent once and a refusal", times, o.err)
			}
		})
	}
}

// One byte of an answer is an answer: nothing is sent again after it, and
// nothing is sent a second time on a connection that was fresh.
func TestT054_NothingIsSentAgainAfterTheFirstByteOrOnAFreshConnection(t *testing.T) {
	for name, beginning := range map[string]string{"half a head": "HTTP/1.1 2", "an interim answer": "HTTP/1.1 103 Early Hints\r\n\r\n"} {
		a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
			for i := 0; a.request(r) != ""; i++ {
				if i == 1 {
					_, _ = io.WriteString(c, beginning)
					return
				}
				_, _ = io.WriteString(c, okAnswer)
			}
		})
		g := a.group()
		wantOK(t, get(t, g, "/"), "ok")
		wantErr(t, get(t, g, "/"), ErrProtocol)
		if n := len(a.requests()); n != 2 {
			t.Errorf("%s: %d requests, want 2", name, n)
		}
	}
	a := newApp(t, func(a *app, _ net.Conn, r *bufio.Reader, _ int) { a.request(r) })
	wantErr(t, get(t, a.group(), "/"), ErrProtocol)
	if n := len(a.requests()); n != 1 {
		t.Errorf("a fresh connection: %d requests, want 1", n)
	}
}

func TestT055_ConnectionsThatAreAuthenticatedAreNotShared(t *testing.T) {
	for name, tc := range map[string]struct{ request, answer string }{
		"client sends NTLM":         {"NTLM TlRMTVNTUAAB", okAnswer},
		"client sends Negotiate":    {"negotiate YII=", okAnswer},
		"app asks for NTLM":         {"", "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\nok"},
		"app asks for it in a list": {"", "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\", Negotiate\r\nContent-Length: 2\r\n\r\nok"},
		"app says it keeps it":      {"", "HTTP/1.1 200 OK\r\nPersistent-Auth: true\r\nContent-Length: 2\r\n\r\nok"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t, answering(tc.answer))
			g := a.group()
			idle := func() int { return len(g.addrs[0].client.(*client).idle) }
			if tc.request != "" {
				plain := newApp(t, answering(okAnswer)) // a kept connection of somebody else is not used either
				g = plain.group()
				a = plain
				wantOK(t, get(t, g, "/"), "ok")
				wantOK(t, get(t, g, "/", "Authorization", tc.request), "ok")
				if n := a.conns.Load(); n != 2 {
					t.Errorf("%d connections, want one of its own", n)
				}
				wantOK(t, get(t, g, "/"), "ok")
				if n := a.conns.Load(); n != 2 || idle() != 1 {
					t.Errorf("%d connections, %d idle: the authenticated one was kept", n, idle())
				}
				return
			}
			get(t, g, "/")
			get(t, g, "/")
			if n := a.conns.Load(); n != 2 || idle() != 0 {
				t.Errorf("%d connections for 2 requests, %d kept", n, idle())
			}
		})
	}
}

func TestT056_ACutBodyIsAnError(t *testing.T) {
	for name, answer := range map[string]string{
		"short of its length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"without last chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"inside a chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"without the end":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
		"a broken chunk size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
		"a bare LF in chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
	} {
		a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
			a.request(r)
			_, _ = io.WriteString(c, answer)
		})
		if o := get(t, a.group(), "/"); o.err != nil || o.cut == nil {
			t.Errorf("%s: %q, error %v, end %v", name, o.body, o.err, o.cut)
		}
	}
	reset := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
		a.request(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nabc") // ends with the connection
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	if o := get(t, reset.group(), "/"); o.err == nil && o.cut == nil {
		t.Errorf("a reset looked like an end: %q", o.body)
	}
}

func TestT129_HeadsAreBounded(t *testing.T) {
	long := func(n int) string {
		return "HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("a", n) + "\r\nContent-Length: 2\r\n\r\nok"
	}
	interim := strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim)
	for name, tc := range map[string]struct {
		answer string
		fine   bool
	}{
		"20 KiB":               {long(20 << 10), true},
		"60 KiB":               {long(60 << 10), true},
		"65 KiB":               {long(65 << 10), false},
		"1 MiB":                {long(1 << 20), false},
		"many lines":           {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20000) + "\r\n", false},
		"five interim answers": {interim + okAnswer, true},
		"six interim answers":  {interim + "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer, false},
	} {
		g := newApp(t, answering(tc.answer)).group()
		o := get(t, g, "/")
		if tc.fine {
			wantOK(t, o, "ok")
		} else if !errors.Is(o.err, ErrProtocol) {
			t.Errorf("%s: %d, %v", name, o.status, o.err)
		}
	}
}

func TestFU2_SilenceIsATimeout(t *testing.T) {
	for name, beginning := range map[string]string{"nothing": "", "half a head": "HTTP/1.1 200 OK\r\nX-A:"} {
		a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
			a.request(r)
			_, _ = io.WriteString(c, beginning)
			_, _ = io.Copy(io.Discard, r)
		})
		g := a.group(func(o *Options) { o.Timeout.ResponseHeader = 50 * time.Millisecond })
		o := get(t, g, "/")
		wantErr(t, o, ErrTimeout)
		if len(a.requests()) != 1 {
			t.Errorf("%s: sent %d times", name, len(a.requests()))
		}
	}
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
		a.request(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
		_, _ = io.Copy(io.Discard, r)
	})
	g := a.group(func(o *Options) { o.Timeout.Idle = 50 * time.Millisecond })
	if o := get(t, g, "/"); !errors.Is(o.cut, ErrTimeout) {
		t.Errorf("silence inside a body: %q, %v %v", o.body, o.err, o.cut)
	}
}

// The deadline of the head ends with the head, also when the request goes on
// for longer.
func TestFU4_AnEarlyAnswerOutlivesTheHeadsDeadline(t *testing.T) {
	more := make(chan struct{})
	a := newApp(t, func(_ *app, c net.Conn, r *bufio.Reader, _ int) {
		if _, err := readLines(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
		body, _ := io.ReadAll(io.LimitReader(r, int64(len("5\r\nhello\r\n0\r\n\r\n"))))
		if string(body) != "5\r\nhello\r\n0\r\n\r\n" {
			t.Errorf("the app got %q", body)
		}
		<-more
		_, _ = io.WriteString(c, "cd")
	})
	g := a.group(func(o *Options) { o.Timeout.ResponseHeader = 30 * time.Millisecond })
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	resp, _, err := g.RoundTrip(ctx, &Request{Method: "POST", Target: "/", Body: pr, ContentLength: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.WriteString(pw, "hello")
	_ = pw.Close()
	b := resp.Body.(*countedBody).ReadCloser.(*body)
	<-b.x.sent
	if got := b.x.conn.until; b.x.conn.waiting || time.Until(got) < time.Hour {
		t.Errorf("the end of the request moved the deadline of an answer that had begun: %v, %v", b.x.conn.waiting, got)
	}
	close(more)
	text, err := io.ReadAll(resp.Body)
	if string(text) != "abcd" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}

func TestFU4_AnAnswerThatComesInsteadOfReadingArrives(t *testing.T) {
	a := newApp(t, func(_ *app, c net.Conn, r *bufio.Reader, _ int) {
		_, _ = readLines(r)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
	})
	o := send(t, a.group(), &Request{Method: "PUT", Target: "/", Body: io.NopCloser(io.LimitReader(zeros{}, 64<<20)), ContentLength: 64 << 20})
	if o.status != 413 || o.body != "big" {
		t.Errorf("%d %q %v %v", o.status, o.body, o.err, o.cut)
	}
}

// An answer that came before the body, as to an expectation, leaves a connection
// on which the app still waits for that body.
func TestT052_AConnectionThatIsOwedABodyIsNotKept(t *testing.T) {
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, n int) {
		if n == 1 {
			_, _ = readLines(r)
			_, _ = io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, r)
			return
		}
		for a.request(r) != "" {
			_, _ = io.WriteString(c, okAnswer)
		}
	})
	g := a.group()
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	if o := send(t, g, &Request{Method: "POST", Target: "/", Body: pr, ContentLength: -1}); o.status != 417 || o.body != "no" {
		t.Fatalf("%d %q %v %v", o.status, o.body, o.err, o.cut)
	}
	if n := len(g.addrs[0].client.(*client).idle); n != 0 {
		t.Fatalf("%d connections kept", n)
	}
	wantOK(t, get(t, g, "/"), "ok")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A body that breaks ends the connection: what the app has is never a request.
func TestT045_ABrokenBodyNeverLooksWhole(t *testing.T) {
	for name, r := range map[string]*Request{
		"chunked":    {Method: "POST", Target: "/", Body: io.NopCloser(io.MultiReader(strings.NewReader("abc"), failing{})), ContentLength: -1},
		"length":     {Method: "POST", Target: "/", Body: io.NopCloser(io.MultiReader(strings.NewReader("abc"), failing{})), ContentLength: 9},
		"too short":  {Method: "POST", Target: "/", Body: io.NopCloser(strings.NewReader("abc")), ContentLength: 9},
		"too long":   {Method: "POST", Target: "/", Body: io.NopCloser(strings.NewReader("abcdefghijkl")), ContentLength: 9},
		"upgrade":    {Method: "GET", Target: "/", Body: io.NopCloser(strings.NewReader("abc")), ContentLength: 3, Upgrade: "websocket"},
		"bad target": {Method: "GET", Target: "/a b"}, "bad host": {Method: "GET", Target: "/", Host: "a\r\nb"},
		"bad method": {Method: "GET /", Target: "/"}, "bad name": {Method: "GET", Target: "/", Header: http.Header{"A\r\nB": {"1"}}},
		"bad value": {Method: "GET", Target: "/", Header: http.Header{"A": {"1\r\nB: 2"}}}, "long bad value": {Method: "GET", Target: "/", Header: http.Header{"A": {"1234567\r\nB: 234567"}}}, "no target": {Method: "GET"},
	} {
		got := make(chan string, 8)
		a := newApp(t, func(a *app, _ net.Conn, r *bufio.Reader, _ int) { got <- a.request(r) })
		wantErr(t, send(t, a.group(), r), ErrProtocol)
		if s := <-got; s != "" {
			t.Errorf("%s: the app saw a whole request: %q", name, s)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("client went away") }

func TestCancellationEndsAnExchange(t *testing.T) {
	gone := make(chan struct{})
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, n int) {
		a.request(r)
		if n == 2 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
		}
		_, _ = io.Copy(io.Discard, r)
		gone <- struct{}{}
	})
	g := a.group()
	for n := range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			for len(a.requests()) <= n {
				time.Sleep(time.Millisecond)
			}
			if n == 0 {
				cancel()
			}
		}()
		resp, _, err := g.RoundTrip(ctx, &Request{Method: "GET", Target: "/"})
		if n == 0 {
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled: %v", err)
			}
		} else {
			cancel()
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("a cancelled body ended well")
			}
			_ = resp.Body.Close()
		}
		<-gone
		cancel()
	}
	if n := len(g.addrs[0].client.(*client).idle); n != 0 {
		t.Errorf("%d connections kept", n)
	}
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/app.sock"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	g, err := New(Options{URLs: []config.UpstreamURL{{Raw: "unix:" + path, Scheme: "http", Host: "localhost", Socket: path}}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for range 2 {
		wantOK(t, send(t, g, &Request{Method: "GET", Target: "/"}), "localhost")
	}
}

// A HEAD without a length is of an answer that ends with its connection.
func TestHeadWithoutALengthEndsItsConnection(t *testing.T) {
	for head, conns := range map[string]int64{"HTTP/1.1 200 OK\r\n\r\n": 2, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n": 1} {
		a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
			for a.request(r) != "" {
				_, _ = io.WriteString(c, head)
			}
		})
		g := a.group()
		for range 2 {
			if o := send(t, g, &Request{Method: "HEAD", Target: "/"}); o.err != nil || o.status != 200 {
				t.Fatal(o.status, o.err)
			}
		}
		if n := a.conns.Load(); n != conns {
			t.Errorf("%q: %d connections, want %d", head, n, conns)
		}
	}
}
