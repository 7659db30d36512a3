package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"syscall"
	"time"

	"gatehouse/server/http1"
	"gatehouse/server/http2"
)

// door is where connections shake hands; then they are served by what they
// chose.
type door struct {
	config   *tls.Config
	patience time.Duration
	log      *slog.Logger
	one      *http1.Server
	two      *http2.Server
}

// greet shakes hands, and has the connection served. Whoever said nothing speaks
// HTTP/1.1.
func (d *door) greet(ctx context.Context, raw net.Conn) {
	c, err := d.shake(raw)
	if err != nil {
		d.turnAway(raw, err)
		return
	}
	state := c.ConnectionState()
	switch state.NegotiatedProtocol {
	case "h2":
		d.two.Serve(withConn(ctx, c), inOneGo(c), &state)
	case "", "http/1.1":
		d.one.Serve(withConn(ctx, c), c, &state)
	default: // an authority that came for the handshake alone (RFC 8737)
		_ = c.Close() // it has what it wanted
	}
}

var errPanicked = errors.New("panic in the handshake")

// shake does the handshake within the patience for it. A panic, of TLS or of
// whoever chooses the certificate, ends this connection alone.
func (d *door) shake(raw net.Conn) (c *tls.Conn, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			d.log.LogAttrs(context.Background(), slog.LevelError, "panic in a TLS handshake", slog.String("type", typeName(cause)), slog.String("stack", string(debug.Stack())))
			err = errPanicked
		}
	}()
	c = tls.Server(raw, d.config)
	_ = raw.SetDeadline(time.Now().Add(d.patience)) // a closed connection says so in the handshake
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Time{}) // as above
	return c, nil
}

// turnAway ends a connection without TLS. A client that speaks HTTP is told.
func (d *door) turnAway(raw net.Conn, err error) {
	d.log.LogAttrs(context.Background(), slog.LevelDebug, "TLS handshake failed", slog.String("client", raw.RemoteAddr().String()), slog.Any("error", err))
	var head tls.RecordHeaderError
	if errors.As(err, &head) && head.Conn != nil && looksLikeHTTP(head.RecordHeader) {
		_, _ = io.WriteString(raw, "HTTP/1.0 400 Bad Request\r\nGatehouse-Response: bad_request\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nThis port speaks https alone.\n") // it may be gone
	}
	_ = raw.Close() // nothing was agreed on
}

func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// acceptAll has each connection served by a goroutine of its own until the
// listener is closed. What one connection suffered from is no matter, and when
// there are no more files or buffers it waits a little.
func acceptAll(l net.Listener, serve func(net.Conn)) error {
	for wait := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			go serve(c)
		case passes(err):
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			time.Sleep(wait)
		default:
			return err
		}
	}
}

func passes(err error) bool {
	for _, no := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR, syscall.EPROTO} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
