package authn

import (
	"errors"
	"fmt"
	"net/http"

	"gatehouse/authn/token"
	"gatehouse/identity"
	"gatehouse/web"
)

// Gate tells of a request who is calling. It never writes an answer and never
// changes the request. A request with a good access token costs a look-up in
// memory: no store, no network, no allocation.
type Gate struct{ s *Service }

// NewGate makes the gate of a service.
func NewGate(s *Service) *Gate { return &Gate{s} }

// Authenticate returns the identity of r, or why there is none: identity.ErrNone,
// ErrRejected, ErrConflict, or an error that means "could not find out"
// (ErrUnavailable; ErrStale comes with the identity). With mayRenew, an expired
// access cookie beside a good refresh cookie is renewed on the way, and the
// result carries the new cookies.
func (g *Gate) Authenticate(r *http.Request, rec *web.Record, mayRenew bool) (identity.Result, error) {
	raw, isBearer, err := bearer(r.Header)
	if err != nil {
		return identity.Result{OwnBearer: true}, err // no app should have to make sense of it either
	}
	var id *identity.Identity
	var bearerErr error
	own := false
	if isBearer { // a good one, the usual case, is not looked at any further
		if id, bearerErr = g.verify(raw); id == nil && !token68(raw) {
			return identity.Result{OwnBearer: true}, identity.ErrConflict
		}
		own = id != nil || g.s.Ring.Ours(raw)
	}
	res, err := g.byCookie(r, rec, mayRenew && !own)
	if isBearer && !own && errors.Is(err, identity.ErrNone) {
		return identity.Result{}, fmt.Errorf("%w: a bearer token that is not ours", identity.ErrRejected)
	}
	if !own {
		return res, err
	}
	out := identity.Result{Identity: id, Via: identity.ViaBearer, OwnBearer: true}
	if bearerErr != nil && !errors.Is(bearerErr, identity.ErrStale) {
		return identity.Result{OwnBearer: true}, bearerErr
	}
	if res.Identity != nil && res.Identity.Subject != id.Subject {
		return identity.Result{OwnBearer: true}, fmt.Errorf("%w: cookie and bearer token of different users", identity.ErrConflict)
	}
	return out, bearerErr
}

// verify proves an access token and asks the mirror. ErrStale comes with the
// identity.
func (g *Gate) verify(raw string) (*identity.Identity, error) {
	v, err := g.s.Ring.Verify(raw)
	if err != nil {
		return nil, err
	}
	if g.s.Mirror.Revoked(v.Identity, v.KeyID) {
		return nil, errRevoked
	}
	if g.s.Mirror.Stale() {
		return v.Identity, identity.ErrStale
	}
	return v.Identity, nil
}

var errRevoked = fmt.Errorf("%w: revoked", identity.ErrRejected)

// byCookie finds the identity in the cookies, renewing it when it may.
func (g *Gate) byCookie(r *http.Request, rec *web.Record, mayRenew bool) (identity.Result, error) {
	access, err := cookieValue(r.Header, accessCookie)
	if err != nil {
		return identity.Result{}, fmt.Errorf("%w: %w", identity.ErrRejected, err)
	}
	failed := identity.ErrNone
	if access != "" {
		id, err := g.verify(access)
		if err == nil || errors.Is(err, identity.ErrStale) {
			return identity.Result{Identity: id, Via: identity.ViaCookie}, err
		}
		failed = err
	}
	if !mayRenew {
		return identity.Result{}, failed
	}
	refresh, err := cookieValue(r.Header, refreshCookie)
	if err != nil {
		return identity.Result{}, fmt.Errorf("%w: %w", identity.ErrRejected, err)
	}
	if refresh == "" {
		return identity.Result{}, failed
	}
	return g.renew(r, rec, refresh)
}

// renew spends the refresh cookie. Cookies are cleared only when the session is
// really over; a store that is down clears nothing.
func (g *Gate) renew(r *http.Request, rec *web.Record, refresh string) (identity.Result, error) {
	spent, err := token.ParseRefresh(refresh)
	if err != nil {
		return identity.Result{}, err
	}
	grant, err := g.s.renew(r.Context(), callerOf(r, rec), spent)
	if err != nil {
		return refused(err)
	}
	id, err := g.verify(grant.Access)
	if err != nil && !errors.Is(err, identity.ErrStale) {
		return identity.Result{}, err // revoked while it was being renewed
	}
	return identity.Result{Identity: id, Via: identity.ViaCookie, SetCookie: grantCookies(grant)}, err
}

// refused translates a refusal of the service into one of the gate's answers.
func refused(err error) (identity.Result, error) {
	var e *web.Error
	switch {
	case isOver(err):
		return identity.Result{SetCookie: clearedCookies()}, fmt.Errorf("%w: %w", identity.ErrRejected, err)
	case errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Code == "too_many_groups"): // the sign-in page says why
		return identity.Result{}, fmt.Errorf("%w: %w", identity.ErrRejected, err)
	}
	return identity.Result{}, fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
}

func callerOf(r *http.Request, rec *web.Record) Caller {
	return Caller{Address: rec.Client, UserAgent: r.UserAgent(), RequestID: rec.ID}
}
