package e2e

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/internal/gatetest"
)

func TestT049_T050_OnlyWebSocketIsAnUpgrade(t *testing.T) {
	list := &requestList{}
	g, app := openGate(t, wholeApp(list))
	for name, head := range map[string]string{
		"h2c":               "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
		"TLS":               "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
		"a list":            "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
		"two lines":         "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"with a version":    "Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
		"connect-udp":       "Connection: Upgrade\r\nUpgrade: connect-udp\r\n",
		"a body":            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 57\r\n",
		"chunked":           "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
		"without an option": "Upgrade: h2c\r\n",
	} {
		before := len(list.all())
		c := g.Raw1("open.test")
		c.Say("GET /first HTTP/1.1\r\nHost: open.test\r\n" + head + "\r\n" + smuggled)
		if a := c.Answer("GET"); a.Status != 400 {
			t.Errorf("%s: %d %v", name, a.Status, a.Err)
		}
		_ = c.Close()
		for _, s := range list.all()[before:] {
			if !strings.HasPrefix(s, "GET /smuggled ") { // which is a request of its own where the first has no body
				t.Errorf("%s: the app saw %q", name, s)
			}
		}
	}
	c := g.Raw1("open.test")
	c.Say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if a := c.Answer("GET"); a.Err == nil && a.Status < 400 {
		t.Errorf("prior knowledge: %d", a.Status)
	}
	c = g.Raw1("open.test")
	c.Say("GET /first HTTP/1.1\r\nHost: open.test\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: HTTP2-Settings\r\n\r\n")
	if a := c.Answer("GET"); a.Status != 200 || strings.Contains(list.last(), "ettings") {
		t.Errorf("HTTP2-Settings alone: %d, the app saw %q", a.Status, list.last())
	}
	if strings.Contains(app.Log(), "Upgrade") || strings.Contains(app.Log(), "h2c") {
		t.Error("an upgrade reached the app")
	}
}

