package proxy

import (
	"net/http"
	"slices"
	"strings"

	"gatehouse/config"
)

// Names of our own that cross the wire.
const (
	headerAssertion = "X-Gatehouse-Assertion"
	headerResponse  = "Gatehouse-Response"
	cookiePrefix    = "__Host-"
	cookieAccess    = "gatehouse"
	cookieRefresh   = "gatehouse-refresh"
)

// field says which part of the identity a header carries.
type field uint8

const (
	fieldSub field = iota
	fieldEmail
	fieldName
	fieldGroups
	fieldSession
	fieldAMR
)

func fieldNamed(name string) (field, bool) {
	for f, n := range [...]string{"sub", "email", "name", "groups", "sid", "amr"} {
		if n == name {
			return field(f), true //#nosec G115 -- an index below six
		}
	}
	return 0, false
}

// idHeader is one identity header of a route.
type idHeader struct {
	name  string // canonical
	field field
}

// preset returns the headers of contract section 5.
func preset(name string) ([]idHeader, bool) {
	switch name {
	case "x-forwarded", "":
		return []idHeader{{"X-Forwarded-User", fieldSub}, {"X-Forwarded-Email", fieldEmail}, {"X-Forwarded-Preferred-Username", fieldName}, {"X-Forwarded-Groups", fieldGroups}}, true
	case "remote-user":
		return []idHeader{{"Remote-User", fieldEmail}, {"Remote-Name", fieldName}, {"Remote-Email", fieldEmail}, {"Remote-Groups", fieldGroups}}, true
	case "x-auth-request":
		return []idHeader{{"X-Auth-Request-User", fieldSub}, {"X-Auth-Request-Email", fieldEmail}, {"X-Auth-Request-Preferred-Username", fieldName}, {"X-Auth-Request-Groups", fieldGroups}}, true
	case "x-webauth":
		return []idHeader{{"X-Webauth-User", fieldEmail}, {"X-Webauth-Email", fieldEmail}, {"X-Webauth-Name", fieldName}, {"X-Webauth-Groups", fieldGroups}}, true
	case "x-remote-user":
		return []idHeader{{"X-Remote-User", fieldEmail}}, true
	default:
		return nil, false
	}
}

// reservedFamilies are whole families of names by which gateways speak to
// apps; whatever begins with one is removed.
func reservedFamilies() []string {
	return append(writtenFamilies(), "X-Original-", "X-Envoy-", "X-Ssl-Client-", "Ssl-Client-", "X-Authentik-", "X-Pomerium-", "X-Amzn-Oidc-", "X-Vouch-")
}

// writtenFamilies are those that gatehouse itself writes.
func writtenFamilies() []string {
	return []string{"X-Forwarded-", "X-Auth-Request-", "X-Webauth-", "X-Gatehouse-"}
}

// writtenNames are the identity and forwarding names of every preset,
// canonical; nobody else writes them, routes included.
func writtenNames() []string {
	return []string{
		"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "X-Remote-User",
		"Forwarded", "X-Real-Ip", "X-Request-Id", "Gatehouse-Response",
	}
}

// deniedNames are the identity, forwarding and override names of other
// gateways and frameworks (threats T11 to T13), canonical: no client's passes,
// but a route may set them.
func deniedNames() []string {
	return []string{
		"Remote-Addr", "Remote-Host", "Remote-Ident",
		"X-Remote-Name", "X-Remote-Email", "X-Remote-Groups", "X-Remote-Group", "X-Remote-Addr", "X-Remote-Ip",
		"X-User", "X-User-Id", "X-User-Name", "X-User-Email", "X-Username", "X-Email", "X-Groups", "X-Roles",
		"X-Authenticated-User", "X-Authenticated-Userid", "X-Authenticated-Email", "X-Authenticated-Groups",
		"X-Auth-User", "X-Auth-Email", "X-Auth-Username", "X-Auth-Groups", "X-Goog-Authenticated-User-Email", "X-Goog-Authenticated-User-Id",
		"X-Goog-Iap-Jwt-Assertion", "Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion",
		"X-Ms-Client-Principal", "X-Ms-Client-Principal-Id", "X-Ms-Client-Principal-Name", "X-Ms-Client-Principal-Idp",
		"Tailscale-User-Login", "Tailscale-User-Name", "Tailscale-User-Profile-Pic",
		"Client-Cert", "Client-Cert-Chain", "X-Client-Cert", "X-Client-Dn", "X-Client-Verify", // the first two are RFC 9440
		"X-Proxyuser-Ip", "X-Forwarded", "Forwarded-For", "X-Client-Ip", "Client-Ip", "True-Client-Ip",
		"X-Cluster-Client-Ip", "X-Originating-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip",
		"X-Rewrite-Url", "X-Override-Url", "X-Replaced-Path", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override",
		"X-Http-Host-Override", "X-Host", "X-Scheme", "X-Url-Scheme", "Front-End-Https", "X-Script-Name", "Script-Name", "Proxy", "Proxy-User", "Auth-User",
	}
}

// reservedSet adds the names that this configuration maps itself.
func reservedSet(cfg *config.Config) map[string]struct{} {
	set := map[string]struct{}{}
	for _, n := range append(writtenNames(), deniedNames()...) {
		set[n] = struct{}{}
	}
	add := func(ih *config.IdentityHeaders) {
		if ih == nil {
			return
		}
		for _, h := range ih.Map {
			set[foldName(h.Header)] = struct{}{}
		}
	}
	add(&cfg.IdentityHeaders)
	for i := range cfg.Routes {
		add(cfg.Routes[i].IdentityHeaders)
	}
	return set
}

// writtenHere reports the names that only gatehouse writes; those of the maps
// come on top. A route may set what is denied to clients alone.
func (t *table) writtenHere(folded string) bool {
	if hopByHop(folded) || folded == "Via" || slices.Contains(writtenNames(), folded) {
		return true
	}
	if slices.ContainsFunc(writtenFamilies(), func(f string) bool { return strings.HasPrefix(folded, f) }) {
		return true
	}
	_, reserved := t.reserved[folded]
	return reserved && !slices.Contains(deniedNames(), folded)
}

// foldName maps a header name to what CGI-like servers make of it: case and
// every byte that is no letter or digit are the same (threat T3).
func foldName(name string) string {
	b := []byte(name)
	for i, c := range b {
		if !alnum(c) {
			b[i] = '-'
		}
	}
	return http.CanonicalHeaderKey(string(b))
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isReserved judges a folded, canonical name.
func (t *table) isReserved(name string) bool {
	if _, ok := t.reserved[name]; ok {
		return true
	}
	if len(name) < 8 {
		return false
	}
	switch name[0] {
	case 'X', 'S':
	default:
		return false
	}
	for _, f := range t.families {
		if strings.HasPrefix(name, f) {
			return true
		}
	}
	return false
}

// hopByHop reports the names that end at this hop (RFC 9110 section 7.6.1) or
// that we write ourselves.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length", "Expect", "Host":
		return true
	}
	return false
}
