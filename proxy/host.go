package proxy

import (
	"net/netip"
	"strings"
)

// canonicalHost lower-cases a Host, drops one trailing dot and the port
// (threat T30). What is not a host name or an address is refused.
func canonicalHost(hostport string) (string, bool) {
	host := hostport
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 || !validPort(host[end+1:]) {
			return "", false
		}
		addr, err := netip.ParseAddr(host[1:end])
		if err != nil || addr.Zone() != "" {
			return "", false
		}
		return addr.String(), true
	}
	if at := strings.IndexByte(host, ':'); at >= 0 {
		if !validPort(host[at:]) {
			return "", false
		}
		host = host[:at]
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return "", false
	}
	lower := true
	for i := 0; i < len(host); i++ {
		switch c := host[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case c == '.':
			if i == 0 || host[i-1] == '.' || i == len(host)-1 {
				return "", false
			}
		case c >= 'A' && c <= 'Z':
			lower = false
		default:
			return "", false
		}
	}
	if !lower {
		host = strings.ToLower(host)
	}
	return host, true
}

func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for _, c := range s[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
