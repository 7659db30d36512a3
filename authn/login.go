package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gatehouse/authn/password"
	"gatehouse/store"
	"gatehouse/web"
)

// Login proves an address and a password and opens a session. An unknown
// address, a wrong password, a disabled account and an impossible address get
// one answer after the same work (threats T104, T106).
func (s *Service) Login(ctx context.Context, c Caller, email, pass string) (*Grant, error) {
	u, err := s.prove(ctx, c, email, pass)
	if err != nil {
		s.Metrics.Authn("password", resultOf(err))
		return nil, err
	}
	g, err := s.begin(ctx, u, c, []string{"pwd"})
	s.Metrics.Authn("password", resultOf(err))
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "login.success", c, u.ID, g.Identity.Session, "success")
	return g, nil
}

func resultOf(err error) string {
	var e *web.Error
	switch {
	case err == nil:
		return "success"
	case errors.As(err, &e) && e.Status == 401:
		return "failure"
	case errors.As(err, &e) && e.Status == 429:
		return "limited"
	}
	return "error"
}

// prove checks a password under the limits and returns whose it is.
func (s *Service) prove(ctx context.Context, c Caller, email, pass string) (store.User, error) {
	_, key, badEmail := Canonical(email)
	if badEmail != nil {
		key = "-" // one account nobody has
	}
	if s.Hasher.Full() { // a flood would otherwise have a write to the store each
		return store.User{}, unavailable(fmt.Errorf("check password: %w", password.ErrBusy))
	}
	claims := s.loginClaims(key, c)
	d, err := s.take(ctx, c, claims)
	if err != nil {
		return store.User{}, err
	}
	if err := slowDown(ctx, d.Used[1]); err != nil {
		return store.User{}, err
	}
	u, ok, err := s.verify(ctx, key, pass)
	if err != nil {
		s.refund(ctx, claims...)
		return store.User{}, err
	}
	if !ok {
		s.audit(ctx, "login.failure", c, u.ID, "", "failure", slog.String("account", cut(key, 254)))
		return store.User{}, invalidCredentials()
	}
	if err := s.Limiter.Reset(context.WithoutCancel(ctx), claims[0].Key); err != nil {
		s.Log.LogAttrs(ctx, slog.LevelWarn, "limit could not be reset", slog.Any("error", err))
	}
	s.refund(ctx, claims[1:]...)
	return u, nil
}

// verify compares a password with the account's, with equal work for every
// outcome. A good password behind an old hash is hashed anew.
func (s *Service) verify(ctx context.Context, key, pass string) (store.User, bool, error) {
	u, err := s.Users.ByEmail(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return u, false, unavailable(fmt.Errorf("look up account: %w", err))
	}
	var ok, rehash bool
	if err != nil || u.Disabled || u.PasswordHash == "" {
		err = s.Hasher.VerifyNone(ctx, pass)
	} else {
		ok, rehash, err = s.Hasher.Verify(ctx, u.PasswordHash, pass)
	}
	switch {
	case errors.Is(err, password.ErrTooLong):
		return u, false, nil
	case errors.Is(err, password.ErrUnknownHash):
		s.Log.LogAttrs(ctx, slog.LevelWarn, "an account has a password hash that is not understood; set its password anew", slog.String("subject", u.ID))
		return u, false, nil
	case err != nil:
		return u, false, unavailable(fmt.Errorf("check password: %w", err))
	}
	if ok && rehash {
		s.upgrade(ctx, &u, pass)
	}
	return u, ok, nil
}

// upgrade replaces an old hash, in u too; losing the race, or the store, changes
// nothing for the person who is signing in.
func (s *Service) upgrade(ctx context.Context, u *store.User, pass string) {
	hash, err := s.Hasher.Hash(ctx, pass)
	if err == nil {
		var now store.User
		old := u.PasswordHash
		if now, err = s.Users.Update(ctx, u.ID, store.UserChange{PasswordHash: &hash, ExpectHash: &old, Now: s.Now().UTC()}); err == nil {
			u.PasswordHash = now.PasswordHash
		}
	}
	if err != nil {
		s.Log.LogAttrs(ctx, slog.LevelWarn, "an old password hash could not be upgraded", slog.String("subject", u.ID), slog.Any("error", err))
	}
}
