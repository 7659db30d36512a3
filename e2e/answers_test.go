package e2e

import (
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/internal/gatetest"
)

// askOpen sends one GET over a protocol, "h1" or "h2", on a connection of its own.
func askOpen(g *gatetest.Gate, protocol, path string, fields ...[2]string) gatetest.RawAnswer {
	if protocol == "h2" {
		c := g.Raw2("open.test")
		return c.Answer(c.Open(true, append(gatetest.Request2("GET", "open.test", path), fields...)...))
	}
	c := g.Raw1("open.test")
	head := "GET " + path + " HTTP/1.1\r\nHost: open.test\r\n"
	for _, f := range fields {
		head += f[0] + ": " + f[1] + "\r\n"
	}
	c.Say(head + "\r\n")
	return c.Answer("GET")
}

func TestT053_ABrokenAnswerIsABadGateway(t *testing.T) {
	var answer atomic.Pointer[string]
	g, app := openGate(t, func(c *gatetest.RawConn) {
		for c.Head() != "" {
			c.Say(*answer.Load())
		}
	})
	fine := okay
	for name, text := range map[string]string{
		"both framings": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + okay, "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", "chunked in HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"an unknown encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", "space before the colon": "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", "bare CR": "HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
		"no HTTP": "220 smtp.test ESMTP\r\n", "HTTP/2": "HTTP/2 200\r\n\r\n", "status 20": "HTTP/1.1 20 OK\r\n\r\n", "status 099": "HTTP/1.1 099 OK\r\n\r\n", "a NUL": "HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 0\r\n\r\n",
	} {
		for _, protocol := range []string{"h1", "h2"} {
			answer.Store(&text)
			before := app.Conns()
			a := askOpen(g, protocol, "/")
			if a.Status != 502 || len(a.Values("Set-Cookie")) > 0 || strings.Contains(a.Body, "127.0.0.1") {
				t.Errorf("%s over %s: %d %v %q", name, protocol, a.Status, a.Err, a.Body)
			}
			answer.Store(&fine)
			if a := askOpen(g, protocol, "/"); a.Status != 200 || a.Body != "ok" || app.Conns() != before+2 && app.Conns() != before+1 {
				t.Errorf("after %s over %s: %d %q", name, protocol, a.Status, a.Body)
			}
			closing := "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
			answer.Store(&closing)
			askOpen(g, protocol, "/") // leaves no kept connection to the next row
		}
	}
}

