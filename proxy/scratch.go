package proxy

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"gatehouse/identity"
)

// scratch is the memory of one outgoing head. It is used again once the
// request is out: nobody reads a head after RoundTrip has returned.
type scratch struct {
	header http.Header
	values [24]string
	used   int
}

func newScratch() *scratch { return &scratch{header: make(http.Header, 24)} }

// set gives a header one value.
func (s *scratch) set(name, value string) {
	if s.used == len(s.values) {
		s.header[name] = []string{value}
		return
	}
	s.values[s.used] = value
	s.used++
	s.header[name] = s.values[s.used-1 : s.used : s.used]
}

// reset forgets a head, and whom it was about.
func (s *scratch) reset() {
	clear(s.header)
	clear(s.values[:s.used])
	s.used = 0
}

// formatted remembers values that are the same for many requests: of a client,
// as long as its connection lasts, and of an identity, as long as its token. A
// slot holds what was wanted last; a miss costs a formatting. It is safe for
// concurrent use.
type formatted struct {
	seed       maphash.Seed
	clients    [256]atomic.Pointer[clientText]
	identities [16384]atomic.Pointer[identityText]
}

// clientText are the forwarding values of one client on one host. It is
// immutable.
type clientText struct {
	addr   netip.Addr
	host   string
	secure bool

	text, proto, port, forwarded string
}

func (f *formatted) client(addr netip.Addr, host string, secure bool) *clientText {
	slot := &f.clients[maphash.Comparable(f.seed, addr)%uint64(len(f.clients))]
	if c := slot.Load(); c != nil && c.addr == addr && c.host == host && c.secure == secure {
		return c
	}
	c := &clientText{addr: addr, host: strings.Clone(host), secure: secure, text: "unknown", proto: "http", port: "80"}
	if addr.IsValid() {
		c.text = addr.String()
	}
	if secure {
		c.proto, c.port = "https", "443"
	}
	if at := strings.LastIndexByte(c.host, ':'); at >= 0 && at < len(c.host)-1 && c.host[len(c.host)-1] != ']' {
		c.port = c.host[at+1:]
	}
	c.forwarded = forwarded(addr, c.host, c.proto)
	slot.Store(c)
	return c
}

// identityText are the values of one identity under one list of headers. It is
// immutable. It holds the identity, so that no other can have its address.
type identityText struct {
	id      *identity.Identity
	headers *idHeader // the first of the list
	values  []string  // "" where the user has none
}

func (f *formatted) identity(id *identity.Identity, headers []idHeader) *identityText {
	slot := &f.identities[maphash.Comparable(f.seed, id)%uint64(len(f.identities))]
	if t := slot.Load(); t != nil && t.id == id && t.headers == &headers[0] {
		return t
	}
	t := &identityText{id: id, headers: &headers[0], values: make([]string, len(headers))}
	for i, h := range headers {
		t.values[i] = fieldValue(h.field, id)
	}
	slot.Store(t)
	return t
}
