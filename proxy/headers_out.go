package proxy

import (
	"net/http"
	"strings"
)

// responseHeader copies what the app said to the client's header, without what
// ends here and without what only we may say. setCookies are ours and always
// arrive.
func (rt *route) responseHeader(dst, src http.Header, r *http.Request, secure, signedIn bool, setCookies []string) {
	connection := src["Connection"]
	for name, values := range src {
		if name == "Content-Length" {
			dst[name] = values
			continue
		}
		if hopByHop(name) && name != "Host" || name == headerResponse || name == "Strict-Transport-Security" || nominates(connection, name) {
			continue
		}
		switch name {
		case "Set-Cookie":
			values = foreignCookies(values)
		case "Clear-Site-Data":
			values = keepCookies(values)
		}
		if len(values) > 0 {
			dst[name] = values
		}
	}
	if len(dst["Content-Type"]) == 0 {
		dst["Content-Type"] = nil // keeps net/http from guessing one
	}
	if rt.cfg.RewriteResponse {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		outside{rt, r.Host, scheme}.rewrite(dst)
	}
	rt.corsMark(dst, r)
	for name, values := range rt.setResponse {
		dst[name] = values
	}
	if signedIn && len(dst["Cache-Control"]) == 0 {
		dst["Cache-Control"] = rt.private // threat T144
	}
	if len(setCookies) > 0 { // a renewal: what the app lets others keep must not hold it
		dst["Cache-Control"] = []string{"no-store"}
		dst["Set-Cookie"] = append(dst["Set-Cookie"], setCookies...)
	}
}

// foreignCookies drops Set-Cookie lines with our names (threat T62).
func foreignCookies(lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		if !oursInResponse(l) {
			out = append(out, l)
		}
	}
	return out
}

// keepCookies takes "cookies" out of Clear-Site-Data; "*" becomes the other
// types. What is left may be nothing.
func keepCookies(lines []string) []string {
	var out []string
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			switch t = strings.Trim(t, " \t"); strings.ToLower(t) {
			case "", `"cookies"`, "cookies":
			case `"*"`, "*":
				out = append(out, `"cache"`, `"clientHints"`, `"storage"`, `"executionContexts"`)
			default:
				out = append(out, t)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return []string{strings.Join(out, ", ")}
}
