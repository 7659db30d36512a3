package proxy

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse/web"
)

// forward sends the judged request on and brings the answer back. An error is
// returned only while nothing of an answer was sent.
func (x *exchange) forward() *web.Error {
	if limit := x.rt.cfg.MaxInFlight; limit != nil {
		defer x.rt.inFlight.Add(-1)
		if x.rt.inFlight.Add(1) > int64(*limit) {
			return &web.Error{Status: http.StatusServiceUnavailable, Code: "route_busy", Detail: "Too many requests are being served; please try again.", RetryAfter: time.Second}
		}
	}
	out, body, e := x.outbound()
	if e != nil {
		return e
	}
	run := newRun(x)
	defer run.cancel(nil)
	defer run.end()
	if body != nil {
		body.run, x.body = run, body
		if x.r.ProtoMajor == 1 {
			// The app may answer while the client still sends, which net/http
			// has to be told.
			_ = http.NewResponseController(x.w).EnableFullDuplex() // a writer that cannot is no worse off
		}
	}
	resp, addr, err := x.rt.backend.RoundTrip(run, out)
	x.head.reset()
	x.p.heads.Put(x.head)
	x.rec.Upstream, x.rec.UpstreamTime = addr, time.Since(run.base)
	x.rt.metrics.upstream.Observe(x.rec.UpstreamTime.Seconds())
	if err != nil {
		x.endAfterAnswer()
		return x.failure(run, err)
	}
	run.answering()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return x.switchProtocols(resp, run)
	}
	x.answer(resp, run)
	return nil
}

// outbound makes the request for the app.
func (x *exchange) outbound() (*outbound, *requestBody, *web.Error) {
	r, rt := x.r, x.rt
	if rt.cfg.MaxBody > 0 && r.ContentLength > int64(rt.cfg.MaxBody) {
		return nil, nil, x.tooLarge()
	}
	x.head = x.p.heads.Get().(*scratch)
	header := x.t.requestHeader(inbound{r: r, rec: x.rec, result: &x.result, id: x.id, rt: rt,
		public: x.public(), via: x.p.via.of(r)}, x.head)
	if x.id != nil && rt.cfg.Assertion {
		text, err := x.p.deps.Assert.Assertion(x.id, rt.cfg.Name)
		if err != nil {
			return nil, nil, &web.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "The request cannot be vouched for at the moment; please try again.", RetryAfter: time.Second, Cause: err}
		}
		x.head.set(headerAssertion, text)
	}
	target, ok := x.target(x.sel, x.query)
	if !ok {
		return nil, nil, refusalError(ambiguous, pathOK)
	}
	if e := x.destination(header); e != nil {
		return nil, nil, e
	}
	out := &x.out
	*out = outbound{Method: r.Method, Target: target, Host: rt.hostFor(r.Host), Header: header,
		ContentLength: r.ContentLength, Upgrade: x.upgrade, Affinity: x.affinity(), HTTP2: isGRPC(r)}
	if bodiless(r) {
		out.ContentLength = 0
		return out, nil, nil
	}
	body := &requestBody{from: r.Body, limit: int64(rt.cfg.MaxBody)}
	out.Body = body
	return out, body, nil
}

// target is what the app is asked for: the bytes that were judged, or what
// strip_prefix leaves of them. What is left has to select the same rule again
// when it is put back behind the prefix (threat T28).
func (x *exchange) target(sel selection, query string) (string, bool) {
	if !x.rt.cfg.StripPrefix || sel.prefix == 0 {
		return sel.raw + query, true
	}
	rest := sel.raw[sel.prefix:]
	if rest == "" {
		rest = "/"
	}
	if rest[0] != '/' {
		return "", false
	}
	host, _ := canonicalHost(x.r.Host)
	again, no, _ := x.t.match(host, x.rt.prefix+rest, x.r.Method)
	if no != matched || again.rule.route != x.rt || rest != "/" && again.rule != sel.rule {
		return "", false
	}
	return rest + query, true
}

// destination judges and maps the Destination of MOVE and COPY: writing there
// is a request for that path too.
func (x *exchange) destination(header http.Header) *web.Error {
	values := header["Destination"]
	if len(values) == 0 || x.r.Method != "MOVE" && x.r.Method != "COPY" {
		return nil
	}
	bad := &web.Error{Status: http.StatusBadGateway, Code: "bad_destination", Detail: "The Destination is not served by the same app."}
	if len(values) != 1 {
		return bad
	}
	path, query, ok := destinationPath(values[0], x.r.Host)
	if !ok {
		return bad
	}
	host, _ := canonicalHost(x.r.Host)
	sel, no, problem := x.t.match(host, path, x.r.Method)
	switch {
	case no == badPath || no == ambiguous:
		return refusalError(no, problem)
	case no != matched || sel.rule.route != x.rt:
		return bad
	}
	if sel.rule != x.sel.rule {
		v := judge(question{access: &sel.rule.access, id: x.id, client: x.rec.Client, now: x.p.now()})
		if v != Allow {
			return &web.Error{Status: http.StatusForbidden, Code: "forbidden", Detail: "You are not allowed to write to the Destination."}
		}
	}
	if query != "" {
		query = "?" + query
	}
	target, ok := x.target(sel, query)
	if !ok {
		return refusalError(ambiguous, pathOK)
	}
	header["Destination"] = []string{x.rt.origin(x.r.Host) + target}
	return nil
}

