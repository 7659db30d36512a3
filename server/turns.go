package server

import (
	"crypto/tls"
	"errors"
	"runtime"
	"time"
)

// turns lets half of the processors compute TLS handshakes, so that a flood of
// new connections leaves the other half to those that stand. A turn goes from a
// client's hello to the answer, which needs nothing further from the client.
type turns struct {
	free     chan struct{}
	patience time.Duration
}

func newTurns(patience time.Duration) *turns {
	return &turns{free: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), patience: patience}
}

var errNoTurn = errors.New("too many handshakes at once")

// take waits for a turn; the connection gives it back with the first byte it
// writes, or when it is closed.
func (t *turns) take(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := inner(hello.Conn)
	if c == nil {
		return nil, nil //nolint:nilnil // "as configured", in crypto/tls
	}
	select {
	case t.free <- struct{}{}:
	default:
		late := time.NewTimer(t.patience)
		defer late.Stop()
		select {
		case t.free <- struct{}{}:
		case <-late.C:
			return nil, errNoTurn
		}
	}
	c.turn.Store(&t.free)
	return nil, nil //nolint:nilnil // as above
}

// endTurn gives back the turn of a handshake, if there is one.
func (c *conn) endTurn() {
	if c.turn.Load() == nil {
		return
	}
	if free := c.turn.Swap(nil); free != nil {
		<-*free
	}
}
