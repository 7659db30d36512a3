package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

func (d *document) checkHostHeader(r *Route, at string) {
	if r.HostHeader == "preserve" || r.HostHeader == "upstream" {
		return
	}
	host, meant := r.HostHeader, suggest(r.HostHeader, []string{"preserve", "upstream"})
	if h, port, err := net.SplitHostPort(host); err == nil && goodPort(port) {
		host = h
	}
	if !goodDialHost(host) || meant != "" {
		d.at(at+".host_header", didYouMean(meant), "%s is not preserve, upstream or a host", quote(r.HostHeader))
	}
}

// customIdentity lists the headers that some map of the file gives an identity.
func customIdentity(c *Config) map[string]bool {
	custom := map[string]bool{}
	add := func(ids *IdentityHeaders) {
		if ids != nil {
			for _, h := range ids.Map {
				custom[foldHeader(h.Header)] = true
			}
		}
	}
	add(&c.IdentityHeaders)
	for i := range c.Routes {
		add(c.Routes[i].IdentityHeaders)
	}
	return custom
}

func (d *document) checkHeaders(r *Route, at string, custom map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(r.SetRequestHeaders)) {
		d.checkHeader(at+".set_request_headers", name, r.SetRequestHeaders[name], requestHeader(name, custom))
	}
	for _, name := range slices.Sorted(maps.Keys(r.SetResponseHeaders)) {
		d.checkHeader(at+".set_response_headers", name, r.SetResponseHeaders[name], responseHeader(name))
	}
	d.checkHeaderList(at+".remove_request_headers", r.RemoveRequestHeaders, func(name string) *finding {
		if isFraming(name) {
			return found("leave it out", "%s belongs to the connection, the gateway writes it itself", name)
		}
		if _, set := r.SetRequestHeaders[canonicalHeader(name)]; set {
			return found("set_request_headers alone replaces the client's", "%s is also in set_request_headers", name)
		}
		return nil
	})
	d.checkHeaderList(at+".allow_headers", r.AllowHeaders, func(name string) *finding {
		switch {
		case isIdentity(name) || isForwarding(name) || isFraming(name) || custom[foldHeader(name)]:
			return found("leave it out", "%s would reach apps as a header that only the gateway may write", quote(name))
		case !strings.ContainsAny(name, "_."):
			return found("leave it out", "%s has neither _ nor . and passes anyway", quote(name))
		}
		return nil
	})
}

func (d *document) checkHeader(at, name, value string, bad *finding) {
	where := join(at, name)
	if bad == nil {
		bad = checkHeaderValue(value)
	}
	if bad != nil && d.clean(where) {
		d.report(d.keys[where], where, bad)
	}
}

func requestHeader(name string, custom map[string]bool) *finding {
	switch {
	case isIdentity(name) || custom[foldHeader(name)]:
		return found("use identity_headers", "%s says who is calling; only the gateway writes it", name)
	case isForwarding(name):
		return found("leave it out", "%s says where a request comes from; only the gateway writes it", name)
	case foldHeader(name) == "host":
		return found("use host_header", "Host is not set here")
	case isFraming(name):
		return found("leave it out", "%s belongs to the connection, the gateway writes it itself", name)
	}
	return nil
}

func responseHeader(name string) *finding {
	switch folded := foldHeader(name); {
	case folded == "strict-transport-security":
		return found("use tls.hsts", "%s is not set here", name)
	case folded == "set-cookie" || folded == "gatehouse-response" || folded == "clear-site-data":
		return found("leave it out", "%s is not for routes to set", name)
	case isFraming(name) || folded == "date":
		return found("leave it out", "%s belongs to the connection, the gateway writes it itself", name)
	}
	return nil
}

// checkHeaderList checks names and makes them canonical in place.
func (d *document) checkHeaderList(at string, list []string, refuse func(string) *finding) {
	seen := set{}
	for i, name := range list {
		where := fmt.Sprintf("%s[%d]", at, i)
		bad := (*finding)(nil)
		switch {
		case name == "" && !d.clean(where):
		case !validHeaderName(name):
			bad = found("", "%s is not a header name", quote(name))
		case seen.twice(canonicalHeader(name)):
			bad = found("remove one of them", "%s is given twice", quote(name))
		default:
			bad = refuse(name)
		}
		if bad != nil {
			d.at(where, bad.hint, "%s", bad.message)
		}
		list[i] = canonicalHeader(name)
	}
}
