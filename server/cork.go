package server

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

// corkAbove is a size from which a write is worth gathering: with the head of
// the answer it is more than one TLS record.
const corkAbove = 8 << 10

// cork gathers the TLS records that one large write becomes, at most 16 KiB
// each, so that the system is called once for all of them. The lock keeps the
// order of records: crypto/tls may write an alert from another goroutine.
type cork struct {
	mu   sync.Mutex
	held *[]byte // nil while records go straight out
}

// keep takes p if records are being gathered.
func (k *cork) keep(p []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return false
	}
	*k.held = append(*k.held, p...)
	return true
}

// together runs write, and sends what it wrote to the connection at once.
func (c *conn) together(write func([]byte) (int, error), p []byte) (n int, err error) {
	held := c.table.corks.Get().(*[]byte)
	c.cork.mu.Lock()
	c.cork.held = held
	c.cork.mu.Unlock()
	defer func() {
		c.cork.mu.Lock()
		defer c.cork.mu.Unlock()
		c.cork.held = nil
		if len(*held) > 0 {
			if _, werr := c.send(*held); werr != nil {
				n, err = 0, errors.Join(err, werr)
				_ = c.Close() // crypto/tls takes the records for sent: none may follow
			}
		}
		*held = (*held)[:0]
		c.table.corks.Put(held)
	}()
	return write(p)
}

// writeBody writes a part of an answer's body. HTTP/2 gathers frames by itself.
func (w *writer) writeBody(p []byte) (int, error) {
	if w.corked && len(p) >= corkAbove {
		return w.conn.together(w.ResponseWriter.Write, p)
	}
	return w.entry.write(w.ResponseWriter, p)
}

// oneGo is a connection whose large writes are gathered whoever writes.
type oneGo struct {
	*tls.Conn
	under *conn
}

// inOneGo gathers what is written to a connection with TLS.
func inOneGo(c *tls.Conn) net.Conn {
	if under := inner(c); under != nil {
		return oneGo{c, under}
	}
	return c
}

// Write implements net.Conn.
func (c oneGo) Write(p []byte) (int, error) {
	if len(p) <= maxRecord {
		return c.Conn.Write(p)
	}
	return c.under.together(c.Conn.Write, p)
}

// maxRecord is what one TLS record holds.
const maxRecord = 16 << 10
