package server

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// A panic while hands are shaken ends that connection, and nothing else.
func TestAPanicInAHandshakeIsItsOwnConnections(t *testing.T) {
	log := &lines{}
	panics := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("a bug") }}
	d := &door{config: panics, patience: 5 * time.Second, log: slog.New(slog.NewJSONHandler(log, nil))}
	for range 2 {
		ours, theirs := net.Pipe()
		left := make(chan struct{})
		go func() {
			defer close(left)
			d.greet(context.Background(), ours)
		}()
		if err := tls.Client(theirs, &tls.Config{ServerName: testHost, MinVersion: tls.VersionTLS13}).Handshake(); err == nil {
			t.Error("shook hands")
		}
		<-left
		if _, err := theirs.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a pipe's end is that value
			t.Errorf("the connection is still there: %v", err)
		}
	}
	if got := log.records(t, "panic in a TLS handshake"); len(got) != 2 || got[0]["type"] != "string" || got[0]["stack"] == "" {
		t.Errorf("logged %v", got)
	}
}
