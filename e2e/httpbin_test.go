//go:build apps

package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

func startHTTPBin(t *testing.T) string {
	addr := gatetest.FreeAddr(t)
	host, p, _ := strings.Cut(addr, ":")
	startApp(t, addr, tool("go-httpbin"), "-host", host, "-port", p)
	return "http://" + addr
}

func TestHTTPBin(t *testing.T) {
	_, c, tok := oneRoute(t, "bin.test", startHTTPBin(t), "")
	auth := gatetest.Bearer(tok.AccessToken)
	for _, status := range []int{200, 204, 304, 404, 418, 500, 503} {
		a := c.Must("GET", fmt.Sprintf("/status/%d", status), "", auth)
		if a.StatusCode != status || a.Header.Get("Gatehouse-Response") != "" {
			t.Errorf("/status/%d: %d, Gatehouse-Response %q", status, a.StatusCode, a.Header.Get("Gatehouse-Response"))
		}
	}
	a := c.Must("GET", "/cookies/set?a=1&b=2", "", auth)
	if a.StatusCode != 302 || len(a.Header.Values("Set-Cookie")) != 2 {
		t.Errorf("/cookies/set: %d %v", a.StatusCode, a.Header.Values("Set-Cookie"))
	}
	if a := c.Must("GET", "/cookies", "", auth); !strings.Contains(a.Text, `"a": "1"`) {
		t.Errorf("/cookies: %s", a.Text)
	}
	if a := c.Must("GET", "/drip?numbytes=5&duration=1&delay=0", "", auth); a.StatusCode != 200 || a.Text != "*****" {
		t.Errorf("/drip: %d %q", a.StatusCode, a.Text)
	}
	if a := c.Must("GET", "/range/100", "", auth, "Range: bytes=10-19"); a.StatusCode != 206 || len(a.Text) != 10 {
		t.Errorf("/range: %d %d bytes", a.StatusCode, len(a.Text))
	}
	if a := c.Must("GET", "/gzip", "", auth, "Accept-Encoding: gzip"); a.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("/gzip was changed on the way: %v", a.Header)
	}
	a = c.Must("GET", "/trailers?X-One=1", "", auth, "TE: trailers")
	if a.StatusCode != 200 || a.Trailer.Get("X-One") != "1" {
		t.Errorf("/trailers: %d %v", a.StatusCode, a.Trailer)
	}
	if a := c.Must("GET", "/headers", "", auth, "X-Forwarded-User: root", "X_Forwarded_User: root"); strings.Contains(a.Text, "root") || !strings.Contains(a.Text, "ann@example.com") {
		t.Errorf("/headers: %s", a.Text)
	}
}

func TestHTTPBinEventsArriveOneByOne(t *testing.T) {
	_, c, tok := oneRoute(t, "bin.test", startHTTPBin(t), "")
	req, _ := http.NewRequest("GET", c.URL("/sse?count=3&duration=1500ms&delay=0s"), nil)
	req.Header.Set("Authorization", "Bearer "+tok.AccessToken)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var at []time.Time
	for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
		if strings.HasPrefix(scan.Text(), "data:") {
			at = append(at, time.Now())
		}
	}
	if len(at) != 3 || at[2].Sub(at[0]) < 300*time.Millisecond {
		t.Errorf("%d events, spread over %v; they were held back", len(at), at)
	}
}

// dialWebSocket shakes hands by hand and returns the connection.
func dialWebSocket(t *testing.T, g *gatetest.Gate, host, path string, headers ...string) (*tls.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	raw, err := g.Dial(context.Background(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	cfg := g.TLSConfig()
	cfg.ServerName, cfg.NextProtos = host, []string{"http/1.1"}
	conn := tls.Client(raw, cfg)
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", path, host, base64.StdEncoding.EncodeToString(key))
	for _, h := range headers {
		fmt.Fprintf(conn, "%s\r\n", h)
	}
	fmt.Fprint(conn, "\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, r, resp
}

func TestHTTPBinWebSocketEchoesUntilLogout(t *testing.T) {
	g, c, tok := oneRoute(t, "bin.test", startHTTPBin(t), "")
	if _, _, resp := dialWebSocket(t, g, "bin.test", "/websocket/echo"); resp.StatusCode != 401 {
		t.Errorf("handshake without a credential: %d", resp.StatusCode)
	}
	conn, r, resp := dialWebSocket(t, g, "bin.test", "/websocket/echo", gatetest.Bearer(tok.AccessToken))
	if resp.StatusCode != 101 {
		t.Fatalf("handshake: %d", resp.StatusCode)
	}
	frame := []byte{0x81, 0x85, 1, 2, 3, 4, 'h' ^ 1, 'e' ^ 2, 'l' ^ 3, 'l' ^ 4, 'o' ^ 1} // RFC 6455: text, masked
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(r, got); err != nil || string(got[2:]) != "hello" {
		t.Fatalf("echo: %q, %v", got, err)
	}
	if a := c.Must("POST", "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"); a.StatusCode != 204 {
		t.Fatalf("logout: %d", a.StatusCode)
	}
	start := time.Now()
	if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the socket after logout: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the socket lived %v after logout", took)
	}
}
