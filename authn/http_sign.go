package authn

import (
	"errors"
	"net/http"

	"gatehouse/authn/token"
	"gatehouse/identity"
	"gatehouse/web"
)

// tokenAnswer is what login, register, refresh and password answer to programs.
type tokenAnswer struct {
	AccessToken      string     `json:"access_token"`
	TokenType        string     `json:"token_type"`
	ExpiresIn        int        `json:"expires_in"` // seconds
	RefreshToken     string     `json:"refresh_token"`
	RefreshExpiresIn int        `json:"refresh_expires_in"` // seconds
	User             userAnswer `json:"user"`
}

// userAnswer is the identity as userinfo shows it.
type userAnswer struct {
	Sub           string   `json:"sub"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Name          string   `json:"name"`
	Groups        []string `json:"groups"`
	Sid           string   `json:"sid"`
	AuthTime      int64    `json:"auth_time"` // Unix seconds
	AMR           []string `json:"amr"`
}

func userOf(id *identity.Identity) userAnswer {
	return userAnswer{
		Sub: id.Subject, Email: id.Email, EmailVerified: id.EmailVerified, Name: id.Name, Groups: append([]string{}, id.Groups...),
		Sid: id.Session, AuthTime: id.AuthTime.Unix(), AMR: append([]string{}, id.AMR...),
	}
}

func (h *Handler) tokens(w http.ResponseWriter, status int, code string, g *Grant) {
	h.ui.JSON(w, status, code, tokenAnswer{
		AccessToken: g.Access, TokenType: "Bearer", ExpiresIn: int(g.AccessExpires.Seconds()),
		RefreshToken: g.Refresh.Reveal(), RefreshExpiresIn: int(g.RefreshExpires.Seconds()), User: userOf(g.Identity),
	})
}

// signedIn delivers a new session: cookies and the way back for a form, tokens
// for a program. The session whose cookie came along is over (threat T78).
func (h *Handler) signedIn(w http.ResponseWriter, r *http.Request, in input, status int, code string, g *Grant) error {
	if err := h.endCarried(r, callerOf(r, web.RecordOf(w))); err != nil {
		return err
	}
	rec := web.RecordOf(w)
	rec.Subject, rec.Session = g.Identity.Subject, g.Identity.Session
	if !in.isForm() {
		h.tokens(w, status, code, g)
		return nil
	}
	h.cookies(w, grantCookies(g))
	h.ui.Redirect(w, r, http.StatusSeeOther, code, safeReturn(in.form.Get("rd"), h.prefix))
	return nil
}

// endCarried ends the session that the request's cookies belong to; when they
// are of two, both.
func (h *Handler) endCarried(r *http.Request, c Caller) error {
	ended := ""
	if value, err := cookieValue(r.Header, accessCookie); err == nil && value != "" {
		if v, err := h.s.Ring.Verify(value); err == nil {
			ended = v.Identity.Session
			if err := h.s.Logout(r.Context(), c, v.Identity, false); err != nil {
				return err
			}
		}
	}
	value, err := cookieValue(r.Header, refreshCookie)
	if err != nil || value == "" {
		return nil
	}
	t, err := token.ParseRefresh(value)
	if err != nil {
		return nil
	}
	id, err := h.s.whoseRefresh(r.Context(), t)
	if err != nil || id == nil || id.Session == ended {
		return err
	}
	return h.s.Logout(r.Context(), c, id, false)
}

func (h *Handler) loginPage(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := web.LoginPage{Return: safeReturn(q.Get("rd"), h.prefix), CanRegister: h.s.CanRegister()}
	id, via, err := h.who(w, r)
	if err == nil && via == identity.ViaCookie {
		if q.Has("rd") && q.Get("prompt") != "login" {
			h.ui.Redirect(w, r, http.StatusSeeOther, "signed_in", page.Return)
			return nil
		}
		page.SignedInAs = id.Email
	}
	h.ui.Login(w, r, http.StatusOK, page)
	return nil
}

func (h *Handler) login(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	var body struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	if in.isForm() {
		body.Email, body.Password = in.form.Get("email"), in.form.Get("password")
	} else if err := in.fields(&body); err != nil {
		return err
	}
	g, err := h.s.Login(r.Context(), callerOf(r, web.RecordOf(w)), body.Email, body.Password)
	if err == nil {
		err = h.signedIn(w, r, in, http.StatusOK, "signed_in", g)
	}
	var e *web.Error
	if err != nil && in.isForm() && errors.As(err, &e) {
		h.ui.Login(w, r, e.Status, web.LoginPage{
			Return: safeReturn(in.form.Get("rd"), h.prefix), Email: cut(body.Email, 254), Error: e, CanRegister: h.s.CanRegister(),
		})
		return nil
	}
	return err
}

func (h *Handler) registerPage(w http.ResponseWriter, r *http.Request) error {
	if !h.s.CanRegister() {
		_, err := h.s.Register(r.Context(), Caller{}, Registration{})
		return err
	}
	h.ui.Register(w, r, http.StatusOK, web.RegisterPage{Return: safeReturn(r.URL.Query().Get("rd"), h.prefix), MinLength: h.s.rules().MinLength()})
	return nil
}

func (h *Handler) register(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	var body struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name"`
	}
	if in.isForm() {
		body.Email, body.Password, body.Name = in.form.Get("email"), in.form.Get("password"), in.form.Get("name")
	} else if err := in.fields(&body); err != nil {
		return err
	}
	g, err := h.s.Register(r.Context(), callerOf(r, web.RecordOf(w)), Registration(body))
	if err == nil {
		err = h.signedIn(w, r, in, http.StatusCreated, "registered", g)
	}
	var e *web.Error
	if err != nil && in.isForm() && errors.As(err, &e) && e.Code != "registration_closed" {
		h.ui.Register(w, r, e.Status, web.RegisterPage{
			Return: safeReturn(in.form.Get("rd"), h.prefix), Email: cut(body.Email, 254), Name: cut(body.Name, 400), Error: e, MinLength: h.s.rules().MinLength(),
		})
		return nil
	}
	return err
}

func (h *Handler) refresh(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	if in.isForm() {
		return &web.Error{Status: 415, Code: "unsupported_media_type", Detail: "Send application/json; browsers are renewed in passing."}
	}
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := in.fields(&body); err != nil {
		return err
	}
	spent, err := token.ParseRefresh(body.RefreshToken)
	if err != nil {
		return sessionOver(err)
	}
	g, err := h.s.Refresh(r.Context(), callerOf(r, web.RecordOf(w)), spent)
	if err != nil {
		return err
	}
	h.tokens(w, http.StatusOK, "refreshed", g)
	return nil
}