// What an app says behind an answer is nobody's, whoever asks next.
func TestT053_NobodyGetsAnAnswerThatWasNotTheirs(t *testing.T) {
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			path := strings.Fields(head)[1]
			text := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(path)) + "\r\n\r\n" + path
			if strings.HasPrefix(path, "/junk") {
				text += "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
			}
			c.Say(text)
		}
	})
	var wg sync.WaitGroup
	for _, kind := range []string{"/junk", "/mine"} {
		for w := range 2 {
			wg.Go(func() {
				c := g.Raw2("open.test")
				for i := range 100 {
					path := kind + strconv.Itoa(w*1000+i)
					if a := c.Answer(c.Open(true, gatetest.Request2("GET", "open.test", path)...)); a.Body != path {
						t.Errorf("%s got %d %q %v", path, a.Status, a.Body, a.Err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestT054_ARequestIsNotRunTwice(t *testing.T) {
	list := &requestList{}
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			body, whole := c.Body(head)
			if !whole {
				return
			}
			list.add(head + body)
			if strings.Contains(head, " /die ") {
				return
			}
			c.Say(okay)
		}
	})
	times := func() (n int) {
		for _, s := range list.all() {
			if strings.Contains(s, " /die ") {
				n++
			}
		}
		return n
	}
	for _, tc := range []struct {
		head  string
		times int
	}{
		{"POST /die HTTP/1.1\r\nContent-Length: 1\r\nIdempotency-Key: k\r\n", 1}, {"POST /die HTTP/1.1\r\nContent-Length: 0\r\nX-Idempotency-Key: k\r\n", 1}, {"DELETE /die HTTP/1.1\r\n", 1},
		{"PUT /die HTTP/1.1\r\nContent-Length: 1\r\n", 1}, {"GET /die HTTP/1.1\r\nContent-Length: 1\r\n", 1}, {"PATCH /die HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 1}, {"GET /die HTTP/1.1\r\n", 2},
	} {
		if a := askOpen(g, "h1", "/warm"); a.Status != 200 {
			t.Fatal(a.Status, a.Err)
		}
		before := times()
		c := g.Raw1("open.test")
		body := ""
		if strings.Contains(tc.head, "Length: 1") {
			body = "x"
		} else if strings.Contains(tc.head, "chunked") {
			body = "1\r\nx\r\n0\r\n\r\n"
		}
		c.Say(tc.head + "Host: open.test\r\n\r\n" + body)
		method, _, _ := strings.Cut(tc.head, " ")
		if a := c.Answer(method); a.Status != 502 {
			t.Errorf("%q: %d %v", tc.head, a.Status, a.Err)
		}
		if n := times() - before; n != tc.times {
			t.Errorf("%q: the app saw it %d times, want %d", tc.head, n, tc.times)
		}
	}
}

// The app authenticates a connection by its first request, as NTLM does. Nobody
// else may ever speak on it.
func TestT055_AuthenticatedConnectionsHaveOneUser(t *testing.T) {
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		user := "nobody"
		for {
			head := c.Head()
			if head == "" {
				return
			}
			if _, token, ok := strings.Cut(head, "Authorization: NTLM "); ok {
				user, _, _ = strings.Cut(token, "\r\n")
			}
			c.Say("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(user)) + "\r\n\r\n" + user)
		}
	})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			c := g.Raw2("open.test")
			for i := range 50 {
				want, fields := "nobody", gatetest.Request2("GET", "open.test", "/")
				if (w+i)%2 == 0 {
					want = "user" + strconv.Itoa(w)
					fields = append(fields, [2]string{"authorization", "NTLM " + want})
				}
				if a := c.Answer(c.Open(true, fields...)); a.Body != want {
					t.Errorf("%s was taken for %q (%d %v)", want, a.Body, a.Status, a.Err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestT056_ACutAnswerNeverLooksWhole(t *testing.T) {
	var answer atomic.Pointer[string]
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		if c.Head() == "" {
			return
		}
		c.Say(*answer.Load())
		if strings.Contains(*answer.Load(), "reset") {
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
		}
	})
	for name, text := range map[string]string{
		"short of its length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "no last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "half a chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
		"a broken chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", "a reset": "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nreset",
	} {
		for _, protocol := range []string{"h1", "h2"} {
			answer.Store(&text)
			if a := askOpen(g, protocol, "/"); a.Err == nil && a.Status != 502 {
				t.Errorf("%s over %s: %d %q looked whole", name, protocol, a.Status, a.Body)
			}
		}
	}
}

func TestT057_NothingIsCompressedOrInflated(t *testing.T) {
	body := "\x1f\x8b\x08\x00not really gzip"
	list := &requestList{}
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			list.add(head)
			c.Say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
		}
	})
	for _, protocol := range []string{"h1", "h2"} {
		a := askOpen(g, protocol, "/")
		if a.Body != body || !slices.Equal(a.Values("Content-Encoding"), []string{"gzip"}) || !slices.Equal(a.Values("Content-Length"), []string{strconv.Itoa(len(body))}) {
			t.Errorf("%s: %q %v", protocol, a.Body, a.Header)
		}
		if strings.Contains(list.last(), "Accept-Encoding") {
			t.Errorf("%s: the app saw %q", protocol, list.last())
		}
		askOpen(g, protocol, "/", [2]string{"accept-encoding", "br;q=0.1"})
		if !strings.Contains(list.last(), "\r\nAccept-Encoding: br;q=0.1\r\n") {
			t.Errorf("%s: the app saw %q", protocol, list.last())
		}
	}
}

// An app that sends a request back to the gateway it came from gets 508.
func TestT059_ALoopIsBroken(t *testing.T) {
	var g *gatetest.Gate
	depth := atomic.Int64{}
	ready := make(chan struct{})
	g, _ = openGate(t, func(c *gatetest.RawConn) {
		<-ready
		for {
			head := c.Head()
			if head == "" {
				return
			}
			if depth.Add(1) > 5 {
				c.Say("HTTP/1.1 500 Endless\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			back := g.Raw1("open.test")
			back.Say(head)
			a := back.Answer("GET")
			_ = back.Close()
			c.Say("HTTP/1.1 " + strconv.Itoa(a.Status) + " Back\r\nContent-Length: 0\r\n\r\n")
		}
	})
	close(ready)
	if a := askOpen(g, "h1", "/"); a.Status != 508 || depth.Load() != 1 {
		t.Errorf("%d after %d rounds", a.Status, depth.Load())
	}
}

func TestT063_T064_InterimAnswersAndTheAppsHSTSEndHere(t *testing.T) {
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		for c.Head() != "" {
			c.Say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: __Host-gatehouse=evil\r\nStrict-Transport-Security: max-age=0\r\n\r\n" +
				"HTTP/1.1 102 Processing\r\nX-Interim: 1\r\n\r\nHTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nstrict-transport-security: max-age=1\r\nGatehouse-Response: fake\r\nX-Final: 1\r\nContent-Length: 2\r\n\r\nok")
		}
	}, "set_response_headers: {X-Ours: yes}")
	for _, protocol := range []string{"h1", "h2"} {
		a := askOpen(g, protocol, "/")
		if len(a.Interim) > 0 || a.Status != 200 || a.Body != "ok" {
			t.Errorf("%s: %v %d %q %v", protocol, a.Interim, a.Status, a.Body, a.Err)
		}
		for name, want := range map[string][]string{"Strict-Transport-Security": {"max-age=31536000"}, "X-Ours": {"yes"}, "X-Final": {"1"}, "X-Interim": nil, "Link": nil, "Set-Cookie": nil, "Gatehouse-Response": nil} {
			if got := a.Values(name); !slices.Equal(got, want) {
				t.Errorf("%s: %s %q, want %q", protocol, name, got, want)
			}
		}
	}
}

func TestT129_AnAppCannotSayMoreThanFits(t *testing.T) {
	var answer atomic.Pointer[string]
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		if c.Head() == "" {
			return
		}
		text := *answer.Load()
		for strings.HasPrefix(text, "HTTP/1.1 103") || strings.HasPrefix(text, "X") { // endless
			if _, err := io.WriteString(c.Conn, text); err != nil {
				return
			}
		}
		c.Say(text)
		_, _ = io.Copy(io.Discard, c)
	}, "timeout: {idle: 1s}")
	for name, tc := range map[string]struct {
		text   string
		status int
	}{
		"one long field": {"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("a", 100<<10) + "\r\nContent-Length: 0\r\n\r\n", 502}, "many fields": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: 1\r\n", 20000) + "\r\n", 502},
		"endless interim answers": {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 502}, "endless nonsense": {strings.Repeat("X", 4096), 502}, "a body that stops": {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 0},
		"20 KiB": {"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("a", 20<<10) + "\r\nContent-Length: 0\r\n\r\n", 200},
	} {
		answer.Store(&tc.text)
		a := askOpen(g, "h1", "/")
		if stops := tc.status == 0; (a.Err != nil) != stops || !stops && a.Status != tc.status {
			t.Errorf("%s: %d %v", name, a.Status, a.Err)
		}
	}
}
