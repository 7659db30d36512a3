package proxy

import (
	"net/http"
	"net/url"
	"strings"
)

// outside is what a response is mapped back to.
type outside struct {
	rt     *route
	host   string // as the client sent it
	scheme string
}

// rewrite maps the addresses in an app's answer to the outside.
func (o outside) rewrite(h http.Header) {
	for _, name := range [...]string{"Location", "Content-Location"} {
		if v := h[name]; len(v) == 1 {
			h[name] = []string{o.address(v[0])}
		}
	}
	if v := h["Refresh"]; len(v) == 1 {
		h["Refresh"] = []string{o.refresh(v[0])}
	}
	for i, c := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = o.cookie(c)
	}
}

// address maps one URL or path. What points elsewhere stays.
func (o outside) address(s string) string {
	if strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") {
		return o.withPrefix(s)
	}
	at := strings.Index(s, "//")
	if at < 0 {
		return s // relative to the request
	}
	scheme := strings.ToLower(strings.TrimSuffix(s[:at], ":"))
	if at > 0 && scheme != "http" && scheme != "https" {
		return s
	}
	rest := s[at+2:]
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	if !o.inside(scheme, rest[:end]) {
		return s
	}
	path := rest[end:]
	if path == "" || path[0] != '/' {
		if o.rt.cfg.StripPrefix && o.rt.prefix != "" {
			path = "/" + path
		}
		return o.scheme + "://" + o.host + o.withPrefix(path)
	}
	return o.scheme + "://" + o.host + o.withPrefix(path)
}

// inside reports whether an authority is the app's own: one of its upstreams,
// or the outside host spelled with the app's idea of scheme and port.
func (o outside) inside(scheme, authority string) bool {
	authority = strings.ToLower(authority)
	for _, u := range o.rt.cfg.Upstream {
		if authority == strings.ToLower(u.Host) || authority == strings.ToLower(stripDefaultPort(u.Host)) {
			return true
		}
	}
	if o.rt.cfg.HostHeader != "preserve" && o.rt.cfg.HostHeader != "upstream" && authority == strings.ToLower(o.rt.cfg.HostHeader) {
		return true
	}
	if authority == strings.ToLower(o.host) {
		return true
	}
	name, ok := canonicalHost(authority)
	own, _ := canonicalHost(o.host)
	return ok && name == own && scheme != "https" && (authority == name || strings.HasSuffix(authority, ":80"))
}

func stripDefaultPort(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ":443")
}

// withPrefix puts back what strip_prefix took.
func (o outside) withPrefix(path string) string {
	if !o.rt.cfg.StripPrefix || o.rt.prefix == "" || path == "" || path[0] != '/' {
		return path
	}
	return o.rt.prefix + path
}

// refresh maps the address in "5; url=...".
func (o outside) refresh(s string) string {
	at := strings.Index(strings.ToLower(s), "url=")
	if at < 0 {
		return s
	}
	head, target := s[:at+4], s[at+4:]
	if len(target) > 1 && (target[0] == '"' || target[0] == '\'') && target[len(target)-1] == target[0] {
		return head + target[:1] + o.address(target[1:len(target)-1]) + target[:1]
	}
	return head + o.address(target)
}

// cookie maps Domain and Path of a Set-Cookie; a Domain that names the app's
// inside address goes, which leaves the cookie to the outside host.
func (o outside) cookie(s string) string {
	parts := strings.Split(s, ";")
	out := parts[:1]
	changed := false
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		value = strings.Trim(value, " \t")
		switch strings.ToLower(strings.Trim(name, " \t")) {
		case "domain":
			if d := strings.TrimPrefix(strings.ToLower(value), "."); d != "" && o.insideName(d) {
				changed = true
				continue
			}
		case "path":
			if mapped := o.withPrefix(value); mapped != value {
				p, changed = " Path="+mapped, true
			}
		}
		out = append(out, p)
	}
	if !changed {
		return s
	}
	return strings.Join(out, ";")
}

func (o outside) insideName(domain string) bool {
	own, _ := canonicalHost(o.host)
	if domain == own || strings.HasSuffix(own, "."+domain) {
		return false
	}
	for _, u := range o.rt.cfg.Upstream {
		if name, ok := canonicalHost(u.Host); ok && (name == domain || strings.HasSuffix(name, "."+domain)) {
			return true
		}
	}
	name, ok := canonicalHost(o.rt.cfg.HostHeader)
	return ok && (name == domain || strings.HasSuffix(name, "."+domain))
}

// destinationPath takes the raw path of a Destination header (RFC 4918 section
// 10.3) that names this host.
func destinationPath(value, host string) (path, query string, ok bool) {
	if strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "//") {
		path, query, _ = strings.Cut(value, "?")
		return path, query, true
	}
	u, err := url.Parse(value)
	if err != nil || u.User != nil || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", "", false
	}
	theirs, ok1 := canonicalHost(u.Host)
	ours, ok2 := canonicalHost(host)
	if !ok1 || !ok2 || theirs != ours {
		return "", "", false
	}
	rest := value[strings.Index(value, "//")+2:]
	at := strings.IndexByte(rest, '/')
	if at < 0 {
		return "/", "", true
	}
	path, query, _ = strings.Cut(rest[at:], "?")
	return path, query, true
}
