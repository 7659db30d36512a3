package server

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// A client can keep an HTTP/2 connection busy with frames that ask for nothing
// or are taken back: pings, settings, requests that are reset (threat T125,
// CVE-2019-9512, CVE-2019-9515, CVE-2023-44487). What it sends has to be worth
// something: a read from the connection costs one and as much again for each
// KiB, since sixty pings fit into one, and what comes of it pays for many. Who
// is deeper in debt than a client that wants something ever gets has each
// further read wait, the longer the deeper, and nobody else waits with it. Who
// goes on like that is shown the door.
//
// How much of a request's body is on its way without being read cannot be told
// from other frames; up to 1.25 MiB is, the window of a connection. So from the
// first request with a body on bytes cost less, and all of the credit is there.
const (
	paceFirst  = 64                         // what a new connection may owe: a handshake and the largest head
	paceOpened = 4                          // and for each request it makes so much more, since its user may leave,
	paceCredit = paceFirst + 100*paceOpened // up to a page of 100 requests, or for a body at once
	paceStep   = 16                         // of debt beyond it, for each of which a read waits longer by
	paceWait   = 5 * time.Millisecond       // this
	paceDeep   = 20 * paceStep              // beyond it, no debt grows;
	paceEnough = 50                         // reads in a row that had to wait for more than half of that end it
	paceSaved  = 256                        // that can be paid in advance

	paceReset  = 2       // what a request costs that its client took back, in reads
	paceServed = 16      // what one pays for that was answered
	paceMoved  = 2       // and a piece of a body that somebody read or wrote,
	paceBytes  = 1 << 10 // and each so many bytes of it; so many read cost one,
	paceBody   = 4 << 10 // or so many where a body may be among them
	paceSecond = 16      // what a second pays for that passed
)

// pace is the account of one connection. It is safe for concurrent use; what
// concurrent changes lose of it does not matter.
type pace struct {
	debt   atomic.Int64
	earned atomic.Int64 // credit beyond that of a new connection
	deep   atomic.Int64 // reads in a row in deep debt
	bodies atomic.Bool  // some request had one
	off    atomic.Bool  // HTTP/1: one request after another
}

var errPaced = errors.New("the client sends much and wants little")

// read takes the price of a read of n bytes, and says how long to wait for what
// is owed, or that it is enough.
func (p *pace) read(n int) (time.Duration, error) {
	if p.off.Load() {
		return 0, nil
	}
	over := p.owe(p.price(n)) - p.credit()
	switch {
	case over <= paceDeep/2:
		p.deep.Store(0)
	case p.deep.Add(1) > paceEnough:
		return 0, errPaced
	}
	if over <= 0 {
		return 0, nil
	}
	return paceWait + paceWait*time.Duration(over)/paceStep, nil
}

// price is that of a read of n bytes.
func (p *pace) price(n int) int64 {
	if p.bodies.Load() {
		return 1 + int64(n)/paceBody
	}
	return 1 + int64(n)/paceBytes
}

func (p *pace) credit() int64 { return paceFirst + p.earned.Load() }

// opened books a request that was made, whatever comes of it.
func (p *pace) opened(body bool) {
	if body && !p.bodies.Swap(true) {
		p.earned.Store(paceCredit - paceFirst)
	}
	if p.earned.Load() < paceCredit-paceFirst {
		p.earned.Add(paceOpened)
	}
}

func (p *pace) owe(reads int64) int64 {
	debt := p.debt.Add(reads)
	if most := p.credit() + paceDeep; debt > most {
		p.debt.Store(most)
		return most
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

// answered books a piece of an answer.
func (p *pace) answered(n int) { p.pay(paceMoved + int64(n)/paceBytes) }

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
