package config

import (
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// set finds what is given twice.
type set map[string]bool

// twice adds s and reports whether it was there.
func (seen set) twice(s string) bool {
	if seen[s] {
		return true
	}
	seen[s] = true
	return false
}

// canonicalHeader is the canonical spelling of a header name.
func canonicalHeader(name string) string { return textproto.CanonicalMIMEHeaderKey(name) }

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

func validHeaderName(name string) bool { return isToken(name) && len(name) <= 128 }

// checkHeaderValue refuses what would end the line or change in transit
// (RFC 9110, 5.5).
func checkHeaderValue(v string) *finding {
	for _, r := range v {
		if r < ' ' && r != '\t' || r == 0x7f {
			return found("", "a header value is one line without control characters")
		}
	}
	if strings.TrimSpace(v) != v {
		return found("", "a header value neither starts nor ends with a space")
	}
	return nil
}

// foldHeader is the form in which names collide once an app has turned _ and
// . into - or back (CVE-2025-64484).
func foldHeader(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// isForwarding reports names that say where a request comes from; the gateway
// writes all of them itself.
func isForwarding(name string) bool {
	name = foldHeader(name)
	switch name {
	case "forwarded", "via", "x-real-ip", "x-request-id":
		return true
	}
	return strings.HasPrefix(name, "x-forwarded-") || strings.HasPrefix(name, "x-gatehouse-") || strings.HasPrefix(name, "gatehouse-")
}

// isIdentity reports names under which some preset says who is calling.
func isIdentity(name string) bool {
	name = foldHeader(name)
	switch name {
	case "remote-user", "remote-name", "remote-email", "remote-groups", "x-remote-user":
		return true
	case "x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-groups":
		return true
	}
	return strings.HasPrefix(name, "x-auth-request-") || strings.HasPrefix(name, "x-webauth-")
}

// isFraming reports names that belong to one connection or frame the message
// (RFC 9110, 7.6.1); changing them is request smuggling.
func isFraming(name string) bool {
	switch foldHeader(name) {
	case "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"transfer-encoding", "upgrade", "content-length", "host", "expect":
		return true
	}
	return false
}

// checkIdentityName says whether a header may carry a field of the identity.
func checkIdentityName(name string) *finding {
	switch {
	case strings.ContainsAny(name, "_.!#$%&'*+^`|~"):
		return found("write "+canonicalHeader(strings.NewReplacer("_", "-", ".", "-").Replace(name)), "%s: an identity header has letters, digits and - only", quote(name))
	case isIdentity(name):
		return nil
	case isForwarding(name) || isFraming(name) || slices.Contains([]string{"Authorization", "Cookie", "Set-Cookie", "Origin", "Referer", "User-Agent", "Accept"}, name) ||
		strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Sec-"):
		return found("choose a name of its own, as in X-User", "%s has another meaning and cannot carry an identity", name)
	}
	return nil
}

// asciiHost lower-cases a host name and turns international labels into their
// ASCII form (RFC 5891). ok is false for what is not a host name.
func asciiHost(s string) (string, bool) {
	ascii, err := idna.Lookup.ToASCII(s)
	if err != nil || ascii == "" || len(ascii) > 253 || strings.HasSuffix(ascii, ".") {
		return "", false
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	return ascii, true
}

// goodDialHost reports names and addresses that can be dialled; unlike public
// names they may hold an underscore, as container names do.
func goodDialHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.IsValid()
	}
	_, ok := asciiHost(strings.ReplaceAll(s, "_", "-"))
	return ok
}

// checkOrigin says whether s is an origin as browsers send it (RFC 6454, 6.2).
func checkOrigin(s string) *finding {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return found("write https://app.example.com", "%s is not an origin", hideUserinfo(s))
	}
	clean := u.Scheme + "://" + strings.ToLower(u.Host)
	clean = strings.TrimSuffix(clean, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	if s != clean {
		return found("write "+visible(clean), "%s is not an origin as browsers send it", quote(s))
	}
	host := u.Hostname()
	if _, isHost := asciiHost(host); !isHost && !isIP(host) || u.Port() != "" && !goodPort(u.Port()) || strings.HasSuffix(u.Host, ":") {
		return found("write https://app.example.com", "%s is not an origin", quote(s))
	}
	return nil
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
