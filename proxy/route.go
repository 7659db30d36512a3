package proxy

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"

	"gatehouse/config"
)

// route is one route of the configuration with everything precomputed.
type route struct {
	cfg     config.Route
	host    string
	prefix  string  // path without a trailing slash; "" is the root
	base    *rule   // the route's own access
	ordered []*rule // its rules as written
	rules   prefixes[*ruleSet]
	metrics *routeMetrics
	backend *backend

	identity       []idHeader
	setRequest     map[string][]string
	removeRequest  map[string]struct{}
	allowHeaders   map[string]struct{} // lower case
	setResponse    map[string][]string
	private        []string // the Cache-Control of answers to signed-in users
	basicAuth      []string
	corsOrigins    map[string]struct{}
	corsAny        bool
	corsMethods    []string
	corsHeaders    []string
	corsMaxAge     []string
	socketOrigins  map[string]struct{}
	socketSameHost bool
	inFlight       atomic.Int64
}

// buildTable makes a table; it starts nothing. Its errors name the route.
func buildTable(cfg *config.Config, canAssert bool) (*table, error) {
	t := &table{
		exact: map[string]*hostRoutes{}, wildcard: map[string]*hostRoutes{},
		prefix: strings.TrimRight(cfg.UI.Prefix, "/"), own: &rule{path: "(own)"},
		reserved: reservedSet(cfg), families: reservedFamilies(), formatted: &formatted{seed: maphash.MakeSeed()},
	}
	names := map[string]bool{}
	for i := range cfg.Routes {
		rt, err := t.buildRoute(cfg, &cfg.Routes[i], canAssert)
		if err != nil {
			return nil, fmt.Errorf("route %q: %w", cfg.Routes[i].Name, err)
		}
		if names[rt.cfg.Name] {
			return nil, fmt.Errorf("route %q: the name is given twice", rt.cfg.Name)
		}
		names[rt.cfg.Name] = true
		if err := t.place(rt); err != nil {
			return nil, fmt.Errorf("route %q: %w", rt.cfg.Name, err)
		}
		t.routes = append(t.routes, rt)
	}
	return t, nil
}

func (t *table) place(rt *route) error {
	name, m := rt.host, t.exact
	if parent, ok := strings.CutPrefix(rt.host, "*."); ok {
		name, m = parent, t.wildcard
	}
	canonical, ok := canonicalHost(name)
	if !ok {
		return fmt.Errorf("%q is not a host name", rt.cfg.Host)
	}
	if m[canonical] == nil {
		m[canonical] = &hostRoutes{}
	}
	if err := m[canonical].paths.put(rt.prefix, rt); err != nil {
		return fmt.Errorf("host %s: %w", rt.host, err)
	}
	return nil
}

func (t *table) buildRoute(cfg *config.Config, rc *config.Route, canAssert bool) (*route, error) {
	rt := &route{cfg: *rc, host: strings.ToLower(strings.TrimSuffix(rc.Host, ".")), prefix: strings.TrimRight(rc.Path, "/")}
	if err := checkPrefix(rt.prefix); err != nil {
		return nil, err
	}
	rt.base = &rule{route: rt, path: rc.Path, access: rc.Access}
	if err := rt.buildRules(); err != nil {
		return nil, err
	}
	if rc.Assertion && !canAssert {
		return nil, fmt.Errorf("assertion needs a signing key, and none is configured")
	}
	ih := &cfg.IdentityHeaders
	if rc.IdentityHeaders != nil {
		ih = rc.IdentityHeaders
	}
	var err error
	if rt.identity, err = identityHeaders(ih); err != nil {
		return nil, err
	}
	if err := rt.buildHeaders(t); err != nil {
		return nil, err
	}
	rt.buildOrigins()
	return rt, nil
}

func identityHeaders(ih *config.IdentityHeaders) ([]idHeader, error) {
	if len(ih.Map) == 0 {
		if headers, ok := preset(ih.Preset); ok {
			return headers, nil
		}
		return nil, fmt.Errorf("identity_headers: no preset is called %q", ih.Preset)
	}
	var out []idHeader
	for _, h := range ih.Map {
		f, ok := fieldNamed(h.Field)
		if !ok {
			return nil, fmt.Errorf("identity_headers: no field is called %q", h.Field)
		}
		out = append(out, idHeader{http.CanonicalHeaderKey(h.Header), f})
	}
	return out, nil
}

