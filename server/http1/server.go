// Package http1 serves HTTP/1.x (RFC 9112) to clients whose connections were
// accepted by somebody else. It decides where a message begins and ends, when a
// connection is kept and when it ends, and how an answer is framed. What a
// request says is what http.ReadRequest reads: there is no second opinion on that
// here, and nothing about identities or routes.
//
// net/http has a server too. It hands every request's connection to a second
// goroutine, so that it notices when the client leaves, and sets some eight
// deadlines; here one goroutine serves a connection, deadlines move seldom, and
// only a request that lasts has its client watched.
package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"gatehouse/wire"
)

// Server is safe for concurrent use. Its fields must not change once it serves.
type Server struct {
	Handler http.Handler
	Log     *slog.Logger // of panics that nobody recovered

	Head    time.Duration           // for the head of a request, from its first byte, and of the first one from the start
	Idle    time.Duration           // without a request
	Pause   time.Duration           // before what is no request is answered, so that doing it over and over takes time
	MaxHead int                     // bytes of a request's head, beyond which it is answered 431
	Extra   func(status int) string // header lines, each with its CRLF, of answers that no handler makes

	date  wire.Date
	conns wire.Conns[*conn]
}

// Bounds of what is done for a connection that ends.
const (
	maxDrain  = 256 << 10              // bytes of a body that nobody read, to keep the connection
	lingering = 500 * time.Millisecond // until a client has read an answer it did not wait for
	freshFor  = 5 * time.Second        // a shutdown waits so long for the first request of a connection
	lookEvery = 250 * time.Millisecond // at clients of requests that last
)

// Serve serves a connection until it ends or is taken over, and closes it. The
// values of ctx are those of its requests' contexts; state is nil without TLS.
func (s *Server) Serve(ctx context.Context, nc net.Conn, state *tls.ConnectionState) {
	c := newConn(ctx, s, nc, state)
	if !s.conns.Add(c) {
		_ = nc.Close() // the server is gone
		return
	}
	defer s.conns.Remove(c)
	c.serve()
}

// Run looks after the clients of requests that last, until ctx ends.
func (s *Server) Run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.conns.Each((*conn).look)
		}
	}
}

// Shutdown takes no more connections, ends those that wait for a request, has
// the others end with their answer, and waits for that or for ctx, whose error
// it returns then.
func (s *Server) Shutdown(ctx context.Context) error {
	return s.conns.Drain(ctx, (*conn).endIfIdle)
}

// Close ends every connection, and the contexts of their requests.
func (s *Server) Close() {
	s.conns.Close()
	s.conns.Each((*conn).cut)
}

var errTaken = errors.New("http1: the connection was taken over")