// An app that agrees to what nobody asked for, or to something else, is not
// believed.
func TestT050_A101NobodyAskedForIsABadGateway(t *testing.T) {
	answer := atomic.Pointer[string]{}
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		if head := c.Head(); head != "" {
			c.Say(*answer.Load())
			_, _ = io.Copy(io.Discard, c)
		}
	})
	socket := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
	for _, tc := range []struct{ name, head, answer string }{
		{"nothing asked for", "", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"another protocol", socket, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
		{"no protocol", socket, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"},
	} {
		answer.Store(&tc.answer)
		c := g.Raw1("open.test")
		c.Say("GET / HTTP/1.1\r\nHost: open.test\r\n" + tc.head + "\r\n")
		if a := c.Answer("GET"); a.Status != 502 {
			t.Errorf("%s: %d %v", tc.name, a.Status, a.Err)
		}
	}
}

func TestT051_CONNECTIsNeverForwarded(t *testing.T) {
	list := &requestList{}
	g, app := openGate(t, wholeApp(list))
	for _, target := range []string{"open.test:443", "127.0.0.1:22", "/", "http://open.test/"} {
		c := g.Raw1("open.test")
		c.Say("CONNECT " + target + " HTTP/1.1\r\nHost: open.test\r\n\r\n" + smuggled)
		if a := c.Answer("CONNECT"); a.Err == nil && a.Status != 405 && a.Status != 400 {
			t.Errorf("CONNECT %s: %d", target, a.Status)
		}
		if a := c.Answer("GET"); a.Err == nil {
			t.Errorf("CONNECT %s: the connection went on with %d", target, a.Status)
		}
		_ = c.Close()
	}
	for name, fields := range map[string][][2]string{
		"CONNECT":          {{":method", "CONNECT"}, {":authority", "open.test:443"}},
		"extended CONNECT": {{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":authority", "open.test"}, {":path", "/first"}},
		"CONNECT and path": {{":method", "CONNECT"}, {":scheme", "https"}, {":authority", "open.test"}, {":path", "/first"}},
	} {
		c := g.Raw2("open.test")
		if a := c.Answer(c.Open(true, fields...)); a.Err == nil && (a.Status < 400 || a.Status > 499) {
			t.Errorf("%s over HTTP/2: %d", name, a.Status)
		}
	}
	stillFine(t, g, list, "CONNECT")
	if app.Conns() != 1 || strings.Contains(app.Log(), "CONNECT") {
		t.Errorf("%d connections to the app, log %q", app.Conns(), app.Log())
	}
}

func TestT052_ExpectEndsAtTheGatewayAndDisturbsNobody(t *testing.T) {
	list := &requestList{}
	answer := atomic.Pointer[string]{}
	fine := okay
	answer.Store(&fine)
	g, app := openGate(t, func(c *gatetest.RawConn) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			if strings.HasPrefix(head, "POST /early") {
				c.Say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
			}
			body, whole := c.Body(head)
			if !whole {
				return
			}
			list.add(head + body)
			if !strings.HasPrefix(head, "POST /early") {
				c.Say(okay)
			}
		}
	})
	for range 5 {
		c := g.Raw1("open.test")
		c.Say("POST /a HTTP/1.1\r\nHost: open.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if line, err := c.R.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = c.R.ReadString('\n')
		c.Say("hello")
		if a := c.Answer("POST"); a.Status != 200 || a.Body != "ok" || !strings.HasSuffix(list.last(), "\r\n\r\nhello") {
			t.Fatalf("%d %q %v, the app saw %q", a.Status, a.Body, a.Err, list.last())
		}
		_ = c.Close()
		// The app answers without wanting the body, which the client then keeps.
		c = g.Raw1("open.test")
		c.Say("POST /early HTTP/1.1\r\nHost: open.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
		if a := c.Answer("POST"); a.Status != 417 || a.Body != "no" {
			t.Fatalf("%d %q %v", a.Status, a.Body, a.Err)
		}
		c.Say(smuggled)
		if a := c.Answer("GET"); a.Err == nil {
			t.Fatalf("the connection went on with %d", a.Status)
		}
		_ = c.Close()
		stillFine(t, g, list, "Expect")
	}
	for _, value := range []string{"other", "200-ok"} {
		c := g.Raw1("open.test")
		c.Say("POST /odd HTTP/1.1\r\nHost: open.test\r\nExpect: " + value + "\r\nContent-Length: 0\r\n\r\n")
		if a := c.Answer("POST"); a.Status != 417 {
			t.Errorf("Expect: %s: %d", value, a.Status)
		}
	}
	if strings.Contains(app.Log(), "Expect") || strings.Contains(app.Log(), "/odd") {
		t.Error("an expectation reached the app")
	}
}

// Each half of an upgraded connection ends by itself, over TLS on our side and
// TCP on the app's.
func TestHalfCloseOfAnUpgrade(t *testing.T) {
	for _, first := range []string{"client", "app"} {
		got := make(chan string, 1)
		g, _ := openGate(t, func(c *gatetest.RawConn) {
			if c.Head() == "" {
				return
			}
			c.Say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			half := c.Conn.(interface{ CloseWrite() error })
			if first == "app" {
				c.Say("from the app")
				_ = half.CloseWrite()
			}
			b, err := io.ReadAll(c)
			got <- string(b) + errText(err)
			if first == "client" {
				c.Say("from the app")
				_ = half.CloseWrite()
			}
		})
		c := g.Raw1("open.test")
		c.Say("GET /ws HTTP/1.1\r\nHost: open.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
		if a := c.Answer("GET"); a.Status != 101 {
			t.Fatalf("%d %v", a.Status, a.Err)
		}
		if first == "client" {
			c.Say("from the client")
			_ = c.CloseWrite()
		}
		b, err := io.ReadAll(c.R)
		if string(b) != "from the app" || err != nil {
			t.Errorf("%s first: the client got %q, %v", first, b, err)
		}
		if first == "app" {
			c.Say("from the client")
			_ = c.CloseWrite()
		}
		if s := <-got; s != "from the client" {
			t.Errorf("%s first: the app got %q", first, s)
		}
	}
}

func errText(err error) string {
	if err != nil {
		return " " + err.Error()
	}
	return ""
}
