package proxy

import (
	"net/http"
	"strings"

	"gatehouse/web"
)

// safeMethod are the methods that change nothing (RFC 9110 section 9.2.1; RFC
// 4918 and 3253 for the last two).
func safeMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "PROPFIND", "REPORT":
		return true
	}
	return false
}

// foreign reports whether a browser says that the request comes from another
// origin (threat T72). A request with neither header is no browser's cross-site
// one: SameSite cookies cover what is left.
func foreign(r *http.Request, rec *web.Record) bool {
	switch sites := r.Header["Sec-Fetch-Site"]; {
	case len(sites) > 1:
		return true
	case len(sites) == 1:
		return sites[0] != "same-origin" && sites[0] != "none"
	}
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return false
	}
	return len(origins) > 1 || !sameOrigin(origins[0], r.Host, rec.Secure)
}

// crossSiteRefused is the check for unsafe methods with our cookie.
func (rt *route) crossSiteRefused(r *http.Request, rec *web.Record) bool {
	if safeMethod(r.Method) || rt.cfg.AllowCrossSite || !foreign(r, rec) {
		return false
	}
	origins := r.Header["Origin"]
	return len(origins) != 1 || !rt.corsAllows(origins[0]) || !rt.cfg.CORS.Credentials && rt.corsAny
}

// socketRefused is the check for a WebSocket handshake with our cookie: an
// Origin of the route's list, always (threat T131).
func (rt *route) socketRefused(r *http.Request, rec *web.Record) bool {
	origins := r.Header["Origin"]
	if len(origins) != 1 {
		return true
	}
	if rt.socketSameHost && sameOrigin(origins[0], r.Host, rec.Secure) {
		return false
	}
	_, ok := rt.socketOrigins[normalOrigin(origins[0])]
	return !ok
}

func sameOrigin(origin, host string, secure bool) bool {
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	theirs := normalOrigin(origin)
	return theirs != "" && theirs == normalOrigin(scheme+host)
}

// normalOrigin serialises an http origin (RFC 6454 section 6.2): lower case,
// without the scheme's default port. What is no such origin, as browsers write
// it, gives "".
func normalOrigin(origin string) string {
	scheme, authority, ok := strings.Cut(origin, "://")
	if !ok {
		return ""
	}
	if _, ok := canonicalHost(authority); !ok || strings.HasSuffix(authority, ":") {
		return ""
	}
	scheme, authority = strings.ToLower(scheme), strings.ToLower(authority)
	switch scheme {
	case "https":
		authority = strings.TrimSuffix(authority, ":443")
	case "http":
		authority = strings.TrimSuffix(authority, ":80")
	default:
		return ""
	}
	return scheme + "://" + authority
}

// upgradeOf says what an Upgrade header asks for: "" nothing, "websocket", or
// not ok for everything else (threats T49, T50).
func upgradeOf(r *http.Request) (token string, ok bool) {
	values := r.Header["Upgrade"]
	if len(values) == 0 {
		return "", true
	}
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 {
		return "", true // ignored in HTTP/1.0 (RFC 9110 section 7.8)
	}
	if len(values) != 1 || !strings.EqualFold(values[0], "websocket") {
		return "", false
	}
	if !nominates(r.Header["Connection"], "Upgrade") {
		return "", true
	}
	if r.Method != http.MethodGet || r.ContentLength != 0 {
		return "", false
	}
	return "websocket", true
}
