package authn

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"gatehouse/identity"
	"gatehouse/web"
)

// Handler serves everything under ui.prefix but forward authentication: it
// decodes, calls the service, and encodes. It is safe for concurrent use.
type Handler struct {
	s      *Service
	gate   *Gate
	ui     *web.UI
	prefix string
	csrf   *http.CrossOriginProtection
	routes map[string]endpoint
}

// endpoint maps methods to what answers them; GET serves HEAD.
type endpoint map[string]func(w http.ResponseWriter, r *http.Request) error

// NewHandler makes the handler for the given reserved prefix.
func NewHandler(s *Service, gate *Gate, ui *web.UI, prefix string) *Handler {
	h := &Handler{s: s, gate: gate, ui: ui, prefix: prefix, csrf: http.NewCrossOriginProtection()}
	jwks := endpoint{"GET": h.jwks}
	info := endpoint{"GET": h.userinfo}
	h.routes = map[string]endpoint{
		"/":                      {"GET": h.account},
		"/login":                 {"GET": h.loginPage, "POST": h.login},
		"/register":              {"GET": h.registerPage, "POST": h.register},
		"/refresh":               {"POST": h.refresh},
		"/logout":                {"GET": h.logoutPage, "POST": h.logout},
		"/userinfo":              info,
		"/me":                    info,
		"/sessions":              {"GET": h.sessions},
		"/password":              {"GET": h.toAccount, "POST": h.password},
		"/jwks.json":             jwks,
		"/.well-known/jwks.json": jwks,
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		var e *web.Error
		if !errors.As(err, &e) {
			e = unavailable(err)
		}
		h.ui.Fail(w, r, e)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, h.prefix)
	if path == "" {
		h.ui.Redirect(w, r, http.StatusSeeOther, "account", h.prefix+"/")
		return nil
	}
	if name, ok := strings.CutPrefix(path, "/assets/"); ok {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return notAllowed(w, endpoint{"GET": nil})
		}
		h.ui.Asset(w, r, name)
		return nil
	}
	ep := h.routes[path]
	if sid, ok := strings.CutPrefix(path, "/sessions/"); ok && sid != "" && !strings.Contains(sid, "/") {
		end := func(w http.ResponseWriter, r *http.Request) error { return h.endSession(w, r, sid) }
		ep = endpoint{"DELETE": end, "POST": end}
	}
	if ep == nil {
		return &web.Error{Status: 404, Code: "no_endpoint", Detail: "There is nothing here."}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	serve := ep[method]
	if serve == nil {
		return notAllowed(w, ep)
	}
	if method != http.MethodGet {
		if err := h.sameOrigin(r, web.RecordOf(w)); err != nil {
			return err
		}
	}
	return serve(w, r)
}

func notAllowed(w http.ResponseWriter, ep endpoint) error {
	var allow []string
	for m := range ep {
		allow = append(allow, m)
		if m == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	return &web.Error{Status: 405, Code: "method_not_allowed", Detail: "This method is not available here."}
}

// who returns the caller's identity, renewing it from the cookies, or refuses.
func (h *Handler) who(w http.ResponseWriter, r *http.Request) (*identity.Identity, identity.Via, error) {
	rec := web.RecordOf(w)
	res, err := h.gate.Authenticate(r, rec, true)
	h.cookies(w, res.SetCookie)
	if err != nil {
		return nil, 0, refusal(err)
	}
	rec.Subject, rec.Session = res.Identity.Subject, res.Identity.Session
	return res.Identity, res.Via, nil
}

// refusal is the answer to a request whose caller the gate could not tell.
func refusal(err error) error {
	switch {
	case errors.Is(err, identity.ErrConflict):
		return &web.Error{Status: 400, Code: "conflicting_credentials", Detail: "The request names two users, or one in an unclear way.", Cause: err}
	case errors.Is(err, identity.ErrNone), errors.Is(err, identity.ErrRejected):
		return unauthorized(err)
	}
	return unavailable(err)
}

// cookies adds Set-Cookie lines; over anything but https none is ever set.
func (h *Handler) cookies(w http.ResponseWriter, lines []string) {
	if !web.RecordOf(w).Secure {
		return
	}
	for _, line := range lines {
		w.Header().Add("Set-Cookie", line)
	}
}

func (h *Handler) jwks(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "public, max-age=300")
	h.ui.JSON(w, http.StatusOK, "jwks", rawJSON(h.s.Ring.JWKS()))
	return nil
}

// rawJSON is JSON already.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (b rawJSON) MarshalJSON() ([]byte, error) { return b, nil }
