package authn

import (
	"net/http"
	"net/url"
	"strings"

	"gatehouse/web"
)

// sameOrigin refuses what another site, or a sibling of this one, makes a
// browser send (threats T68, T70, T71). Programs send neither header.
func (h *Handler) sameOrigin(r *http.Request, rec *web.Record) error {
	err := h.csrf.Check(r)
	if err == nil && fromHere(r, rec.Secure) {
		return nil
	}
	return &web.Error{Status: 403, Code: "cross_site", Detail: "This request came from another site; please use the page of this one.", Cause: err}
}

// fromHere refuses what http.CrossOriginProtection lets pass: a field that
// repeats, an Origin of another host beside a Sec-Fetch-Site that says
// otherwise, and the page of this host that came without TLS.
func fromHere(r *http.Request, secure bool) bool {
	sites, origins := r.Header["Sec-Fetch-Site"], r.Header["Origin"]
	if len(sites) > 1 || len(origins) > 1 {
		return false
	}
	if len(sites) == 1 && sites[0] != "same-origin" && sites[0] != "none" {
		return false
	}
	if len(origins) == 0 {
		return true
	}
	if len(sites) == 0 {
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		return strings.EqualFold(origins[0], scheme+r.Host)
	}
	if origins[0] == "null" {
		return true // a browser that keeps its Origin to itself; it has compared
	}
	// A proxy in front may have cut the port off Host.
	u, err := url.Parse(origins[0])
	return err == nil && strings.EqualFold(u.Hostname(), (&url.URL{Host: r.Host}).Hostname())
}
