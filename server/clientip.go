package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// caller is what the network says about a request.
type caller struct {
	client  netip.Addr // unmapped, without zone
	trusted bool       // the peer is a trusted proxy
	secure  bool       // the client's side is https
	bad     string     // header of a trusted proxy that made no sense, or ""
}

// callerOf finds the client. Without trusted networks, and for a peer outside
// them, that is the peer, whatever the headers claim (T17). A trusted peer's
// X-Forwarded-For is read from the right to the first address nobody vouches
// for; one entry on that way which is no address makes the whole header void,
// and the peer the client (T18).
func callerOf(trusted []netip.Prefix, r *http.Request) caller {
	c := caller{client: peerOf(r.RemoteAddr), secure: r.TLS != nil}
	if len(trusted) == 0 || !contains(trusted, c.client) {
		return c
	}
	c.trusted = true
	if proto, ok := forwardedProto(r.Header["X-Forwarded-Proto"]); ok {
		c.secure = proto == "https"
	} else if len(r.Header["X-Forwarded-Proto"]) > 0 {
		c.bad = "X-Forwarded-Proto"
	}
	lines := r.Header["X-Forwarded-For"]
	if len(lines) == 0 {
		return c
	}
	if addr, ok := walk(trusted, lines); ok {
		c.client = addr
	} else {
		c.bad = "X-Forwarded-For"
	}
	return c
}

// walk reads the list from its end. It returns the first address outside the
// trusted networks, or the leftmost one when all are inside.
func walk(trusted []netip.Prefix, lines []string) (netip.Addr, bool) {
	var last netip.Addr
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			entry := rest
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, entry = rest[:cut], rest[cut+1:]
			} else {
				more = false
			}
			addr, ok := parseEntry(strings.Trim(entry, " \t"))
			if !ok {
				return netip.Addr{}, false
			}
			last = addr
			if !contains(trusted, addr) {
				return addr, true
			}
		}
	}
	return last, true
}

// parseEntry accepts an address, bare or with a port, IPv6 in brackets or not.
func parseEntry(s string) (netip.Addr, bool) {
	if len(s) > 64 { // the longest is [v6%zone]:port
		return netip.Addr{}, false
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return clean(a), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return clean(ap.Addr()), true
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if a, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil && a.Is6() {
			return clean(a), true
		}
	}
	return netip.Addr{}, false
}

// forwardedProto takes the value the nearest proxy wrote. Anything but one of
// the two schemes is no statement (T22).
func forwardedProto(lines []string) (string, bool) {
	if len(lines) != 1 {
		return "", false
	}
	v := lines[0]
	if cut := strings.LastIndexByte(v, ','); cut >= 0 {
		v = v[cut+1:]
	}
	v = strings.ToLower(strings.Trim(v, " \t"))
	return v, v == "https" || v == "http"
}

// clean makes one spelling of an address: ::ffff:1.2.3.4 is 1.2.3.4, and a
// zone means nothing outside its own machine (T21, CVE-2024-24790).
func clean(a netip.Addr) netip.Addr { return a.Unmap().WithZone("").Unmap() }

// peerOf parses net/http's RemoteAddr; a peer without an address (a socket)
// gets the zero Addr, which is inside no network.
func peerOf(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return clean(ap.Addr())
}

func contains(nets []netip.Prefix, a netip.Addr) bool {
	for _, p := range nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// unmapPrefixes brings the configured networks into the spelling clean uses.
func unmapPrefixes(in []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}
