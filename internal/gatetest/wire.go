package gatetest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Wire is one TLS connection to a gate on which the test writes the bytes of
// HTTP/1.1 itself.
type Wire struct {
	*tls.Conn
	t testing.TB
	r *bufio.Reader
}

// Wire connects, naming host in the handshake.
func (g *Gate) Wire(host string) *Wire {
	g.t.Helper()
	raw, err := g.Dial(g.t.Context(), "tcp", "")
	if err != nil {
		g.t.Fatal(err)
	}
	cfg := g.TLSConfig()
	cfg.ServerName, cfg.NextProtos = host, []string{"http/1.1"}
	w := &Wire{Conn: tls.Client(raw, cfg), t: g.t}
	w.r = bufio.NewReader(w)
	g.t.Cleanup(func() { _ = w.Close() })
	return w
}

// Ask writes bytes and reads one answer to its end.
func (w *Wire) Ask(text string) Answer {
	w.t.Helper()
	a, err := w.Try(text)
	if err != nil {
		w.t.Fatalf("%.200q: %v", text, err)
	}
	return a
}

// Try is Ask that may fail.
func (w *Wire) Try(text string) (Answer, error) {
	if err := w.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return Answer{}, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return Answer{}, fmt.Errorf("write: %w", err)
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		return Answer{}, fmt.Errorf("read: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return Answer{resp, ""}, nil
	}
	body, err := io.ReadAll(resp.Body)
	return Answer{resp, string(body)}, err
}

// Reader reads what follows an answer: the bytes of an upgraded connection.
func (w *Wire) Reader() io.Reader { return w.r }

// Echo answers with the head of the request, so that a client sees what its
// own request had become.
func Echo(head string) string {
	if strings.Contains(strings.ToLower(head), "\r\nupgrade: websocket\r\n") {
		return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + head
	}
	body := head
	if strings.HasPrefix(head, "HEAD ") {
		body = ""
	}
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(head), body)
}
