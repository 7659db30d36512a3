package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/web"
)

// Explainer answers what would happen to a request, with the code that
// decides it, without listening or dialling.
type Explainer struct {
	t   *table
	now func() time.Time
}

// NewExplainer builds the table of a configuration; its errors are those a
// start would give.
func NewExplainer(cfg *config.Config, now func() time.Time) (*Explainer, error) {
	t, err := buildTable(cfg, true)
	if err != nil {
		return nil, err
	}
	return &Explainer{t: t, now: now}, nil
}

// Reading is one way a path can be understood, and the rule it selects.
type Reading struct {
	Path string `json:"path"`
	Rule string `json:"rule"` // "route path", or "" for none
}

// RuleOutcome is one rule of the route and what it would say.
type RuleOutcome struct {
	Path     string   `json:"path"`
	Methods  []string `json:"methods,omitempty"`
	Selected bool     `json:"selected"`
	Verdict  string   `json:"verdict"`
}

// Explanation is everything that decides about one request.
type Explanation struct {
	Host     string        `json:"host"`
	Path     string        `json:"path"`
	Method   string        `json:"method"`
	Route    string        `json:"route,omitempty"`
	Upstream []string      `json:"upstream,omitempty"`
	Target   string        `json:"target,omitempty"` // what the app would be asked for
	Rules    []RuleOutcome `json:"rules,omitempty"`
	Readings []Reading     `json:"readings"`
	Verdict  string        `json:"verdict"`
	Status   int           `json:"status"` // 0 when the app answers
	Reason   string        `json:"reason,omitempty"`
	Headers  http.Header   `json:"headers,omitempty"` // identity and forwarding headers the app would get
}

// Explain judges method and rawURL (https://host/path?query) for a caller; id
// is nil for one who is not signed in.
func (e *Explainer) Explain(method, rawURL string, id *identity.Identity, client netip.Addr) (Explanation, error) {
	_, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return Explanation{}, fmt.Errorf("%q is not an absolute URL, as in https://app.example.com/path", rawURL)
	}
	authority := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority = rest[:end]
	}
	r := &http.Request{Method: method, Host: authority, RequestURI: rawURL, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
	x := &exchange{p: &Proxy{now: e.now, via: newViaNames("gatehouse")}, t: e.t, r: r, id: id,
		rec: &web.Record{Client: client, Secure: strings.HasPrefix(rawURL, "https:"), ID: "-"}}
	x.w = discard{http.Header{}}
	out := Explanation{Method: method}
	out.Host, _ = canonicalHost(authority)
	problem := x.match()
	out.Path = x.path
	out.Readings = e.readings(out.Host, x.path, method)
	if problem != nil {
		out.Verdict, out.Status, out.Reason = "refused", problem.Status, problem.Detail
		return out, nil
	}
	e.fill(&out, x)
	return out, nil
}

func (e *Explainer) fill(out *Explanation, x *exchange) {
	rt := x.rt
	out.Route = rt.cfg.Name
	for _, u := range rt.cfg.Upstream {
		out.Upstream = append(out.Upstream, u.Raw)
	}
	var err error
	if x.id == nil {
		err = identity.ErrNone
	}
	ask := func(r *rule) Verdict {
		return judge(question{access: &r.access, id: x.id, err: err, client: x.rec.Client, now: e.now()})
	}
	out.Rules = append(out.Rules, RuleOutcome{Path: rt.base.path, Selected: x.sel.rule == rt.base, Verdict: ask(rt.base).String()})
	for _, r := range rt.ordered {
		out.Rules = append(out.Rules, RuleOutcome{Path: r.path, Methods: r.methods, Selected: r == x.sel.rule, Verdict: ask(r).String()})
	}
	v := ask(x.sel.rule)
	out.Verdict = v.String()
	if v != Allow {
		if p := x.refused(v, err, false); p != nil {
			out.Status, out.Reason = p.Status, p.Detail
		}
		return
	}
	target, ok := x.target(x.sel, x.query)
	if !ok {
		out.Verdict, out.Status, out.Reason = "refused", http.StatusBadRequest, refusalError(ambiguous, pathOK).Detail
		return
	}
	out.Target = target
	out.Headers = x.t.requestHeader(inbound{r: x.r, rec: x.rec, result: &x.result, id: x.id, rt: rt, via: x.p.via.of(x.r)}, newScratch())
	delete(out.Headers, "Authorization") // may be the app's password
}

func (e *Explainer) readings(host, path, method string) []Reading {
	if path == "" || len(path) > maxHardPath {
		return nil
	}
	var out []Reading
	all := readings(path)
	for _, s := range readings(path) {
		if f := foldPath(s); f != s {
			all = append(all, f)
		}
	}
	for i, s := range all {
		r, _ := e.t.selectRule(host, s, method, i > 0)
		name := ""
		if r != nil && r.route != nil {
			name = r.route.cfg.Name + " " + r.path
		}
		out = append(out, Reading{Path: s, Rule: name})
	}
	return out
}

// discard is a writer for a judgement that answers nobody.
type discard struct{ h http.Header }

func (d discard) Header() http.Header       { return d.h }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
