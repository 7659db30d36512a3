// Package tape has a client's side of a connection for tests: what it sends is
// known before, and what it hears is kept.
package tape

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// Tape is a client that sends all it has to say, and that this is all. Its
// server reads a few bytes at once. It is safe for concurrent use.
type Tape struct {
	Ended chan struct{} // closed when the client hears no more

	mu    sync.Mutex
	in    []byte
	piece int
	out   bytes.Buffer
	once  sync.Once
}

// New returns one that says in, of which a read gets at most piece bytes.
func New(in []byte, piece int) *Tape {
	return &Tape{in: in, piece: piece, Ended: make(chan struct{})}
}

// Heard is what the client heard so far.
func (w *Tape) Heard() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.out.Bytes())
}

// Read implements net.Conn.
func (w *Tape) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), w.piece)], w.in)
	w.in = w.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (w *Tape) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.Ended:
		return 0, net.ErrClosed
	default:
		return w.out.Write(p)
	}
}

// Close implements net.Conn.
func (w *Tape) Close() error { w.once.Do(func() { close(w.Ended) }); return nil }

// CloseWrite is the end of what the client hears.
func (w *Tape) CloseWrite() error { return w.Close() }

// LocalAddr implements net.Conn.
func (w *Tape) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// RemoteAddr implements net.Conn.
func (w *Tape) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

// SetDeadline implements net.Conn; there are none.
func (w *Tape) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn; there are none.
func (w *Tape) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn; there are none.
func (w *Tape) SetWriteDeadline(time.Time) error { return nil }
