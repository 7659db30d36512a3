package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"gatehouse/config"
)

// dialer makes connections to one address. TLS is part of connecting: until it
// stands nothing was sent.
type dialer struct {
	url       config.UpstreamURL
	timeout   config.RouteTimeout
	tls       *tls.Config // nil for clear text
	connected func()      // told of every success
}

func newDialer(u config.UpstreamURL, t config.RouteTimeout, protocol string, connected func()) *dialer {
	d := &dialer{url: u, timeout: t, connected: connected}
	if u.Scheme == "https" {
		name, _, err := net.SplitHostPort(u.Host)
		if err != nil {
			name = u.Host
		}
		d.tls = &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, NextProtos: []string{protocol}, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	}
	return d
}

func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, d.timeout.Connect)
	defer cancel()
	var plain net.Dialer
	network, addr := "tcp", d.url.Host
	if d.url.Socket != "" {
		network, addr = "unix", d.url.Socket
	}
	c, err := plain.DialContext(limited, network, addr)
	if err != nil {
		return nil, connectError(ctx, err)
	}
	if d.tls != nil {
		t := tls.Client(c, d.tls)
		if err := t.HandshakeContext(limited); err != nil {
			_ = c.Close() // the handshake's error is what counts
			return nil, connectError(ctx, err)
		}
		c = t
	}
	d.connected()
	return c, nil
}

func connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("connect: %w", ctx.Err())
	}
	return fmt.Errorf("%w: %w", ErrConnect, err)
}
