package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// accessWords are the one-word forms of access. The empty word, of a missing
// default, denies.
var accessWords = map[string]AccessKind{"deny": AccessDeny, "public": AccessPublic, "signed_in": AccessSignedIn}

// presets are the names identity_headers may have.
var presets = []string{"x-forwarded", "remote-user", "x-auth-request", "x-webauth", "x-remote-user"}

// identityFields are what an identity header can hold.
var identityFields = []string{"sub", "email", "name", "groups", "sid", "amr"}

// decodeAccess reads a word or conditions. On any mistake it stays deny.
func (d *document) decodeAccess(n *yaml.Node, a *Access, at string) {
	content := deref(n)
	words := slices.Sorted(maps.Keys(accessWords))
	switch content.Kind {
	case yaml.MappingNode:
		d.decodeConditions(n, a, at)
	case yaml.ScalarNode:
		text, _, ok := d.text(n, at, "text")
		if !ok {
			return
		}
		kind, known := accessWords[text]
		if !known {
			d.report(nodePlace(n), at, found(didYouMean(suggest(content.Value, words)), "%s is not %s, nor conditions", quote(content.Value), oneOf(words)))
			return
		}
		a.Kind = kind
	default:
		d.wants(n, at, oneOf(words)+", or conditions such as {groups: [admins]}", "")
	}
}

func (d *document) decodeConditions(n *yaml.Node, a *Access, at string) {
	var m AccessMap
	d.decodeSection(n, reflect.ValueOf(&m).Elem(), at)
	if len(deref(n).Content) == 0 {
		d.report(nodePlace(n), at, found("write signed_in, public or deny, or a condition", "no condition is given"))
		return
	}
	for _, list := range []struct {
		name  string
		items []string
	}{{"groups", m.Groups}, {"users", m.Users}, {"email_domains", m.EmailDomains}} {
		d.checkConditionList(join(at, list.name), list.items)
	}
	if d.has(join(at, "networks")) && len(m.Networks) == 0 {
		d.at(join(at, "networks"), "name one, or leave the key out", "an empty list would let nobody in")
	}
	for i := range m.Users {
		m.Users[i] = strings.ToLower(m.Users[i])
	}
	for i := range m.EmailDomains {
		m.EmailDomains[i] = d.domain(fmt.Sprintf("%s.email_domains[%d]", at, i), m.EmailDomains[i])
	}
	d.checkUsersInDomains(m, at)
	if d.clean(at) {
		*a = Access{AccessConditions, m.Groups, m.Users, m.EmailDomains, m.Networks, m.MaxAuthAge}
	}
}

func (d *document) checkConditionList(at string, items []string) {
	if d.has(at) && len(items) == 0 {
		d.at(at, "name one, or leave the key out", "an empty list would let nobody in")
	}
	seen := set{}
	for i, item := range items {
		where := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case item != strings.TrimSpace(item):
			d.at(where, "", "%s starts or ends with a space", quote(item))
		case item == "*":
			d.at(where, "write access: signed_in for everybody who is signed in", "* is no name; there are no patterns")
		case seen.twice(item):
			d.at(where, "", "%s is given twice", quote(item))
		}
	}
}

// checkUsersInDomains refuses conditions that nobody can meet.
func (d *document) checkUsersInDomains(m AccessMap, at string) {
	if len(m.Users) == 0 || len(m.EmailDomains) == 0 || !d.clean(at) {
		return
	}
	domains := set{}
	for _, name := range m.EmailDomains {
		domains[name] = true
	}
	for _, user := range m.Users {
		_, domain, isAddress := strings.Cut(user, "@")
		if !isAddress || domains[domain] {
			return
		}
	}
	d.at(join(at, "users"), "every condition must hold; keep one of the two", "none of these users is in email_domains")
}

func (d *document) decodeUpstreams(n *yaml.Node, u *Upstreams, at string) {
	items := []*yaml.Node{n}
	list := deref(n).Kind == yaml.SequenceNode
	if list {
		items = deref(n).Content
	}
	if len(items) == 0 {
		d.report(nodePlace(n), at, found("", "an empty list: at least one URL is needed"))
		return
	}
	seen := set{}
	for i, item := range items {
		where := at
		if list {
			where = fmt.Sprintf("%s[%d]", at, i)
			d.values[where] = nodePlace(item)
		}
		text, _, ok := d.text(item, where, "a URL")
		if !ok {
			continue
		}
		if strings.Contains(text, "@") {
			d.hide(item)
		}
		one, bad := parseUpstream(text, deref(item).Value)
		if bad == nil && seen.twice(one.Scheme+" "+one.Host+" "+one.Socket) {
			bad = found("remove one of them", "the same upstream is given twice")
		}
		if bad != nil {
			d.report(nodePlace(item), where, bad)
			continue
		}
		*u = append(*u, one)
	}
}

