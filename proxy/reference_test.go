package proxy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
)

// reference decides as the documentation states it, in the plainest way there
// is: it tries every order of every way to read a path, and goes through all
// routes and rules for each. It shares no code with the table it is held
// against.
type reference struct{ cfg *config.Config }

// Refusals of the reference.
const (
	refBadHost   = "bad host"
	refHost      = "unknown host"
	refBad       = "bad path"
	refAmbiguous = "ambiguous"
	refOwn       = "gatehouse's own"
	refNone      = "no route"
)

// refOutcome is a refusal, or a rule: its index in the route, -1 for the
// route's own access.
type refOutcome struct {
	refusal     string
	route, rule int
}

func (o refOutcome) String() string {
	if o.refusal != "" {
		return o.refusal
	}
	return fmt.Sprintf("route %d rule %d", o.route, o.rule)
}

func (m reference) access(o refOutcome) config.Access {
	if o.rule < 0 {
		return m.cfg.Routes[o.route].Access
	}
	return m.cfg.Routes[o.route].Rules[o.rule].Access
}

var (
	refName     = regexp.MustCompile(`^(?i:([a-z0-9_-]+\.)*[a-z0-9_-]+)\.?(:[0-9]{0,5})?$`)
	refPort     = regexp.MustCompile(`^(:[0-9]{0,5})?$`)
	refEscape   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	refBroken   = regexp.MustCompile(`%($|.$|[^0-9a-fA-F]|.[^0-9a-fA-F])`)
	refParams   = regexp.MustCompile(`;[^/]*`)
	refSlashes  = regexp.MustCompile(`//+`)
	refControl  = regexp.MustCompile("[\x00-\x1f\x7f]")
	refOverlong = regexp.MustCompile(`[\x{C0}\x{C1}][\x{80}-\x{BF}]|\x{E0}[\x{80}\x{81}][\x{80}-\x{BF}]|\x{F0}\x{80}[\x{80}\x{81}][\x{80}-\x{BF}]`)
)

// host reduces a Host to the name it is looked up by.
func (reference) host(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		addr, port, found := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(addr)
		return a.String(), found && err == nil && a.Zone() == "" && refPort.MatchString(port)
	}
	name, _, _ := strings.Cut(s, ":")
	name = strings.TrimSuffix(name, ".")
	return strings.ToLower(name), refName.MatchString(s) && len(name) <= 253
}

// match judges a raw path under every reading of it and of the method.
func (m reference) match(hostport, path, method string) refOutcome {
	host, ok := m.host(hostport)
	if !ok {
		return refOutcome{refusal: refBadHost}
	}
	if !strings.HasPrefix(path, "/") {
		return refOutcome{refusal: refBad} // no request target at all
	}
	if !slices.ContainsFunc(m.cfg.Routes, func(r config.Route) bool { return refHostMatch(r.Host, host) > 0 }) {
		return refOutcome{refusal: refHost}
	}
	if m.bad(path) {
		return refOutcome{refusal: refBad}
	}
	first := m.lookup(host, path, method, false)
	for s := range m.readings(path) {
		for _, verb := range []string{method, strings.ToUpper(method)} {
			if m.lookup(host, s.text, verb, s.folded) != first {
				return refOutcome{refusal: refAmbiguous}
			}
		}
	}
	if first.refusal != "" {
		return refOutcome{refusal: refNone}
	}
	return first
}

// bad reports what is refused whatever the rules say.
func (reference) bad(path string) bool {
	if strings.ContainsAny(path, `\#?`) || refBroken.MatchString(path) {
		return true
	}
	for _, c := range []byte(path) {
		if c <= ' ' || c == 0x7f {
			return true
		}
	}
	for range 1 + 8 { // as it is, and under each of eight decodings
		if refHostile(path) {
			return true
		}
		next := refDecode(path)
		if next == path {
			return false
		}
		path = next
	}
	return true // encoded over and over
}

