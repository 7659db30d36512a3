package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counted counts the writes that reach the system.
type counted struct {
	net.Conn
	writes atomic.Int64
	fails  atomic.Bool
}

var errBroken = errors.New("broken pipe")

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	if c.fails.Load() {
		return 0, errBroken
	}
	return c.Conn.Write(p)
}

// corkPair is a TLS connection over ours, and its client.
func corkPair(t *testing.T) (*counted, *conn, *tls.Conn, *tls.Conn) {
	t.Helper()
	table, err := newConnTable(100, time.Minute, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := newLocalCA(t.TempDir(), []string{testHost}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	inner := &counted{Conn: near}
	c := &conn{Conn: inner, table: table, kind: table.kinds["https"]}
	server := tls.Server(c, &tls.Config{GetCertificate: ca.get, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS13})
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //#nosec G402 -- the pipe of a test
	t.Cleanup(func() {
		_ = near.Close() // what is left is of no use
		_ = far.Close()  // as above
	})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	return inner, c, server, client
}

// The records of one large write reach the system together, in order, and so
// does what is written while they are gathered.
func TestLargeWritesAreGathered(t *testing.T) {
	inner, c, server, client := corkPair(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	got := make(chan []byte, 1)
	go func() {
		all := make([]byte, len(body)+len("after"))
		_, _ = io.ReadFull(client, all) // a short one differs
		got <- all
	}()
	before := inner.writes.Load()
	n, err := c.together(server.Write, body)
	if err != nil || n != len(body) {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	if calls := inner.writes.Load() - before; calls != 1 {
		t.Errorf("%d writes, want 1", calls)
	}
	if _, err := server.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, append(body, "after"...)) {
		t.Error("the client got something else")
	}
}

// A write that fails at its end is a write that failed.
func TestGatheredWriteFails(t *testing.T) {
	inner, c, server, _ := corkPair(t)
	inner.fails.Store(true)
	if n, err := c.together(server.Write, make([]byte, 50_000)); !errors.Is(err, errBroken) || n != 0 {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	inner.fails.Store(false)
	if _, err := server.Write([]byte("more")); err == nil {
		t.Error("the connection goes on after a record that was lost")
	}
}
