package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

var routeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (d *document) checkRoutes(c *Config) {
	if len(c.Routes) == 0 && d.clean("routes") && !d.meant["routes"] {
		d.warn("routes", "add a route", "there are no routes: nothing but sign-in is served")
	}
	byName, byPlace, custom := map[string]int{}, map[string]int{}, customIdentity(c)
	for i := range c.Routes {
		r, at := &c.Routes[i], fmt.Sprintf("routes[%d]", i)
		if !d.clean(at) && r.Name == "" && r.Host == "" {
			continue // not a section at all
		}
		d.checkRouteName(r, at, i, byName)
		d.checkRoutePlace(r, at, i, byPlace, c.UI.Prefix)
		d.checkRules(r, at)
		d.checkHostHeader(r, at)
		d.checkHeaders(r, at, custom)
		d.checkCORS(r.CORS, at)
		d.checkWebSocket(r, at)
		d.checkHealth(r.Health, at)
		d.checkBasicAuth(r.BasicAuth, at)
		if r.Path == "/" && r.StripPrefix && d.clean(at+".path") {
			d.at(at+".strip_prefix", "give the route a path, or leave strip_prefix out", "there is nothing to strip from the path /")
		}
	}
}

func (d *document) checkRouteName(r *Route, at string, i int, seen map[string]int) {
	if r.Name == "" {
		return // reported as missing
	}
	if !routeName.MatchString(r.Name) {
		d.at(at+".name", "use up to 64 letters, digits, _ and -", "%s is not a route name", quote(r.Name))
		return
	}
	if first, twice := seen[r.Name]; twice {
		d.at(at+".name", "choose another", "%s is the name of the route in line %d", quote(r.Name), d.placeOf(fmt.Sprintf("routes[%d].name", first)).line)
		return
	}
	seen[r.Name] = i
}

// checkRoutePlace checks host and path and that no other route has both
// (threat T40).
func (d *document) checkRoutePlace(r *Route, at string, i int, seen map[string]int, prefix string) {
	if r.Host != "" {
		host, bad := checkHost(r.Host)
		if bad != nil {
			d.at(at+".host", bad.hint, "%s", bad.message)
		}
		r.Host = host
	}
	path, bad := checkPath(r.Path)
	switch {
	case bad != nil:
		d.at(at+".path", bad.hint, "%s", bad.message)
	case inside(path, prefix):
		d.at(at+".path", "choose another path, or another ui.prefix", "%s is below ui.prefix and would never be reached", quote(r.Path))
	}
	r.Path = path
	if r.Host == "" || !d.clean(at+".host") || !d.clean(at+".path") {
		return
	}
	place := r.Host + r.Path
	if first, twice := seen[place]; twice {
		where := at + ".host"
		if d.has(at + ".path") {
			where = at + ".path"
		}
		d.at(where, "give one of them another path, or make it a rule", "host %s and path %s are taken by the route in line %d", r.Host, r.Path,
			d.placeOf(fmt.Sprintf("routes[%d].host", first)).line)
		return
	}
	seen[place] = i
}

// checkHost checks an exact or wildcard host and returns its ASCII form in
// lower case.
func checkHost(s string) (string, *finding) {
	rest, wild := strings.CutPrefix(s, "*.")
	_, afterScheme, hasScheme := strings.Cut(s, "://")
	switch host, port, err := net.SplitHostPort(s); {
	case hasScheme:
		name, _, _ := strings.Cut(afterScheme, "/")
		return s, found("write "+visible(name), "%s is a URL, want a host name", hideUserinfo(s))
	case err == nil && goodPort(port):
		return s, found("write "+visible(host), "a host has no port")
	case isIP(strings.Trim(s, "[]")) && strings.Contains(s, ":"):
		return s, found("use a name, or an IPv4 address", "IPv6 addresses are not route hosts")
	case strings.Contains(s, "/"):
		return s, found("put the path into path", "%s has a path", quote(s))
	case strings.HasSuffix(s, "."):
		return s, found("write "+visible(strings.TrimRight(s, ".")), "%s ends with a dot", quote(s))
	case s == "*":
		return s, found("write *.example.com", "* alone would match every host")
	case strings.Contains(rest, "*"):
		return s, found("write *.example.com: one * in front, for one label", "%s is not a wildcard", quote(s))
	}
	ascii, ok := asciiHost(rest)
	if !ok {
		return s, found("write app.example.com or *.example.com", "%s is not a host name", quote(s))
	}
	if wild {
		if isIP(ascii) {
			return s, found("write *.example.com", "%s is not a wildcard", quote(s))
		}
		return "*." + ascii, nil
	}
	return ascii, nil
}

