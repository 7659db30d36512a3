package server

import (
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"gatehouse/web"
)

// Labels of requests that no route has; parentheses cannot be in a route name.
const (
	routeOwn  = "(own)"
	routeNone = "(none)"
)

// ServeHTTP is the outer chain of both public listeners, in the order in which
// things happen.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	st := s.state.Load()
	from := callerOf(st.trusted, r)

	w := s.writers.Get().(*writer)
	*w = writer{ResponseWriter: rw}
	w.rec = web.Record{
		ID: newRequestID(), Client: from.client, PeerTrusted: from.trusted, Secure: from.secure, Start: s.now(),
	}
	if from.secure {
		w.hsts = st.hsts
	}
	w.close = s.draining.Load()
	if from.bad != "" {
		s.metrics.badAddr.WithLabelValues(from.bad).Inc()
	}
	w.on(connectionOf(r.Context()), r)
	w.entry = s.watch.open(w, r)

	began := time.Now()
	defer s.finish(w, r, st, began)
	if isReset(r) {
		w.gone, w.rec.Code = true, "client_closed"
		return
	}
	s.dispatch(w, r, st)
}

// dispatch refuses what no handler should see, and picks the handler.
func (s *Server) dispatch(w *writer, r *http.Request, st *state) {
	if e := s.refuse(w, r); e != nil {
		s.ui.Fail(w, r, e)
		return
	}
	if r.Method == http.MethodOptions && r.RequestURI == "*" {
		w.rec.Code = "options"
		w.Header().Set("Gatehouse-Response", "options")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return
	}
	host, ok := hostOf(r.Host)
	if !ok {
		s.ui.Fail(w, r, &web.Error{Status: http.StatusBadRequest, Code: "bad_host", Detail: "The Host of the request is not a valid host name."})
		return
	}
	verify := s.isVerify(r.URL.EscapedPath())
	// A trusted proxy asks about the host it names in X-Forwarded-Host; the
	// one it dials is its own business.
	if !s.opts.KnownHost(host) && !(verify && w.rec.PeerTrusted) {
		s.ui.Fail(w, r, &web.Error{Status: http.StatusMisdirectedRequest, Code: "unknown_host", Detail: "This host is not served here."})
		return
	}
	// What a trusted proxy says of the scheme is, on the verify path, about the
	// request it asks about; this connection has TLS or not.
	if !w.rec.Secure && !(verify && w.rec.PeerTrusted && r.TLS != nil) {
		s.plain(w, r, st, host)
		return
	}
	if s.misdirected(r, st, host) && !w.rec.PeerTrusted {
		s.ui.Fail(w, r, &web.Error{Status: http.StatusMisdirectedRequest, Code: "misdirected", Detail: "This connection was opened for another host."})
		return
	}
	switch {
	case verify:
		w.rec.Route = routeOwn
		s.opts.Verify.ServeHTTP(w, r)
	case s.isOwn(r.URL.EscapedPath()):
		w.rec.Route = routeOwn
		s.opts.Own.ServeHTTP(w, r)
	default:
		s.opts.Proxy.ServeHTTP(w, r)
	}
}

// Limits on the head of a request (T124). net/http reads a little more than
// maxHeader, so that nearly all refusals are ours.
const (
	maxHeader     = 32 << 10
	maxFields     = 100
	allowedHeader = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
)

// refuse says what is wrong with a request before its host and path matter.
func (s *Server) refuse(w *writer, r *http.Request) *web.Error {
	if s.conns.shedding() && overCap(r.Context()) {
		w.close = true
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "overloaded", Detail: "Too many connections; please try again.", RetryAfter: time.Second}
	}
	fields, size := 0, len(r.RequestURI)
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			size += len(name) + len(v) + 4
		}
	}
	if fields > maxFields || size > maxHeader {
		w.close = true
		return &web.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Code: "header_too_large", Detail: "The request has more header fields, or longer ones, than are accepted."}
	}
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		w.close = true
		w.Header().Set("Allow", allowedHeader)
		return &web.Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "This method is not accepted here."}
	}
	if r.RequestURI == "*" && r.Method != http.MethodOptions {
		return &web.Error{Status: http.StatusBadRequest, Code: "bad_target", Detail: "The request target is not valid for this method."}
	}
	return nil
}

// isOwn matches the reserved prefix on a segment boundary, in the path as
// sent: another spelling of it is not ours, and the proxy judges it.
func (s *Server) isOwn(path string) bool {
	rest, ok := strings.CutPrefix(path, s.prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// isVerify matches the forward-auth endpoint and its aliases.
func (s *Server) isVerify(path string) bool {
	if rest, ok := strings.CutPrefix(path, s.prefix); ok && rest == "/verify" {
		return true
	}
	if !s.aliases {
		return false
	}
	return path == "/oauth2/auth" || path == "/api/authz/forward-auth" || path == "/validate"
}

// finish runs when the request is over, however it ended: it recovers, logs
// once, counts once.
func (s *Server) finish(w *writer, r *http.Request, st *state, began time.Time) {
	cause := recover()
	if cause != nil {
		s.recovered(w, r, cause)
	}
	w.settle(r)
	if cause == nil && w.status == 0 && !w.gone {
		w.WriteHeader(http.StatusOK) // as net/http would, but with our headers
	}
	w.entry.close(cause != nil && !w.failed)
	took := time.Since(began)
	status := w.status
	if status == 0 {
		status = 499 // nothing was sent: the connection was cut
	}
	route := w.rec.Route
	if route == "" {
		route = routeNone
	}
	s.metrics.observe(route, methodLabel(r.Method), status, took)
	if st.access {
		s.logAccess(accessLine{w, r, status, took, cause != nil})
	}
	if cause != nil {
		if w.status == 0 || !w.failed {
			panic(http.ErrAbortHandler)
		}
		return
	}
	if !w.hijacked { // an upgraded connection's owner may still hold the writer
		*w = writer{}
		s.writers.Put(w)
	}
}

// recovered answers 500 if nothing was sent. Otherwise the connection is cut,
// so that half an answer never looks whole. The panic's own text may hold
// request data and stays out of the log, unless it is the runtime's.
func (s *Server) recovered(w *writer, r *http.Request, cause any) {
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares the value too
		return
	}
	text := "panic of a type that may hold request data"
	if re, ok := cause.(runtime.Error); ok {
		text = re.Error()
	}
	s.log.LogAttrs(r.Context(), slog.LevelError, "panic while serving",
		slog.String("request_id", w.rec.ID), slog.String("panic", text), slog.String("type", typeName(cause)), slog.String("stack", string(debug.Stack())))
	if w.status != 0 || w.hijacked {
		return
	}
	w.close = true
	clear(w.Header())
	s.ui.Fail(w, r, &web.Error{Status: http.StatusInternalServerError, Code: "internal_error", Detail: "Something went wrong here. It has been logged."})
	w.failed = w.status != 0
}
