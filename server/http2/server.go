// Package http2 serves HTTP/2 (RFC 9113) to clients whose connections were
// accepted by somebody else. Frames are read by golang.org/x/net/http2, header
// blocks by its hpack; what a connection and its streams are at, how much may be
// sent, how an answer is framed and when a connection ends is decided here, and
// nothing about identities or routes.
//
// net/http has a server too. There a goroutine reads frames, a second one owns
// the connection, a third serves the request and a fourth writes, each waking
// the next one; here who serves a request writes its answer, and finds what
// others want to send done by whoever is writing already.
package http2

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"gatehouse/wire"
)

// Server is safe for concurrent use. Its fields must not change once it serves.
type Server struct {
	Handler http.Handler
	Log     *slog.Logger // of panics that nobody recovered

	Head    time.Duration                   // for the preface with the first SETTINGS, and for the whole of a header block
	Idle    time.Duration                   // without a request; and for a frame that is no header block
	Silence time.Duration                   // with requests and without a frame, until the client is asked for a sign of life
	Answer  time.Duration                   // for that sign
	MaxHead int                             // bytes of a request's head, beyond which it is answered 431
	Streams int                             // of a connection that are open at a time, and that are served
	Extra   func(status int, h http.Header) // completes answers that no handler makes

	date    wire.Date
	clock   atomic.Int64 // nanoseconds of having run; 0 is never
	workers workers
	conns   wire.Conns[*conn]
}

// Bounds of what is done for a connection that ends.
const (
	lingering = 500 * time.Millisecond // until a client has read the last frame
	oneTrip   = time.Second            // for what a client sent before it heard that we go
	lookEvery = 250 * time.Millisecond
)

// Serve serves a connection until it ends, and closes it. The values of ctx are
// those of its requests' contexts; state is nil without TLS.
func (s *Server) Serve(ctx context.Context, nc net.Conn, state *tls.ConnectionState) {
	c := newConn(ctx, s, nc, state)
	if !s.conns.Add(c) {
		_ = nc.Close() // the server is gone
		return
	}
	defer s.conns.Remove(c)
	c.serve()
}

// Run looks after connections and streams that last, until ctx ends: whoever
// makes no progress is found here, so that nothing on the way of a frame sets a
// timer.
func (s *Server) Run(ctx context.Context) {
	every := max(min(lookEvery, s.Head/8, s.Idle/8), 5*time.Millisecond)
	t := time.NewTicker(every)
	defer t.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			s.workers.trim()
			return
		case <-t.C:
		}
		// A process that got no time, as when its machine was suspended, has
		// not seen what clients did meanwhile: that is not theirs to pay for.
		now := time.Now()
		s.clock.Add(int64(min(now.Sub(last), 2*every+time.Second)))
		last = now
		s.conns.Each((*conn).look)
		s.workers.age()
	}
}

// Shutdown takes no more connections, tells clients that theirs end, serves
// what they asked for before they heard it, and waits for that or for ctx,
// whose error it returns then.
func (s *Server) Shutdown(ctx context.Context) error {
	return s.conns.Drain(ctx, (*conn).leave)
}

// Close ends every connection, and the contexts of their requests.
func (s *Server) Close() {
	s.conns.Close()
	s.conns.Each((*conn).cut)
}