// hostFor is the Host the app sees; "" leaves it to the address chosen.
func (rt *route) hostFor(host string) string {
	switch rt.cfg.HostHeader {
	case "preserve", "":
		return host
	case "upstream":
		return ""
	default:
		return rt.cfg.HostHeader
	}
}

// origin is the app's own idea of its scheme and host.
func (rt *route) origin(host string) string {
	scheme := "http"
	if rt.cfg.Upstream[0].Scheme == "https" {
		scheme = "https"
	}
	if h := rt.hostFor(host); h != "" {
		return scheme + "://" + h
	}
	return scheme + "://" + rt.cfg.Upstream[0].Host
}

// affinity names what has to stay on one upstream.
func (x *exchange) affinity() string {
	switch {
	case x.rt.cfg.Sticky && x.id != nil:
		return x.id.Session
	case x.rt.cfg.Balance == "hash_user" && x.id != nil:
		return x.id.Subject
	case x.rt.cfg.Sticky || x.rt.cfg.Balance == "hash_user":
		return x.rec.Client.String()
	default:
		return ""
	}
}

// failure maps what went wrong before an answer began; the only place that
// does. It shows nothing of the inside.
func (x *exchange) failure(run *run, err error) *web.Error {
	if e := x.ended(run.why()); e != nil {
		return e
	}
	if x.rec.SlowBody.Load() { // over HTTP/1.1 the client's context has ended with the read
		return web.BodyTooSlow(err)
	}
	if x.body != nil {
		switch x.body.state.Load() {
		case bodyTooLarge:
			return x.tooLarge()
		case bodyBroken:
			if x.r.Context().Err() == nil {
				return &web.Error{Status: http.StatusBadRequest, Code: "bad_body", Detail: "The request body is not framed as announced.", Cause: err}
			}
		}
	}
	if x.r.Context().Err() != nil {
		x.rec.Code, x.rec.Err = "client_closed", err
		panic(http.ErrAbortHandler) // nobody is left to answer
	}
	return upstreamError(err)
}

// ended is what a client is told whose exchange the gateway itself ended.
func (x *exchange) ended(cause error) *web.Error {
	switch {
	case errors.Is(cause, errRevoked), errors.Is(cause, errSessionUp):
		return &web.Error{Status: http.StatusUnauthorized, Code: "unauthorized", Detail: "Please sign in.", Cause: cause}
	case errors.Is(cause, errDraining):
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "stopping", Detail: "This gateway is stopping; please try again.", RetryAfter: time.Second, Cause: cause}
	case errors.Is(cause, errIdle):
		return &web.Error{Status: http.StatusGatewayTimeout, Code: "upstream_timeout", Detail: "The application did not answer in time.", Cause: errIdle}
	}
	return nil
}

// answer copies the app's answer to the client.
func (x *exchange) answer(resp *http.Response, run *run) {
	defer func() {
		if x.unread() {
			run.cancel(nil) // or the close would wait for the client's next byte
		}
		_ = resp.Body.Close() // what is left of it is of no use
	}()
	h := x.w.Header()
	x.rt.responseHeader(h, resp.Header, x.r, x.rec.Secure, x.id != nil, x.result.SetCookie)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		run.stream.endless.Store(true)
	}
	x.endAfterAnswer()
	trailers := declareTrailers(h, resp)
	x.w.WriteHeader(resp.StatusCode)
	if x.r.Method == http.MethodHead {
		return
	}
	if err := x.copyBody(resp, run); err != nil {
		x.rec.Err = err
		if cause := run.why(); cause != nil {
			x.rec.Err = cause
		}
		panic(http.ErrAbortHandler) // the client must see the end as broken (threat T56)
	}
	sendTrailers(h, resp, trailers, strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc"))
}

// bodiless reports that the request has no body. One of length zero is a body:
// the app is told its length as the client told it, and over HTTP/2 it is true
// only when the stream ends like that (threat T48).
func bodiless(r *http.Request) bool {
	return r.Body == nil || r.ContentLength == 0 && len(r.Header["Content-Length"]) == 0
}