// checkPath checks a path prefix and returns it without a trailing slash.
func checkPath(s string) (string, *finding) {
	if s == "/" {
		return s, nil
	}
	trimmed := strings.TrimSuffix(s, "/")
	switch {
	case !strings.HasPrefix(s, "/"):
		return s, found("write "+visible("/"+s), "%s does not start with /", quote(s))
	case strings.ContainsAny(s, "?#"):
		return s, found("queries are never judged", "%s has a query or fragment", quote(s))
	case strings.Contains(s, "*"):
		return s, found("write the prefix alone; it covers everything below", "%s: a path has no patterns", quote(s))
	case strings.ContainsAny(s, "%\\;"):
		return s, found("write it decoded and plain; other spellings of a request are judged too", "%s holds %%, \\ or ;", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.Contains(s, " "):
		return s, found("", "%s holds a space or a control character", quote(s))
	}
	for segment := range strings.SplitSeq(trimmed[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return s, found("", "%s has an empty, . or .. segment", quote(s))
		}
	}
	return trimmed, nil
}

// inside reports whether path is prefix or below it, on segment boundaries.
func inside(path, prefix string) bool {
	return prefix == "/" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

func (d *document) checkRules(r *Route, at string) {
	type taken struct{ path, method string } // method "" = every one
	seen := map[taken]int{}
	for i := range r.Rules {
		rule, where := &r.Rules[i], fmt.Sprintf("%s.rules[%d]", at, i)
		if rule.Path == "" {
			continue // reported as missing
		}
		path, bad := checkPath(rule.Path)
		switch {
		case bad != nil:
			d.at(where+".path", bad.hint, "%s", bad.message)
			continue
		case d.clean(at+".path") && !inside(path, r.Path):
			d.at(where+".path", "write "+visible(strings.TrimSuffix(r.Path, "/")+path)+", rules name the whole path", "%s is outside the route's path %s", quote(rule.Path), r.Path)
			continue
		}
		rule.Path = path
		d.checkMethods(where+".methods", rule.Methods)
		if slices.Contains(rule.Methods, "HEAD") && !slices.Contains(rule.Methods, "GET") {
			d.at(where+".methods", "add GET", "HEAD counts as GET and cannot be named alone")
		}
		methods := slices.DeleteFunc(slices.Clone(rule.Methods), func(m string) bool { return m == "HEAD" })
		if len(rule.Methods) == 0 {
			methods = []string{""}
		}
		for _, m := range methods {
			if first, twice := seen[taken{path, m}]; twice && first != i {
				d.at(where+".path", "remove one of them, or name other methods", "the rule in line %d is for the same path and method", d.placeOf(fmt.Sprintf("%s.rules[%d]", at, first)).line)
				break
			}
			seen[taken{path, m}] = i
		}
	}
}

func (d *document) checkMethods(at string, methods []string) {
	seen := set{}
	for i, m := range methods {
		where := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case m == "":
		case !isToken(m):
			d.at(where, "write GET, POST, ...", "%s is not a method", quote(m))
		case m != strings.ToUpper(m):
			d.at(where, "write "+strings.ToUpper(m), "methods are in upper case")
		case m == "CONNECT" || m == "TRACE":
			d.at(where, "leave it out", "%s is never forwarded", m)
		case seen.twice(m):
			d.at(where, "remove one of them", "%s is given twice", m)
		}
	}
}

func (d *document) checkCORS(c *CORS, at string) {
	if c == nil {
		return
	}
	at += ".cors"
	seen := set{}
	for i, origin := range c.Origins {
		where := fmt.Sprintf("%s.origins[%d]", at, i)
		switch bad := checkOrigin(origin); {
		case origin == "" && !d.clean(where):
		case origin == "*" && len(c.Origins) > 1:
			d.at(where, `write ["*"] alone, or leave it out`, "* stands beside other origins")
		case origin == "*" && c.Credentials:
			d.at(where, "name the origins", "* with credentials would let every site act as the user")
		case origin == "*":
		case bad != nil:
			d.at(where, bad.hint, "%s", bad.message)
		case seen.twice(origin):
			d.at(where, "remove one of them", "%s is given twice", quote(origin))
		}
	}
	d.checkMethods(at+".methods", c.Methods)
	d.checkHeaderList(at+".headers", c.Headers, func(string) *finding { return nil })
}

func (d *document) checkWebSocket(r *Route, at string) {
	seen := set{}
	for i, origin := range r.WebSocket.Origins {
		where := fmt.Sprintf("%s.websocket.origins[%d]", at, i)
		switch bad := checkOrigin(origin); {
		case origin == "same" || origin == "" && !d.clean(where):
		case origin == "*":
			d.at(where, "name the origins", "* would let every site open connections as the user")
		case bad != nil:
			d.at(where, bad.hint, "%s, nor same", bad.message)
		case seen.twice(origin):
			d.at(where, "remove one of them", "%s is given twice", quote(origin))
		}
	}
}

func (d *document) checkHealth(h *Health, at string) {
	if h == nil || h.Path == "" {
		return
	}
	at += ".health"
	if !strings.HasPrefix(h.Path, "/") || strings.HasPrefix(h.Path, "//") || strings.ContainsAny(h.Path, "#\\ ") ||
		strings.ContainsFunc(h.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		d.at(at+".path", "write /health", "%s is not a path", quote(h.Path))
	}
	if h.Timeout > h.Interval && d.clean(at+".timeout") && d.clean(at+".interval") {
		d.at(at+".timeout", "make interval longer", "%s is longer than interval, %s", brief(h.Timeout), brief(h.Interval))
	}
}

func (d *document) checkBasicAuth(b *BasicAuth, at string) {
	if b == nil {
		return
	}
	if strings.Contains(b.Username, ":") || strings.ContainsFunc(b.Username, unicode.IsControl) {
		d.at(at+".basic_auth.username", "", "a user name has no colon and no control characters (RFC 7617)")
	}
}
