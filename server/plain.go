package server

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/config"
	"gatehouse/web"
)

// plain answers a request whose client side is not https: a browser going to a
// page is sent to https, everything else is told so and nothing of it is read
// (T119). A program that was redirected would have sent its credentials in the
// clear first, and go on doing so.
func (s *Server) plain(w *writer, r *http.Request, st *state, host string) {
	path := r.URL.EscapedPath()
	if web.IsNavigation(r) && strings.HasPrefix(path, "/") {
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		s.ui.Redirect(w, r, http.StatusPermanentRedirect, "use_https", "https://"+host+st.port+path)
		return
	}
	w.close = true
	s.ui.Fail(w, r, &web.Error{Status: http.StatusForbidden, Code: "https_required", Detail: "This is only served over https. Credentials sent over plain http should be considered known to others."})
}

// publicPort is the port clients reach https at, with its colon: the issuer's,
// since listen.https may be mapped to another one outside.
func publicPort(cfg *config.Config) string {
	port := ""
	if u, err := url.Parse(cfg.Tokens.Issuer); err == nil && u.Host != "" {
		port = u.Port()
	} else if _, p, err := net.SplitHostPort(cfg.Listen.HTTPS); err == nil {
		port = p
	}
	if port == "" || port == "443" {
		return ""
	}
	return ":" + port
}
