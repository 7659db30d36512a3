package proxy

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/config"
)

// table is one loaded configuration. It is read-only after attach.
type table struct {
	exact     map[string]*hostRoutes
	wildcard  map[string]*hostRoutes // key: what follows "*."
	routes    []*route
	prefix    string // of gatehouse's own endpoints
	own       *rule  // stands for them; never routed
	reserved  map[string]struct{}
	families  []string
	formatted *formatted
}

// hostRoutes are the routes of one host, by path prefix.
type hostRoutes struct {
	paths prefixes[*route]
}

// prefixes maps path prefixes to values. Keys carry no trailing slash; "" is
// the root. The folded map serves the reading with folded letters.
type prefixes[T comparable] struct {
	exact  map[string]T
	folded map[string]T
	max    int // length of the longest key
}

func (p *prefixes[T]) put(prefix string, v T) error {
	if p.exact == nil {
		p.exact, p.folded = map[string]T{}, map[string]T{}
	}
	for _, form := range prefixForms(prefix) {
		if old, ok := p.exact[form]; ok && old != v {
			return fmt.Errorf("path %q is given twice", prefix)
		}
		p.exact[form] = v
		fold := foldPath(form)
		if old, ok := p.folded[fold]; ok && old != v {
			return fmt.Errorf("path %q differs from another only in its letters' case", prefix)
		}
		p.folded[fold] = v
		p.max = max(p.max, len(form), len(fold))
	}
	return nil
}

// find returns the value of the longest prefix of path that ends at a segment
// boundary, and that prefix's length.
func find[T comparable](m map[string]T, longest int, path string) (v T, n int, ok bool) {
	if len(path) <= longest {
		if v, ok = m[path]; ok {
			return v, len(path), true
		}
	}
	for i := min(len(path)-1, longest); i >= 0; i-- {
		if path[i] != '/' {
			continue
		}
		if v, ok = m[path[:i]]; ok {
			return v, i, true
		}
	}
	return v, 0, false
}

// prefixForms are the spellings a prefix may be sent in: as written, decoded,
// and percent-encoded with upper or lower hexadecimal digits.
func prefixForms(prefix string) []string {
	prefix = strings.TrimRight(prefix, "/")
	plain := unescape(prefix)
	forms := []string{prefix}
	for _, f := range [...]string{plain, escapePath(plain, "0123456789ABCDEF"), escapePath(plain, "0123456789abcdef")} {
		if !slices.Contains(forms, f) {
			forms = append(forms, f)
		}
	}
	return forms
}

func escapePath(s, digits string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%<>?[\\]^`{|}", c) >= 0 {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// rule is what a request is judged by: an exception of a route, or the route's
// own access. Two readings agree when they select the same *rule.
type rule struct {
	route   *route
	path    string   // as written
	methods []string // empty means all
	access  config.Access
}

// ruleSet holds the rules of one path.
type ruleSet struct {
	path    string
	any     *rule
	methods map[string]*rule
}

// forMethod picks the rule that names the method, else the one for all. HEAD
// counts as GET. An unknown method is named by no rule.
func (s *ruleSet) forMethod(method string) *rule {
	if r, ok := s.methods[method]; ok {
		return r
	}
	if method == "HEAD" {
		if r, ok := s.methods["GET"]; ok {
			return r
		}
	}
	return s.any
}

// selection is the answer of the table.
type selection struct {
	rule   *rule
	prefix int // bytes of the raw path that are the route's prefix
	raw    string
}

// selectRule finds the rule of one reading; nil means no route. A rule that
// does not name the method leaves the word to a shorter one.
func (t *table) selectRule(host, path, method string, fold bool) (*rule, int) {
	if fold {
		path = foldPath(path)
	}
	if own, n := t.ownPath(path, fold); own {
		return t.own, n
	}
	rt, n := t.routeFor(host, path, fold)
	if rt == nil {
		return nil, 0
	}
	rules, rest := rt.rules.exact, path
	if fold {
		rules = rt.rules.folded
	}
	for len(rules) > 0 {
		set, at, ok := find(rules, rt.rules.max, rest)
		if !ok {
			break
		}
		if r := set.forMethod(method); r != nil {
			return r, n
		}
		if at == 0 {
			break
		}
		rest = parentOf(rest[:at])
	}
	return rt.base, n
}

// parentOf cuts the last segment: "/a/b" becomes "/a".
func parentOf(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

func (t *table) ownPath(path string, fold bool) (bool, int) {
	prefix := t.prefix
	if prefix == "" {
		return false, 0
	}
	if fold {
		prefix = strings.ToLower(prefix)
	}
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/'), len(prefix)
}

// routeFor prefers the exact host, then the longest path.
func (t *table) routeFor(host, path string, fold bool) (*route, int) {
	if h := t.exact[host]; h != nil {
		if rt, n := h.lookup(path, fold); rt != nil {
			return rt, n
		}
	}
	if _, parent, ok := strings.Cut(host, "."); ok {
		if h := t.wildcard[parent]; h != nil {
			return h.lookup(path, fold)
		}
	}
	return nil, 0
}

func (h *hostRoutes) lookup(path string, fold bool) (*route, int) {
	m := h.paths.exact
	if fold {
		m = h.paths.folded
	}
	rt, n, _ := find(m, h.paths.max, path)
	return rt, n
}

func (t *table) knows(host string) bool {
	if t.exact[host] != nil {
		return true
	}
	_, parent, ok := strings.Cut(host, ".")
	return ok && t.wildcard[parent] != nil
}

// refusal is why the table gives no rule.
type refusal uint8

const (
	matched refusal = iota
	badPath
	ambiguous
	noHost
	noRoute
)

// match judges a raw path under every reading. The rule it returns is the one
// all of them select.
func (t *table) match(host, path, method string) (selection, refusal, pathProblem) {
	if !t.knows(host) {
		return selection{}, noHost, pathOK
	}
	s := scanPath(path)
	if s.problem != pathOK {
		return selection{}, badPath, s.problem
	}
	first, n := t.selectRule(host, path, method, false)
	if !t.agree(first, s, host, path, method) {
		return selection{}, ambiguous, pathOK
	}
	if first == nil || first == t.own {
		return selection{}, noRoute, pathOK
	}
	return selection{rule: first, prefix: n, raw: path}, matched, pathOK
}

// agree reports whether every other reading selects the same rule.
func (t *table) agree(first *rule, s scan, host, path, method string) bool {
	upper := strings.ToUpper(method)
	if !s.hard && !s.mixed && upper == method {
		return true
	}
	all := []string{path}
	if s.hard {
		all = readings(path)
	}
	for i, reading := range all {
		for _, fold := range [...]bool{false, true} {
			if i == 0 && !fold && upper == method {
				continue // that is first itself
			}
			if r, _ := t.selectRule(host, reading, method, fold); r != first {
				return false
			}
			if upper != method {
				if r, _ := t.selectRule(host, reading, upper, fold); r != first {
					return false
				}
			}
		}
	}
	return true
}