func refHostile(s string) bool {
	runes := make([]rune, 0, len(s)) // a rune for each byte
	for _, c := range []byte(s) {
		runes = append(runes, rune(c))
	}
	if refControl.MatchString(string(runes)) || refOverlong.MatchString(string(runes)) {
		return true
	}
	for _, segment := range strings.FieldsFunc(s, func(c rune) bool { return c == '/' || c == '\\' }) {
		if cut := strings.IndexAny(segment, ";?#"); cut >= 0 {
			segment = segment[:cut]
		}
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func refDecode(s string) string {
	return refEscape.ReplaceAllStringFunc(s, func(e string) string {
		var b byte
		_, _ = fmt.Sscanf(e, "%%%02x", &b) // the pattern is two hexadecimal digits
		return string([]byte{b})
	})
}

// refReading is one way to read a path.
type refReading struct {
	text    string
	decoded int
	folded  bool
}

// readings is everything that any order of the steps makes of a path; no
// server decodes more than twice.
func (reference) readings(path string) map[refReading]struct{} {
	seen := map[refReading]struct{}{}
	todo := []refReading{{text: path}}
	for len(todo) > 0 {
		r := todo[0]
		todo = todo[1:]
		if _, ok := seen[r]; ok {
			continue
		}
		seen[r] = struct{}{}
		step := func(text string) { todo = append(todo, refReading{text, r.decoded, r.folded}) }
		step(strings.ReplaceAll(r.text, `\`, "/"))
		step(refParams.ReplaceAllString(r.text, ""))
		step(refSlashes.ReplaceAllString(r.text, "/"))
		if cut := strings.IndexAny(r.text, "?#"); cut >= 0 {
			step(r.text[:cut])
		}
		if r.decoded < 2 {
			todo = append(todo, refReading{refDecode(r.text), r.decoded + 1, r.folded})
		}
		todo = append(todo, refReading{refFold(r.text), r.decoded, true})
	}
	return seen
}

func refFold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// lookup selects a rule for one reading.
func (m reference) lookup(host, path, method string, folded bool) refOutcome {
	if refUnder(m.cfg.UI.Prefix, path, folded) {
		return refOutcome{refusal: refOwn}
	}
	best, rank := -1, -1
	for i, r := range m.cfg.Routes {
		h := refHostMatch(r.Host, host)
		if n := h<<16 + len(strings.TrimRight(r.Path, "/")); h > 0 && n > rank && refUnder(r.Path, path, folded) {
			best, rank = i, n
		}
	}
	if best < 0 {
		return refOutcome{refusal: refNone}
	}
	out := refOutcome{route: best, rule: -1}
	rank = -1
	for i, r := range m.cfg.Routes[best].Rules {
		named := slices.Contains(r.Methods, method) || method == "HEAD" && slices.Contains(r.Methods, "GET")
		if len(r.Methods) > 0 && !named || !refUnder(r.Path, path, folded) {
			continue
		}
		n := 2 * len(strings.TrimRight(r.Path, "/"))
		if named {
			n++
		}
		if n > rank {
			out.rule, rank = i, n
		}
	}
	return out
}

// refHostMatch is 2 for the exact host, 1 for a wildcard's, 0 for another.
func refHostMatch(pattern, host string) int {
	pattern = strings.ToLower(pattern)
	if pattern == host {
		return 2
	}
	if parent, ok := strings.CutPrefix(pattern, "*."); ok {
		if label, rest, ok := strings.Cut(host, "."); ok && label != "" && rest == parent {
			return 1
		}
	}
	return 0
}

// refUnder reports whether a reading is the prefix or below it; the prefix may
// be sent plain or percent-encoded in upper or lower hexadecimal.
func refUnder(prefix, path string, folded bool) bool {
	prefix = strings.TrimRight(prefix, "/")
	var upper, lower strings.Builder
	for _, c := range []byte(prefix) {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune("\"#%<>?[\\]^`{|}", rune(c)) {
			_, _ = fmt.Fprintf(&upper, "%%%02X", c)
			_, _ = fmt.Fprintf(&lower, "%%%02x", c)
			continue
		}
		upper.WriteByte(c)
		lower.WriteByte(c)
	}
	for _, p := range []string{prefix, upper.String(), lower.String()} {
		s := path
		if folded {
			p, s = refFold(p), refFold(s)
		}
		if s == p || strings.HasPrefix(s, p+"/") {
			return true
		}
	}
	return false
}

// refCaller is who asks: the answer of authentication, and the network.
type refCaller struct {
	id     *identity.Identity
	err    error
	client netip.Addr
}

// verdict is the policy in words: a public rule takes anybody; every other
// needs somebody who is known for certain, and all its conditions.
func (m reference) verdict(o refOutcome, who refCaller, now time.Time) Verdict {
	a := m.access(o)
	if a.Kind == config.AccessPublic {
		return Allow
	}
	if a.Kind != config.AccessSignedIn && a.Kind != config.AccessConditions {
		return Forbid
	}
	stale := who.err == identity.ErrStale && m.cfg.Routes[o.route].OnStale == "allow" //nolint:errorlint // the test's own bare value
	switch who.err {                                                                  //nolint:errorlint // the same
	case identity.ErrNone, identity.ErrRejected, identity.ErrConflict:
		return Challenge
	}
	if who.err != nil && !stale || who.id == nil {
		return Unavailable
	}
	if a.Kind == config.AccessSignedIn {
		return Allow
	}
	in := func(list []string, one string) bool { return slices.Contains(list, one) }
	email := strings.ToLower(who.id.Email)
	_, domain, _ := strings.Cut(email, "@")
	holds := []bool{
		a.Groups == nil || slices.ContainsFunc(who.id.Groups, func(g string) bool { return in(a.Groups, g) }),
		a.Users == nil || in(a.Users, email) || in(a.Users, who.id.Subject),
		a.EmailDomains == nil || in(a.EmailDomains, domain),
		a.Networks == nil || slices.ContainsFunc(a.Networks, func(n netip.Prefix) bool { return n.Contains(who.client) }),
	}
	if slices.Contains(holds, false) {
		return Forbid
	}
	if a.MaxAuthAge > 0 && now.After(who.id.AuthTime.Add(a.MaxAuthAge)) {
		return Challenge
	}
	return Allow
}
