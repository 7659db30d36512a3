package authn

import (
	"errors"
	"net/http"
	"net/url"

	"gatehouse/authn/token"
	"gatehouse/identity"
	"gatehouse/store"
	"gatehouse/web"
)

func (h *Handler) logoutPage(w http.ResponseWriter, r *http.Request) error {
	page := web.LogoutPage{}
	if id, _, err := h.who(w, r); err == nil {
		page.SignedInAs = id.Email
	}
	h.ui.Logout(w, r, page)
	return nil
}

// logout ends the session of the refresh token in the body, of the bearer
// token, or of the cookies, in this order. Signing out twice is no error for a
// browser.
func (h *Handler) logout(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	if !in.isForm() {
		if err := in.fields(&body); err != nil {
			return err
		}
	}
	all := r.URL.Query().Get("all") == "true" || in.form.Get("all") == "true"
	if err := h.endNamed(w, r, body.RefreshToken, all, in.isForm()); err != nil {
		return err
	}
	h.cookies(w, clearedCookies())
	if in.isForm() {
		h.ui.Redirect(w, r, http.StatusSeeOther, "signed_out", h.prefix+"/login")
		return nil
	}
	h.ui.Empty(w, http.StatusNoContent, "signed_out")
	return nil
}

func (h *Handler) endNamed(w http.ResponseWriter, r *http.Request, refresh string, all, lenient bool) error {
	rec := web.RecordOf(w)
	c := callerOf(r, rec)
	if refresh != "" {
		t, err := token.ParseRefresh(refresh)
		if err != nil {
			return nil // RFC 7009 section 2.2: what is no token is not alive
		}
		return h.s.LogoutByRefresh(r.Context(), c, t, all)
	}
	res, err := h.gate.Authenticate(r, rec, false)
	if err == nil || errors.Is(err, identity.ErrStale) {
		return h.s.Logout(r.Context(), c, res.Identity, all)
	}
	if value, cookieErr := cookieValue(r.Header, refreshCookie); cookieErr == nil && value != "" && !res.OwnBearer {
		if t, parseErr := token.ParseRefresh(value); parseErr == nil {
			return h.s.LogoutByRefresh(r.Context(), c, t, all)
		}
	}
	if lenient && (errors.Is(err, identity.ErrNone) || errors.Is(err, identity.ErrRejected)) {
		return nil
	}
	return refusal(err)
}

func (h *Handler) userinfo(w http.ResponseWriter, r *http.Request) error {
	id, _, err := h.who(w, r)
	if err != nil {
		return err
	}
	h.ui.JSON(w, http.StatusOK, "userinfo", userOf(id))
	return nil
}

// sessionAnswer is one session as its owner sees it.
type sessionAnswer struct {
	Sid      string `json:"sid"`
	Device   string `json:"device"`
	Address  string `json:"address"`
	Created  int64  `json:"created"`   // Unix seconds
	LastUsed int64  `json:"last_used"` // Unix seconds
	Current  bool   `json:"current"`
}

func (h *Handler) sessions(w http.ResponseWriter, r *http.Request) error {
	if web.IsNavigation(r) {
		return h.toAccount(w, r)
	}
	id, _, err := h.who(w, r)
	if err != nil {
		return err
	}
	list, err := h.s.ListSessions(r.Context(), id)
	if err != nil {
		return err
	}
	out := struct {
		Sessions []sessionAnswer `json:"sessions"`
	}{[]sessionAnswer{}}
	for _, s := range list {
		out.Sessions = append(out.Sessions, sessionAnswer{s.ID, Device(s.UserAgent), s.Address, s.CreatedAt.Unix(), s.LastUsedAt.Unix(), s.ID == id.Session})
	}
	h.ui.JSON(w, http.StatusOK, "sessions", out)
	return nil
}

// endSession serves DELETE, and a form's POST with _method=DELETE.
func (h *Handler) endSession(w http.ResponseWriter, r *http.Request, sid string) error {
	form := r.Method == http.MethodPost
	if form {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		if in.form.Get("_method") != http.MethodDelete {
			return notAllowed(w, endpoint{"DELETE": nil})
		}
	}
	id, _, err := h.who(w, r)
	if err != nil {
		return err
	}
	if err := h.s.RevokeSession(r.Context(), callerOf(r, web.RecordOf(w)), id, sid); err != nil {
		return err
	}
	if form {
		return h.toAccount(w, r)
	}
	h.ui.Empty(w, http.StatusNoContent, "session_revoked")
	return nil
}

func (h *Handler) toAccount(w http.ResponseWriter, r *http.Request) error {
	h.ui.Redirect(w, r, http.StatusSeeOther, "account", h.prefix+"/")
	return nil
}

func (h *Handler) account(w http.ResponseWriter, r *http.Request) error {
	id, _, err := h.who(w, r)
	var e *web.Error
	if errors.As(err, &e) && e.Status == 401 && web.IsNavigation(r) {
		h.ui.Redirect(w, r, http.StatusSeeOther, "sign_in", h.prefix+"/login?rd="+url.QueryEscape(h.prefix+"/"))
		return nil
	}
	if err != nil {
		return err
	}
	if !web.IsNavigation(r) {
		h.ui.JSON(w, http.StatusOK, "userinfo", userOf(id))
		return nil
	}
	return h.accountPage(w, r, http.StatusOK, id, "", nil)
}

func (h *Handler) accountPage(w http.ResponseWriter, r *http.Request, status int, id *identity.Identity, notice string, problem *web.Error) error {
	list, err := h.s.ListSessions(r.Context(), id)
	if err != nil {
		return err
	}
	h.ui.Account(w, r, status, web.AccountPage{
		Email: id.Email, Name: id.Name, Groups: id.Groups, Sessions: rows(list, id.Session),
		MinLength: h.s.rules().MinLength(), Notice: notice, Error: problem,
	})
	return nil
}

func rows(list []store.Session, current string) []web.SessionRow {
	out := make([]web.SessionRow, 0, len(list))
	for _, s := range list {
		out = append(out, web.SessionRow{ID: s.ID, Device: Device(s.UserAgent), Address: s.Address, Created: s.CreatedAt, LastUsed: s.LastUsedAt, Current: s.ID == current})
	}
	return out
}

func (h *Handler) password(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	var body struct {
		Current string `json:"current_password"`
		New     string `json:"new_password"`
	}
	if in.isForm() {
		body.Current, body.New = in.form.Get("current_password"), in.form.Get("new_password")
	} else if err := in.fields(&body); err != nil {
		return err
	}
	id, _, err := h.who(w, r)
	if err != nil {
		return err
	}
	g, err := h.s.ChangePassword(r.Context(), callerOf(r, web.RecordOf(w)), id, body.Current, body.New)
	var e *web.Error
	switch {
	case err == nil && in.isForm():
		w.Header().Del("Set-Cookie") // a renewal in passing is out of date already
		h.cookies(w, grantCookies(g))
		return h.accountPage(w, r, http.StatusOK, g.Identity, "Your password was changed. Every other session was signed out.", nil)
	case err == nil:
		h.tokens(w, http.StatusOK, "password_changed", g)
		return nil
	case in.isForm() && errors.As(err, &e):
		return h.accountPage(w, r, e.Status, id, "", e)
	}
	return err
}
