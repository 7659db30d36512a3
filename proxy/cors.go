package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (rt *route) buildOrigins() {
	rt.socketOrigins = map[string]struct{}{}
	origins := rt.cfg.WebSocket.Origins
	if len(origins) == 0 {
		rt.socketSameHost = true
	}
	for _, o := range origins {
		if o == "same" {
			rt.socketSameHost = true
		} else if n := normalOrigin(o); n != "" {
			rt.socketOrigins[n] = struct{}{}
		}
	}
	c := rt.cfg.CORS
	if c == nil {
		return
	}
	rt.corsOrigins = map[string]struct{}{}
	for _, o := range c.Origins {
		if o == "*" {
			rt.corsAny = true
		} else if n := normalOrigin(o); n != "" {
			rt.corsOrigins[n] = struct{}{}
		}
	}
	methods := c.Methods
	if len(methods) == 0 {
		methods = []string{"GET", "HEAD", "POST"}
	}
	rt.corsMethods = []string{strings.Join(methods, ", ")}
	if len(c.Headers) > 0 {
		rt.corsHeaders = []string{strings.Join(c.Headers, ", ")}
	}
	rt.corsMaxAge = []string{strconv.Itoa(int(c.MaxAge.Seconds()))}
}

func (rt *route) corsAllows(origin string) bool {
	if rt.cfg.CORS == nil {
		return false
	}
	if rt.corsAny {
		return true
	}
	n := normalOrigin(origin)
	_, ok := rt.corsOrigins[n]
	return ok && n != ""
}

// preflight recognises a true preflight on a route that answers them; it needs
// no identity and never reaches the app (threat T37).
func (rt *route) preflight(r *http.Request) bool {
	return rt.cfg.CORS != nil && r.Method == http.MethodOptions && len(r.Header["Origin"]) == 1 &&
		len(r.Header["Access-Control-Request-Method"]) == 1 && r.ContentLength == 0
}

// answerPreflight fills the header of the answer; a refused one is an answer
// without permissions.
func (rt *route) answerPreflight(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if !rt.corsAllows(r.Header["Origin"][0]) {
		return
	}
	rt.corsMark(h, r)
	h["Access-Control-Allow-Methods"] = rt.corsMethods
	if rt.corsHeaders != nil {
		h["Access-Control-Allow-Headers"] = rt.corsHeaders
	}
	h["Access-Control-Max-Age"] = rt.corsMaxAge
}

// corsMark replaces whatever the app said about cross-origin access.
func (rt *route) corsMark(h http.Header, r *http.Request) {
	if rt.cfg.CORS == nil {
		return
	}
	for _, name := range [...]string{"Origin", "Credentials", "Methods", "Headers", "Max-Age"} {
		delete(h, "Access-Control-Allow-"+name)
	}
	delete(h, "Access-Control-Max-Age")
	if !rt.corsAny && !slices.Contains(h["Vary"], "Origin") {
		h.Add("Vary", "Origin")
	}
	origins := r.Header["Origin"]
	if len(origins) != 1 || !rt.corsAllows(origins[0]) {
		return
	}
	if rt.corsAny {
		h["Access-Control-Allow-Origin"] = []string{"*"}
		return
	}
	h["Access-Control-Allow-Origin"] = origins
	if rt.cfg.CORS.Credentials {
		h["Access-Control-Allow-Credentials"] = []string{"true"}
	}
}
