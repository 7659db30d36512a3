package proxy

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/identity"
	"gatehouse/web"
)

// maxQuery bounds the raw query, which is never judged (threat T41).
const maxQuery = 8 << 10

// exchange is one request on its way through.
type exchange struct {
	p       *Proxy
	t       *table
	w       http.ResponseWriter
	r       *http.Request
	rec     *web.Record
	path    string // raw, as judged
	query   string // raw, with its question mark
	sel     selection
	rt      *route
	result  identity.Result
	id      *identity.Identity
	upgrade string
	running run          // begun by forward
	out     outbound     // made by forward
	head    *scratch     // of the outgoing request, until it is out
	body    *requestBody // nil without one
}

// ServeHTTP matches, authenticates, decides and forwards.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{p: p, t: p.state.Load(), w: w, r: r, rec: web.RecordOf(w)}
	if r.Method == http.MethodOptions && r.RequestURI == "*" {
		p.deps.UI.Empty(w, http.StatusOK, "options")
		return
	}
	if e := x.match(); e != nil {
		x.fail(e)
		return
	}
	if x.rt.preflight(r) {
		x.rt.answerPreflight(w.Header(), r)
		p.deps.UI.Empty(w, http.StatusNoContent, "cors_preflight")
		return
	}
	if e := x.admit(); e != nil {
		x.fail(e)
		return
	}
	if e := x.forward(); e != nil {
		x.fail(e)
	}
}

// match finds the rule, or the refusal that needs no identity.
func (x *exchange) match() *web.Error {
	r := x.r
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		x.w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		return &web.Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "This method is not accepted here."}
	}
	host, ok := canonicalHost(r.Host)
	if !ok {
		return &web.Error{Status: http.StatusBadRequest, Code: "bad_host", Detail: "The Host of the request is not a valid host name."}
	}
	if x.path, x.query, ok = splitTarget(r.RequestURI); !ok {
		return badPathError(pathTarget)
	}
	if len(x.query) > maxQuery+1 {
		return &web.Error{Status: http.StatusRequestURITooLong, Code: "query_too_long", Detail: "The query is longer than 8 KiB."}
	}
	sel, no, problem := x.t.match(host, x.path, r.Method)
	if no != matched {
		return refusalError(no, problem)
	}
	x.sel, x.rt = sel, sel.rule.route
	x.rec.Route = x.rt.cfg.Name
	if looped(r, x.p.via.id) {
		return &web.Error{Status: http.StatusLoopDetected, Code: "loop_detected", Detail: "The request came back to this gateway."}
	}
	if x.upgrade, ok = upgradeOf(r); !ok {
		return &web.Error{Status: http.StatusBadRequest, Code: "bad_upgrade", Detail: "The only protocol a connection can be upgraded to is websocket."}
	}
	return nil
}

// splitTarget separates path and query of a request target as bytes; the query
// keeps its question mark. Absolute form is reduced to what follows the
// authority (RFC 9112 section 3.2.2), an empty path to "/".
func splitTarget(target string) (path, query string, ok bool) {
	if target == "" {
		return "", "", false
	}
	if target[0] != '/' {
		scheme, rest, found := strings.Cut(target, "://")
		if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return "", "", false
		}
		end := strings.IndexAny(rest, "/?#\\")
		if end < 0 {
			end = len(rest)
		}
		if strings.Contains(rest[:end], "@") {
			return "", "", false
		}
		if target = rest[end:]; target == "" || target[0] == '?' {
			target = "/" + target
		}
	}
	if at := strings.IndexByte(target, '?'); at >= 0 {
		return target[:at], target[at:], true
	}
	return target, "", true
}

func badPathError(p pathProblem) *web.Error {
	if p == pathTooLong {
		return &web.Error{Status: http.StatusRequestURITooLong, Code: "path_too_long", Detail: string(p)}
	}
	return &web.Error{Status: http.StatusBadRequest, Code: "bad_path", Detail: string(p)}
}

func refusalError(no refusal, p pathProblem) *web.Error {
	switch no {
	case badPath:
		return badPathError(p)
	case ambiguous:
		return &web.Error{Status: http.StatusBadRequest, Code: "ambiguous_path", Detail: "The path can be read in several ways that different rules apply to."}
	case noHost:
		return &web.Error{Status: http.StatusMisdirectedRequest, Code: "unknown_host", Detail: "This host is not served here."}
	default:
		return &web.Error{Status: http.StatusNotFound, Code: "no_route", Detail: "Nothing is served at this address."}
	}
}

// admit authenticates and decides; nil lets the request pass.
func (x *exchange) admit() *web.Error {
	now := x.p.now()
	if wait := x.p.limits.takeIP(x.rec.Client, now); wait > 0 {
		return x.limited("requests_ip", wait)
	}
	var err error
	x.result, err = x.p.deps.Auth.Authenticate(x.r, x.rec, !x.public() && !x.refusedFromBrowser())
	x.identify(err)
	if e := x.decide(err, now); e != nil {
		return e
	}
	if e := x.browserCheck(); e != nil {
		return e
	}
	if x.id != nil {
		if wait := x.p.limits.user.take(x.id.Subject, now); wait > 0 {
			return x.limited("requests_user", wait)
		}
	}
	return nil
}

// decide asks the policy and keeps its verdict.
func (x *exchange) decide(err error, now time.Time) *web.Error {
	stepUp := false
	v := judge(question{access: &x.sel.rule.access, id: x.result.Identity, err: err, staleIsOK: x.rt.cfg.OnStale == "allow",
		client: x.rec.Client, now: now, stepUpOnly: &stepUp})
	x.rec.Verdict = v.String()
	x.rt.metrics.verdicts[v].Inc()
	if v == Challenge && errors.Is(err, identity.ErrConflict) {
		return &web.Error{Status: http.StatusBadRequest, Code: "conflicting_credentials", Detail: "The credentials in the request contradict each other.", Cause: err}
	}
	if v != Allow {
		return x.refused(v, err, stepUp)
	}
	return nil
}

// public reports whether the rule lets everybody in.
func (x *exchange) public() bool {
	return judge(question{access: &x.sel.rule.access, err: identity.ErrNone}) == Allow
}

// identify takes over the identity, if the answer is a usable one. On a public
// rule every refusal means an anonymous caller.
func (x *exchange) identify(err error) {
	id := x.result.Identity
	switch {
	case id == nil || id.Subject == "":
		return
	case err == nil:
	case errors.Is(err, identity.ErrStale) && x.rt.cfg.OnStale == "allow":
	default:
		return
	}
	x.id = id
	x.rec.Subject, x.rec.Session = id.Subject, id.Session
}

// refusedFromBrowser is browserCheck before it is known who calls: nothing is
// renewed for a request that a cookie will not open.
func (x *exchange) refusedFromBrowser() bool {
	return x.rt.crossSiteRefused(x.r, x.rec) || x.upgrade != "" && x.rt.socketRefused(x.r, x.rec)
}

// browserCheck refuses what another site makes a browser do with our cookie.
func (x *exchange) browserCheck() *web.Error {
	if x.id == nil || x.result.Via == identity.ViaBearer {
		return nil
	}
	if x.upgrade != "" && x.rt.socketRefused(x.r, x.rec) {
		return x.forbidBrowser("cross_site_websocket", "WebSocket connections from this origin are not accepted.")
	}
	if x.rt.crossSiteRefused(x.r, x.rec) {
		return x.forbidBrowser("cross_site", "This request comes from another site and is not accepted.")
	}
	return nil
}

func (x *exchange) forbidBrowser(code, detail string) *web.Error {
	x.rec.Verdict = Forbid.String()
	return &web.Error{Status: http.StatusForbidden, Code: code, Detail: detail}
}

func (x *exchange) limited(limit string, wait time.Duration) *web.Error {
	x.p.deps.Limited(limit)
	return &web.Error{Status: http.StatusTooManyRequests, Code: "rate_limited", Detail: "Too many requests; please slow down.", RetryAfter: wait}
}

// refused makes the answer of a verdict that is not Allow; a nil error means
// that it was given.
func (x *exchange) refused(v Verdict, cause error, stepUp bool) *web.Error {
	switch v {
	case Forbid:
		return &web.Error{Status: http.StatusForbidden, Code: "forbidden", Detail: "You are signed in, but not allowed to do this.", Cause: cause}
	case Challenge:
		e := &web.Error{Status: http.StatusUnauthorized, Code: "unauthorized", Detail: "Please sign in.", Cause: cause}
		switch {
		case stepUp:
			e.Code, e.Detail = "login_too_old", "Please sign in again: this needs a recent sign-in."
			age := strconv.Itoa(int(x.sel.rule.access.MaxAuthAge.Seconds()))
			e.Challenges = []string{`Bearer error="insufficient_user_authentication", max_age="` + age + `"`} // RFC 9470
		case errors.Is(cause, identity.ErrRejected):
			e.Challenges = []string{`Bearer error="invalid_token"`}
		}
		return e
	default:
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "Your sign-in cannot be checked at the moment; please try again.", RetryAfter: 2 * time.Second, Cause: cause}
	}
}

// fail answers for gatehouse: with the sign-in page for a navigation that only
// lacks a sign-in, with the error otherwise.
func (x *exchange) fail(e *web.Error) {
	h := x.w.Header()
	for _, c := range x.result.SetCookie {
		h.Add("Set-Cookie", c)
	}
	if x.rt != nil {
		x.rt.corsMark(h, x.r)
	}
	if e.Status == http.StatusUnauthorized && x.upgrade == "" && web.IsNavigation(x.r) {
		x.rec.Err = e.Cause
		x.p.deps.UI.Redirect(x.w, x.r, http.StatusSeeOther, "login_required", x.loginPath(e))
		return
	}
	x.p.deps.UI.Fail(x.w, x.r, e)
}

// loginPath is the sign-in page with the way back. prompt=login asks for a
// fresh sign-in of somebody who is signed in.
func (x *exchange) loginPath(e *web.Error) string {
	s := x.t.prefix + "/login?rd=" + url.QueryEscape(x.path+x.query)
	if e.Code == "login_too_old" {
		s += "&prompt=login"
	}
	return s
}
