package authn

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/authn/token"
	"gatehouse/identity"
	"gatehouse/store"
	"gatehouse/web"
)

// Logout ends the session of an identity, or with all every session of its
// user. When it returns nil, nothing of them is accepted any more, here at
// once and everywhere within the revocation bound (threat T95).
func (s *Service) Logout(ctx context.Context, c Caller, id *identity.Identity, all bool) error {
	end := store.SessionEnd{SessionID: id.Session, UserID: id.Subject}
	if all {
		end = store.SessionEnd{UserID: id.Subject}
	}
	if err := s.end(ctx, end); err != nil {
		return err
	}
	s.audit(ctx, "logout", c, id.Subject, id.Session, "success")
	return nil
}

// LogoutByRefresh ends the session of a refresh token, the head's immediate
// parent included. A token of no session is no error (RFC 7009 section 2.2).
func (s *Service) LogoutByRefresh(ctx context.Context, c Caller, t token.Refresh, all bool) error {
	id, err := s.whoseRefresh(ctx, t)
	if err != nil || id == nil {
		return err
	}
	return s.Logout(ctx, c, id, all)
}

// whoseRefresh returns user and session of a refresh token, nil for none.
func (s *Service) whoseRefresh(ctx context.Context, t token.Refresh) (*identity.Identity, error) {
	sess, err := s.Sessions.Find(ctx, t.Selector(), t.Hash())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(fmt.Errorf("find session: %w", err))
	}
	return &identity.Identity{Subject: sess.UserID, Session: sess.ID}, nil
}

// ListSessions returns the living sessions of the caller, latest use first.
func (s *Service) ListSessions(ctx context.Context, id *identity.Identity) ([]store.Session, error) {
	list, err := s.Sessions.List(ctx, id.Subject, s.Now().UTC())
	if err != nil {
		return nil, unavailable(fmt.Errorf("list sessions: %w", err))
	}
	return list, nil
}

// RevokeSession ends one of the caller's own sessions; 404 when it is none.
func (s *Service) RevokeSession(ctx context.Context, c Caller, id *identity.Identity, sid string) error {
	now := s.Now().UTC()
	ended, err := s.Sessions.End(ctx, store.SessionEnd{SessionID: sid, UserID: id.Subject, Now: now, RevokedUntil: s.until(now)})
	if err != nil {
		return unavailable(fmt.Errorf("end session: %w", err))
	}
	if len(ended) == 0 {
		return &web.Error{Status: 404, Code: "no_session", Detail: "You have no such session."}
	}
	if err := s.inForce(ctx); err != nil {
		return err
	}
	s.audit(ctx, "session.revoke", c, id.Subject, sid, "success")
	return nil
}

// ChangePassword sets a new password: the session that asked goes on under new
// tokens, every other ends, and older access tokens of the user are refused. A
// wrong current password counts as a failed sign-in.
func (s *Service) ChangePassword(ctx context.Context, c Caller, id *identity.Identity, current, next string) (*Grant, error) {
	u, err := s.Users.ByID(ctx, id.Subject)
	if err != nil {
		return nil, unavailable(fmt.Errorf("look up account: %w", err))
	}
	if problems := s.rules().Check(next, u.Email, u.Name); len(problems) > 0 {
		var fields []web.Field
		for _, p := range problems {
			fields = append(fields, web.Field{Field: "new_password", Detail: p})
		}
		return nil, invalidInput(fields)
	}
	if u, err = s.prove(ctx, c, u.EmailKey, current); err != nil {
		return nil, wrongCurrent(err)
	}
	hash, err := s.Hasher.Hash(ctx, next)
	if err != nil {
		return nil, unavailable(fmt.Errorf("hash password: %w", err))
	}
	now, refresh := s.Now().UTC(), token.NewRefresh()
	u, err = s.Users.Update(ctx, u.ID, store.UserChange{
		PasswordHash: &hash, ExpectHash: &u.PasswordHash, Revoke: true, EndSessions: true,
		Keep: &store.SessionHead{ID: id.Session, Selector: refresh.Selector(), Hash: refresh.Hash()},
		Now:  now, RevokedUntil: s.until(now),
	})
	switch {
	case errors.Is(err, store.ErrEnded):
		return nil, sessionOver(err)
	case errors.Is(err, store.ErrConflict):
		return nil, &web.Error{Status: 409, Code: "password_changed_meanwhile", Detail: "The password was changed meanwhile; please try again.", Cause: err}
	case err != nil:
		return nil, unavailable(fmt.Errorf("change password: %w", err))
	}
	if err := s.inForce(ctx); err != nil {
		return nil, err
	}
	s.audit(ctx, "password.change", c, u.ID, id.Session, "success")
	return s.granted(ctx, u, id.Session, refresh)
}

func wrongCurrent(err error) error {
	var e *web.Error
	if errors.As(err, &e) && e.Code == "invalid_credentials" {
		return &web.Error{Status: 401, Code: "invalid_credentials", Detail: "The current password is wrong.", Fields: []web.Field{{Field: "current_password", Detail: "This is not your current password."}}}
	}
	return err
}

// granted issues tokens for a session that goes on.
func (s *Service) granted(ctx context.Context, u store.User, sid string, refresh token.Refresh) (*Grant, error) {
	sess, err := s.Sessions.Find(ctx, refresh.Selector(), refresh.Hash())
	if err != nil {
		return nil, unavailable(fmt.Errorf("find session %s: %w", sid, err))
	}
	return s.grant(ctx, u, sess, refresh)
}
