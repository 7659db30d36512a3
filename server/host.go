package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hostOf returns the host name of a Host or :authority value in lower case,
// without port and final dot (threat T30), and whether the value is well-formed (RFC 9110 section 7.2).
func hostOf(hostport string) (string, bool) {
	host, port := hostport, ""
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && strings.IndexByte(hostport[i:], ']') < 0 {
		host, port = hostport[:i], hostport[i+1:]
		if len(port) == 0 || len(port) > 5 {
			return "", false
		}
		for i := 0; i < len(port); i++ {
			if port[i] < '0' || port[i] > '9' {
				return "", false
			}
		}
	}
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		if err != nil || !a.Is6() || a.Zone() != "" {
			return "", false
		}
		return host, true
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return "", false
	}
	upper := false
	for i := 0; i < len(host); i++ {
		switch c := host[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case c >= 'A' && c <= 'Z':
			upper = true
		case c == '.':
			if i == 0 || host[i-1] == '.' {
				return "", false
			}
		default:
			return "", false
		}
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, true
}

// misdirected reports a request for a host that the connection's certificate
// is not for (RFC 9110 section 7.4). Clients may use one connection for every
// host of its certificate, so a difference alone is no fault.
func (s *Server) misdirected(r *http.Request, st *state, host string) bool {
	if r.TLS == nil || r.TLS.ServerName == "" || r.TLS.ServerName == host || strings.EqualFold(r.TLS.ServerName, host) {
		return false
	}
	return !st.certs.covers(r.TLS.ServerName, host)
}

type connKey struct{}

// withConn keeps the connection where connectionOf finds it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if own := inner(c); own != nil {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

// inner is what our listener accepted, inside of what was made of it; nil when
// it was not ours.
func inner(c net.Conn) *conn {
	for {
		switch v := c.(type) {
		case *conn:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		case interface{ Raw() net.Conn }:
			c = v.Raw()
		default:
			return nil
		}
	}
}

// connectionOf is the connection of a request.
func connectionOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// overCap reports whether the request's connection was accepted above the cap.
func overCap(ctx context.Context) bool {
	c := connectionOf(ctx)
	return c != nil && c.over
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }
