package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"gatehouse/web"
)

// ServeVerify is the forward-auth endpoint: it judges the request that a proxy
// of listen.trusted_proxies describes in headers, with the same match and
// policy as ServeHTTP, and answers 200 with the route's identity headers, 401,
// 403, or 302 to the sign-in page. From anybody else, and without a
// description, it judges the caller's own request for this host's "/".
func (p *Proxy) ServeVerify(w http.ResponseWriter, r *http.Request) {
	rec := web.RecordOf(w)
	subject, ok := described(r, rec)
	x := &exchange{p: p, t: p.state.Load(), w: w, r: subject, rec: rec}
	if !ok {
		p.deps.UI.Fail(w, r, &web.Error{Status: http.StatusBadRequest, Code: "bad_target", Detail: "The forwarded request is not described in one way."})
		return
	}
	if e := x.match(); e != nil {
		p.deps.UI.Fail(w, r, e)
		return
	}
	if methodMissing(r, rec) && x.methodMatters() {
		p.deps.UI.Fail(w, r, &web.Error{Status: http.StatusBadRequest, Code: "bad_target", Detail: "The forwarded request's method is not given, and the rules here depend on it."})
		return
	}
	if e := x.verify(); e != nil {
		x.failVerify(r, e)
		return
	}
	h := w.Header()
	for _, c := range x.result.SetCookie {
		h.Add("Set-Cookie", c)
	}
	if x.id != nil {
		setIdentity(h, x.rt.identity, x.id)
		if x.rt.cfg.Assertion {
			text, err := p.deps.Assert.Assertion(x.id, x.rt.cfg.Name)
			if err != nil {
				p.deps.UI.Fail(w, r, x.refused(Unavailable, err, false))
				return
			}
			h[headerAssertion] = []string{text}
		}
	}
	p.deps.UI.Empty(w, http.StatusOK, "verified")
}

// methodMissing reports a description that names a path but no method.
func methodMissing(r *http.Request, rec *web.Record) bool {
	has := func(name string) bool { return r.Header.Get(name) != "" }
	return rec.PeerTrusted && (has("X-Forwarded-Uri") || has("X-Original-Url")) && !has("X-Forwarded-Method") && !has("X-Original-Method")
}

// methodMatters reports whether another method would select another rule.
func (x *exchange) methodMatters() bool {
	host, _ := canonicalHost(x.r.Host)
	for _, rule := range x.rt.ordered {
		for _, method := range append([]string{"UNNAMED"}, rule.methods...) {
			if other, no, _ := x.t.match(host, x.path, method); no != matched || other.rule != x.sel.rule {
				return true
			}
		}
	}
	return false
}

// verify is admit without limits, which are the asking proxy's business, and
// without renewal: the cookies of the answer might get lost on the way, and a
// refresh token that was spent unseen would look stolen later.
func (x *exchange) verify() *web.Error {
	var err error
	x.result, err = x.p.deps.Auth.Authenticate(x.r, x.rec, false)
	x.identify(err)
	if e := x.decide(err, x.p.now()); e != nil {
		return e
	}
	return x.browserCheck()
}

func (x *exchange) failVerify(r *http.Request, e *web.Error) {
	h := x.w.Header()
	for _, c := range x.result.SetCookie {
		h.Add("Set-Cookie", c)
	}
	if e.Status == http.StatusUnauthorized && web.IsNavigation(x.r) {
		scheme := "http"
		if x.rec.Secure {
			scheme = "https"
		}
		x.rec.Err = e.Cause
		x.p.deps.UI.Redirect(foundWriter{x.w}, r, http.StatusSeeOther, "login_required", scheme+"://"+x.r.Host+x.loginPath(e))
		return
	}
	x.p.deps.UI.Fail(x.w, r, e)
}

// described makes the request to judge. Its headers are the caller's, since
// the asking proxy copies credentials there.
func described(r *http.Request, rec *web.Record) (*http.Request, bool) {
	out := *r
	out.Method, out.RequestURI, out.ContentLength, out.Body = http.MethodGet, "/", 0, http.NoBody
	if !rec.PeerTrusted {
		return &out, true
	}
	one := func(name string) (string, bool) {
		v := r.Header[name]
		if len(v) > 1 {
			return "", false
		}
		if len(v) == 0 {
			return "", true
		}
		return v[0], true
	}
	var ok [6]bool
	var method, proto, host, uri, nginxMethod, nginxURL string
	method, ok[0] = one("X-Forwarded-Method")
	proto, ok[1] = one("X-Forwarded-Proto")
	host, ok[2] = one("X-Forwarded-Host")
	uri, ok[3] = one("X-Forwarded-Uri")
	nginxMethod, ok[4] = one("X-Original-Method")
	nginxURL, ok[5] = one("X-Original-Url")
	for _, fine := range ok {
		if !fine {
			return &out, false
		}
	}
	if uri != "" && nginxURL != "" {
		return &out, false // two descriptions: which one is the proxy's?
	}
	switch {
	case nginxURL != "":
		return &out, describedByURL(&out, rec, nginxMethod, nginxURL)
	case uri != "":
		if host != "" {
			out.Host = host
		}
		out.RequestURI = uri
	case method == "" && host == "":
		return &out, true
	default:
		if host != "" {
			out.Host = host
		}
	}
	if method != "" {
		out.Method = method
	}
	return &out, setProto(rec, proto)
}

func describedByURL(out *http.Request, rec *web.Record, method, raw string) bool {
	if !strings.HasPrefix(raw, "/") {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.User != nil || !setProto(rec, strings.ToLower(u.Scheme)) {
			return false
		}
		out.Host = u.Host
	}
	out.RequestURI = raw
	if method != "" {
		out.Method = method
	}
	return true
}

// setProto takes over the scheme the client used.
func setProto(rec *web.Record, proto string) bool {
	switch proto {
	case "https", "wss":
		rec.Secure = true
	case "http", "ws":
		rec.Secure = false
	case "":
	default:
		return false
	}
	return true
}

// foundWriter answers 302 where the renderer says 303: it is what asking
// proxies know.
type foundWriter struct{ http.ResponseWriter }

func (w foundWriter) WriteHeader(status int) {
	if status == http.StatusSeeOther {
		status = http.StatusFound
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap leads to the writer that carries the record.
func (w foundWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