// parseUpstream reads http, https, h2c and unix:/path.sock.
func parseUpstream(text, shown string) (UpstreamURL, *finding) {
	if socket, ok := strings.CutPrefix(text, "unix:"); ok {
		socket = strings.TrimPrefix(socket, "//")
		if !path.IsAbs(socket) || path.Clean(socket) != socket || strings.ContainsAny(socket, "\x00\n") {
			return UpstreamURL{}, found("write unix:/run/app.sock", "%s is not the absolute path of a socket", quote(shown))
		}
		return UpstreamURL{Raw: text, Scheme: "http", Host: "localhost", Socket: socket}, nil
	}
	if text == "" {
		return UpstreamURL{}, found("write http://127.0.0.1:8081", "is empty")
	}
	u, err := url.Parse(text)
	if err == nil && u.User != nil {
		return UpstreamURL{}, found("use basic_auth", "user and password do not belong in the URL")
	}
	ports := map[string]string{"http": "80", "h2c": "80", "https": "443"}
	if err != nil || ports[u.Scheme] == "" || u.Host == "" {
		hint := "write http://HOST:PORT, https://HOST:PORT, h2c://HOST:PORT or unix:/path.sock"
		if host, port, splitErr := net.SplitHostPort(shown); splitErr == nil && goodPort(port) && !strings.Contains(host, "/") {
			hint = "write http://" + shown
		}
		return UpstreamURL{}, found(hint, "%s is not the URL of an upstream", hideUserinfo(shown))
	}
	bare := u.Scheme + "://" + u.Host
	switch {
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#"):
		return UpstreamURL{}, found("write "+visible(bare), "an upstream has no query and no fragment")
	case u.Path != "" && u.Path != "/":
		return UpstreamURL{}, found("write "+visible(bare)+"; a request keeps its path, strip_prefix shortens it", "an upstream has no path")
	}
	port := u.Port()
	if port == "" {
		port = ports[u.Scheme]
	}
	host := strings.ToLower(u.Hostname())
	if !goodPort(port) || strings.HasSuffix(u.Host, ":") || !goodDialHost(host) {
		return UpstreamURL{}, found("write HOST:PORT with a port of 1 to 65535", "%s has no valid host and port", quote(shown))
	}
	return UpstreamURL{Raw: text, Scheme: u.Scheme, Host: net.JoinHostPort(host, port)}, nil
}

// hideUserinfo quotes a URL unless it may hold a password.
func hideUserinfo(s string) string {
	if strings.Contains(s, "@") {
		return "this"
	}
	return quote(s)
}

func goodPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

// decodeIdentity reads a preset or a map of header to field.
func (d *document) decodeIdentity(n *yaml.Node, ids *IdentityHeaders, at string) {
	content := deref(n)
	switch content.Kind {
	case yaml.ScalarNode:
		text, _, ok := d.text(n, at, "text")
		if !ok {
			return
		}
		if !slices.Contains(presets, text) {
			d.report(nodePlace(n), at, found(didYouMean(suggest(content.Value, presets)), "%s is not one of %s, nor a map of header to field", quote(content.Value), oneOf(presets)))
			return
		}
		ids.Preset = text
	case yaml.MappingNode:
		if len(content.Content) == 0 {
			d.report(nodePlace(n), at, found("name a preset, or write {X-User: email}", "no header is given"))
		}
		d.eachPair(content, at, func(name string, value *yaml.Node, inner string) {
			var what string
			d.decode(value, reflect.ValueOf(&what).Elem(), field{enum: identityFields}, inner)
			if bad := checkIdentityName(name); bad != nil {
				d.report(d.keys[inner], inner, bad)
			}
			ids.Map = append(ids.Map, HeaderField{Header: name, Field: what})
		})
	default:
		d.wants(n, at, "a preset or a map of header to field", "")
	}
}
