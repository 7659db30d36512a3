package web

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// Record is the one account of a request, opened by the outermost handler and
// filled on the way; the access log is written from it once. It belongs to one
// request and its goroutine.
type Record struct {
	ID           string     // request id; what X-Request-Id and every problem show
	Client       netip.Addr // the caller, after trusted proxies; unmapped, no zone
	PeerTrusted  bool       // the TCP peer is one of listen.trusted_proxies
	Secure       bool       // the client's side of the connection is https
	Start        time.Time
	Route        string // name of the matched route; "" before or without a match
	Subject      string // sub, once known
	Session      string // sid, once known
	Verdict      string // allow, challenge, forbid, unavailable, ...
	Upstream     string // address the request went to
	UpstreamTime time.Duration
	Code         string // Gatehouse-Response of an answer we made ourselves
	Err          error  // the cause, for the log alone

	// SlowBody is set before the read of a body ends that came too slowly:
	// whoever answers says so (BodyTooSlow). Another goroutine sets it.
	SlowBody atomic.Bool
}

// BodyTooSlow is the answer to a request whose body came too slowly (RFC 9110
// section 15.5.9).
func BodyTooSlow(cause error) *Error {
	return &Error{Status: http.StatusRequestTimeout, Code: "body_too_slow", Detail: "The request body came too slowly.", Cause: cause}
}

// Recorder is a ResponseWriter that carries a Record.
type Recorder interface {
	http.ResponseWriter
	Record() *Record
}

// RecordOf returns the record that w, or a writer it wraps, carries. Without
// one (a handler tested alone) it returns a fresh record that nobody reads.
func RecordOf(w http.ResponseWriter) *Record {
	for {
		switch v := w.(type) {
		case Recorder:
			return v.Record()
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return &Record{ID: "-", Start: time.Now()}
		}
	}
}
