package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// tlsConn opens a connection that speaks HTTP/1.1.
func tlsConn(ctx context.Context, t *testing.T, g *gatetest.Gate) (*tls.Conn, error) {
	t.Helper()
	raw, err := g.Dial(ctx, "tcp", "")
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, attackerTLS("http/1.1"))
	return c, c.HandshakeContext(ctx)
}

// attackerTLS is what a client says that minds no certificate: an attacker does
// no work that the gate does not make it do.
func attackerTLS(protocol string) *tls.Config {
	return &tls.Config{ServerName: "open.test", NextProtos: []string{protocol}, InsecureSkipVerify: true}
}

// ends waits until the server ends a connection that is fed with one byte now
// and then, and returns what it said first.
func ends(c net.Conn, drip string) (string, bool) {
	closed := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(c) // an error is an end, too
		closed <- string(text)
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(2 * time.Minute); ; {
		select {
		case text := <-closed:
			return text, true
		case <-tick.C:
			_, _ = io.WriteString(c, drip) // its end shows above
		case <-limit:
			return "", false
		}
	}
}

// T123: heads and handshakes that never end. Each is cut off, and meanwhile
// others are served.
func TestT123_SlowHeadsAndHandshakes(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	half := gatetest.Scale(20, 500)
	cut := newTally()
	withstand(t, g, func(ctx context.Context) {
		var wg sync.WaitGroup
		for range half {
			wg.Go(func() {
				c, err := tlsConn(context.WithoutCancel(ctx), t, g)
				if err != nil {
					cut.add(err.Error())
					return
				}
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: open.test\r\nX-Slow: ")
				_, ended := ends(c, "x")
				cut.add(fmt.Sprint("ended: ", ended))
			})
			wg.Go(func() {
				c, err := g.Dial(context.WithoutCancel(ctx), "tcp", "")
				if err != nil {
					cut.add(err.Error())
					return
				}
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00") // the first record of a handshake, announced
				_, ended := ends(c, "x")
				cut.add(fmt.Sprint("ended: ", ended))
			})
		}
		wg.Wait()
	})
	cut.only(t, "ended: true")
	if strings.Contains(strings.Join(up.Seen(), ""), "X-Slow") {
		t.Error("an unfinished request reached the app")
	}
}

// T123: a body that trickles in at a rate no client has gets 408 and the end of
// its connection; the app never sees it as complete.
func TestT123_SlowBodies(t *testing.T) {
	if !gatetest.Full() {
		t.Skip("patience with bodies is 20 s; server's TestT123 has it shortened")
	}
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	answers := newTally()
	withstand(t, g, func(ctx context.Context) {
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				c, err := tlsConn(context.WithoutCancel(ctx), t, g)
				if err != nil {
					answers.add(err.Error())
					return
				}
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, "POST /slow HTTP/1.1\r\nHost: open.test\r\nContent-Length: 1000000\r\n\r\n")
				text, _ := ends(c, "x")
				status, _, _ := strings.Cut(text, "\r\n")
				answers.add(fmt.Sprint(status, ", closes: ", strings.Contains(text, "\r\nConnection: close\r\n")))
			})
		}
		wg.Wait()
	})
	answers.only(t, "HTTP/1.1 408 Request Timeout, closes: true")
	for _, request := range up.Seen() {
		if strings.HasPrefix(request, "POST /slow") {
			t.Fatal("the app saw a slow body as complete")
		}
	}
}

// T123: an answer nobody takes is cut off.
func TestT123_SlowReaders(t *testing.T) {
	if !gatetest.Full() {
		t.Skip("patience with readers is 60 s; server's TestT123 has it shortened")
	}
	alone(t)
	const readers, size = 100, 64 << 20
	chunk := make([]byte, 64<<10)
	app := gatetest.NewRawApp(t, func(c *gatetest.RawConn) {
		for head := c.Head(); head != ""; head = c.Head() {
			if !strings.HasPrefix(head, "GET /big ") {
				c.Say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp")
				continue
			}
			c.Say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size))
			for sent := 0; sent < size; sent += len(chunk) {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}
	})
	g := gatetest.Start(t, floods(t, app.URL()))
	withstand(t, g, func(ctx context.Context) {
		var conns []net.Conn
		for range readers {
			c, err := tlsConn(context.WithoutCancel(ctx), t, g)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "GET /big HTTP/1.1\r\nHost: open.test\r\n\r\n")
			conns = append(conns, c)
		}
		cut := fmt.Sprintf("gatehouse_slow_clients_total{kind=\"connection\"} %d\n", readers)
		for deadline := time.Now().Add(3 * time.Minute); !strings.Contains(metrics(t, g), cut); time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				t.Error("readers that take nothing are still served after 3 minutes")
				return
			}
		}
		for _, c := range conns {
			if n, _ := io.Copy(io.Discard, c); n >= size {
				t.Error("a reader got all of an answer that was cut off")
			}
		}
	})
}