// checkPrefix refuses a path that no request could match, because some reading
// of it always selects something else.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	plain := unescape(prefix)
	if strings.ContainsAny(plain, `;\%?#`) || strings.Contains(plain, "//") {
		return fmt.Errorf("path %q can never match: ; \\ %% ? # and // have several readings", prefix)
	}
	if s := scanPath(escapePath(plain, "0123456789ABCDEF")); s.problem != pathOK {
		return fmt.Errorf("path %q can never match: %s", prefix, s.problem)
	}
	return nil
}

func (rt *route) buildRules() error {
	for i := range rt.cfg.Rules {
		rc := &rt.cfg.Rules[i]
		path := strings.TrimRight(rc.Path, "/")
		if err := checkPrefix(path); err != nil {
			return fmt.Errorf("rules: %w", err)
		}
		if rt.prefix != "" && path != rt.prefix && !strings.HasPrefix(path, rt.prefix+"/") {
			return fmt.Errorf("rule %q is outside the route's path %q", rc.Path, rt.cfg.Path)
		}
		set := rt.rules.exact[path]
		if set == nil {
			set = &ruleSet{path: path, methods: map[string]*rule{}}
			if err := rt.rules.put(path, set); err != nil {
				return fmt.Errorf("rules: %w", err)
			}
		}
		r := &rule{route: rt, path: rc.Path, methods: rc.Methods, access: rc.Access}
		if err := set.add(r); err != nil {
			return err
		}
		rt.ordered = append(rt.ordered, r)
	}
	return nil
}

func (s *ruleSet) add(r *rule) error {
	if len(r.methods) == 0 {
		if s.any != nil {
			return fmt.Errorf("rule %q is given twice", r.path)
		}
		s.any = r
	}
	for _, m := range r.methods {
		if s.methods[m] != nil {
			return fmt.Errorf("rule %q names %s twice", r.path, m)
		}
		s.methods[m] = r
	}
	return nil
}

func (rt *route) buildHeaders(t *table) error {
	rt.setRequest = map[string][]string{}
	rt.removeRequest = map[string]struct{}{}
	for name, value := range rt.cfg.SetRequestHeaders {
		folded := foldName(name)
		if t.writtenHere(folded) {
			return fmt.Errorf("set_request_headers: header %q is set by gatehouse alone", name)
		}
		rt.setRequest[http.CanonicalHeaderKey(name)] = []string{value}
		rt.removeRequest[folded] = struct{}{} // in any spelling: this one is ours
	}
	for _, name := range rt.cfg.RemoveRequestHeaders {
		rt.removeRequest[foldName(name)] = struct{}{}
	}
	rt.allowHeaders = map[string]struct{}{}
	for _, name := range rt.cfg.AllowHeaders {
		if f := foldName(name); t.isReserved(f) || hopByHop(f) {
			return fmt.Errorf("allow_headers: header %q is set by gatehouse alone", name)
		}
		rt.allowHeaders[strings.ToLower(name)] = struct{}{}
	}
	rt.setResponse, rt.private = map[string][]string{}, []string{"private"}
	for name, value := range rt.cfg.SetResponseHeaders {
		canonical := http.CanonicalHeaderKey(name)
		if hopByHop(canonical) || canonical == headerResponse || canonical == "Set-Cookie" && oursInResponse(value) {
			return fmt.Errorf("set_response_headers: header %q is set by gatehouse alone", name)
		}
		rt.setResponse[canonical] = []string{value}
	}
	if b := rt.cfg.BasicAuth; b != nil {
		rt.basicAuth = basicValue(b.Username, b.Password.Reveal())
	}
	return nil
}

// sameBackend reports whether two routes can share connections, balance and
// health.
func (rt *route) sameBackend(other *route) bool {
	a, b := &rt.cfg, &other.cfg
	return a.Name == b.Name && reflect.DeepEqual(a.Upstream, b.Upstream) && a.Timeout == b.Timeout && a.Balance == b.Balance &&
		reflect.DeepEqual(a.Health, b.Health) && a.Sticky == b.Sticky && a.HostHeader == b.HostHeader
}
