package server

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A client can keep an HTTP/2 connection busy with frames that ask for nothing
// or are taken back: pings, settings, requests that are reset (threat T125,
// CVE-2019-9512, CVE-2023-44487). What it sends has to be worth something: a
// read from the connection costs one, and what comes of it pays for many. Who
// is deeper in debt than a client that wants something ever gets has each
// further read wait, the longer the deeper, and nobody else waits with it.
const (
	paceCredit = 448                  // what a page of 100 requests owes whose user leaves at once, and some
	paceStep   = 64                   // of debt beyond it, for each of which a read waits longer by
	paceWait   = 5 * time.Millisecond // this
	paceWorst  = paceCredit + 20*paceStep
	paceSaved  = 256 // that can be paid in advance

	paceReset  = 2       // what a request costs that its client took back, in reads
	paceServed = 8       // what one pays for that was answered
	paceMoved  = 2       // and a piece of a body that somebody read or wrote,
	paceBytes  = 1 << 10 // and each so many bytes of it
	paceSecond = 16      // and a second that passed
)

// pace is the account of one connection. It is safe for concurrent use; what
// concurrent changes lose of it does not matter.
type pace struct {
	debt atomic.Int64
	off  atomic.Bool // HTTP/1: one request after another
}

// read takes the price of a read, and says how long to wait for what is owed.
func (p *pace) read() time.Duration {
	if p.off.Load() {
		return 0
	}
	over := p.owe(1) - paceCredit
	if over <= 0 {
		return 0
	}
	return paceWait + paceWait*time.Duration(over)/paceStep
}

func (p *pace) owe(reads int64) int64 {
	debt := p.debt.Add(reads)
	if debt > paceWorst {
		p.debt.Store(paceWorst)
		return paceWorst
	}
	return debt
}

func (p *pace) pay(reads int64) {
	if p.debt.Add(-reads) < -paceSaved {
		p.debt.Store(-paceSaved)
	}
}

// received books a piece of a request body.
func (p *pace) received(n int) {
	if n > 0 {
		p.pay(paceMoved + int64(n)/paceBytes)
	}
}

// sent books bytes that went out, of answers nearly all.
func (p *pace) sent(n int) {
	if n >= paceBytes {
		p.pay(int64(n) / paceBytes)
	}
}

// passed is called once a second.
func (p *pace) passed() {
	if n := p.debt.Load(); n > 0 {
		p.pay(min(n, paceSecond))
	}
}

// isReset reports whether the client has taken an HTTP/2 request back.
func isReset(r *http.Request) bool { return r.ProtoMajor >= 2 && r.Context().Err() != nil }

// settle books what a request was worth that is over.
func (w *writer) settle(r *http.Request) {
	switch {
	case !w.paced:
	case isReset(r):
		w.conn.pace.owe(paceReset)
	default:
		w.conn.pace.pay(paceServed)
	}
}