// T124: more header than anybody needs is refused, in both protocols, and does
// not reach the app; what is within the limits passes.
func TestT124_HeaderAndCookieFloods(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	many := func(n int) []string {
		var h []string
		for i := range n {
			h = append(h, fmt.Sprintf("X-Field-%d: x", i))
		}
		return h
	}
	cases := []struct {
		name    string
		headers []string
		want    int
	}{
		{"90 fields", many(90), 200},
		{"3000 fields", many(3000), 431},
		{"101 fields", many(101), 431},
		{"one of 20 KiB", []string{"X-Big: " + strings.Repeat("x", 20<<10)}, 200},
		{"one of 40 KiB", []string{"X-Big: " + strings.Repeat("x", 40<<10)}, 431},
		{"one of 1 MiB", []string{"X-Big: " + strings.Repeat("x", 1<<20)}, 431},
		{"600 cookies in a line", []string{"Cookie: " + strings.TrimSuffix(strings.Repeat("a=b; ", 600), "; ")}, 200},
		{"20000 cookies in a line", []string{"Cookie: " + strings.Repeat("a=b; ", 20000)}, 431},
		{"one line 200 times", twoHundred("X-Same: y"), 431},
	}
	for _, http2 := range []bool{false, true} {
		c := g.Client("open.test", http2)
		for _, tc := range cases {
			before := len(up.Seen())
			a, err := c.Send(http.MethodGet, "/", "", tc.headers...)
			switch {
			case err != nil && tc.want == 431: // the connection may be closed before the request was written
			case err != nil:
				t.Errorf("%s, http2 %v: %v", tc.name, http2, err)
			case a.StatusCode != tc.want:
				t.Errorf("%s, http2 %v: %d, want %d", tc.name, http2, a.StatusCode, tc.want)
			}
			if passed := len(up.Seen()) - before; (passed == 1) != (tc.want == 200) {
				t.Errorf("%s, http2 %v: the app saw %d requests", tc.name, http2, passed)
			}
		}
	}
}

// T124: clients that send as much header as fits through the wire, over and
// over, cost the others little.
func TestT124_HeaderFloodLeavesOthersAlone(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	answers := newTally()
	withstandAgain(t, g, func(ctx context.Context) {
		var wg sync.WaitGroup
		for _, line := range []string{strings.Repeat("X-Field: y\r\n", 5000), "Cookie: " + strings.Repeat("a=b; ", 10_000) + "c=d\r\n"} {
			for range 2 {
				wg.Go(func() {
					c := &rawClient{t: t, g: g}
					for i := 0; i < gatetest.Scale(10, 20_000) && ctx.Err() == nil; i++ {
						if status := c.ask(ctx, "GET / HTTP/1.1\r\nHost: open.test\r\n"+line+"\r\n"); status != 0 {
							answers.add(strconv.Itoa(status))
						}
					}
				})
			}
		}
		wg.Wait()
	})
	answers.only(t, "431")
	for _, request := range up.Seen() {
		if strings.Contains(request, "X-Field") || strings.Contains(request, "a=b") {
			t.Fatal("the app saw a request of the flood")
		}
	}
}

func twoHundred(line string) []string {
	var all []string
	for range 200 {
		all = append(all, line)
	}
	return all
}

// T127 and T128: the gateway's own endpoints read 16 KiB at most, and nothing
// compressed.
func TestT127_T128_OwnEndpointsReadLittleAndInflateNothing(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, floods(t, up.URL()))
	c := g.Client("app.test", true)
	for _, path := range []string{"/_auth/login", "/_auth/register", "/_auth/refresh", "/_auth/password"} {
		padded := `{"email":"a@example.com","password":"` + strings.Repeat("x", 17<<10) + `"}`
		if a, err := c.Send(http.MethodPost, path, padded, "Content-Type: application/json"); err == nil && a.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s with 17 KiB: %d, want 413", path, a.StatusCode)
		}
		for _, coding := range []string{"gzip", "deflate", "br", "identity, gzip"} {
			if a := c.Must(http.MethodPost, path, "\x1f\x8b\x08\x00", "Content-Type: application/json", "Content-Encoding: "+coding); a.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("%s in %s: %d, want 415", path, coding, a.StatusCode)
			}
		}
	}
	// A chunked body tells no length; it is counted.
	conn, err := tlsConn(t.Context(), t, g)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "POST /_auth/login HTTP/1.1\r\nHost: open.test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n%s\r\n0\r\n\r\n", strings.Repeat(" ", 0x5000))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("20 KiB in chunks: %d, want 413", resp.StatusCode)
	}
}
