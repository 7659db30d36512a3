package web

import (
	"net/http"
	"net/url"
	"strings"
)

// policy is the Content-Security-Policy of everything we answer: nothing runs,
// nothing comes from elsewhere, nobody frames it, and a form only goes home.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// own marks an answer as ours, with the headers all of ours carry, and drops
// what an abandoned answer of somebody else may have left. Set-Cookie stays: a
// session that ended clears its cookies on a refusal, too.
func own(w http.ResponseWriter, code string) {
	h := w.Header()
	for _, name := range []string{
		"Content-Length", "Content-Encoding", "Content-Range", "Content-Disposition", "Accept-Ranges",
		"Etag", "Last-Modified", "Expires", "Trailer", "Location", "Server", "X-Powered-By",
	} {
		h.Del(name)
	}
	h.Set("Gatehouse-Response", code)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	// not no-referrer: with it browsers send "Origin: null" on our own forms,
	// and the check of where a form comes from would refuse them
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	RecordOf(w).Code = code
}

// IsNavigation reports whether the request is a person's browser going to a
// page: GET or HEAD, Sec-Fetch-Mode: navigate or Accept with text/html, no
// X-Requested-With, no Authorization.
func IsNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return !isProgram(r) && (r.Header.Get("Sec-Fetch-Mode") == "navigate" || acceptsHTML(r))
}

// wantsPage reports whether a failure is shown as a page: to a navigation, to a
// form that a browser posted, and to any form posted to our own endpoints.
func (u *UI) wantsPage(r *http.Request) bool {
	if IsNavigation(r) {
		return true
	}
	if isProgram(r) || r.Method != http.MethodPost {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "document", "iframe", "frame":
		return r.Header.Get("Sec-Fetch-Mode") == "navigate"
	case "":
		return strings.HasPrefix(r.URL.Path, u.opts.Prefix+"/") && acceptsHTML(r) &&
			mediaType(r.Header.Get("Content-Type")) == "application/x-www-form-urlencoded"
	}
	return false
}

func isProgram(r *http.Request) bool {
	return len(r.Header.Values("X-Requested-With")) > 0 || len(r.Header.Values("Authorization")) > 0
}

// acceptsHTML reports whether text/html is named in Accept and not refused.
func acceptsHTML(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for entry := range strings.SplitSeq(line, ",") {
			if mediaType(entry) != "text/html" {
				continue
			}
			_, params, _ := strings.Cut(strings.ReplaceAll(strings.ToLower(entry), " ", ""), ";q=")
			weight, _, _ := strings.Cut(params, ";")
			if weight == "" || strings.Trim(weight, "0.") != "" {
				return true
			}
		}
	}
	return false
}

func isGRPC(r *http.Request) bool {
	t := mediaType(r.Header.Get("Content-Type"))
	return t == "application/grpc" || strings.HasPrefix(t, "application/grpc+")
}

// mediaType returns the type of a Content-Type or one entry of Accept, without
// parameters, in lower case.
func mediaType(v string) string {
	t, _, _ := strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// grpcMessage encodes a message for the grpc-message field: percent-encoded
// UTF-8 in which spaces stay readable.
func grpcMessage(s string) string {
	return strings.ReplaceAll(url.PathEscape(s), "%20", " ")
}
