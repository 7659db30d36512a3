package authn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/authn/token"
	"gatehouse/store"
	"gatehouse/web"
)

// Refresh rotates a refresh token (RFC 9700 section 4.14). The immediately
// previous token gets the same successor within the grace; anything older ends
// the session. The user is read anew, so groups, names and a disabled account
// count from here on (threat T94).
func (s *Service) Refresh(ctx context.Context, c Caller, spent token.Refresh) (*Grant, error) {
	g, err := s.rotate(ctx, c, spent)
	s.Metrics.Authn("refresh", resultOf(err))
	return g, err
}

func (s *Service) rotate(ctx context.Context, c Caller, spent token.Refresh) (*Grant, error) {
	if _, err := s.take(ctx, c, []store.Claim{s.refreshClaim(spent.Selector())}); err != nil {
		return nil, err
	}
	next, err := s.Ring.Successor(spent)
	if err != nil {
		return nil, unavailable(err)
	}
	now := s.Now().UTC()
	step, err := s.Sessions.Rotate(ctx, store.Rotation{
		Selector: spent.Selector(), Presented: spent.Hash(), Successor: next.Hash(), Now: now, Grace: s.cfg.Load().Sessions.RefreshGrace,
		IdleEnds: now.Add(s.cfg.Load().Sessions.IdleTimeout), Address: address(c.Address), UserAgent: cut(c.UserAgent, 256), RevokedUntil: s.until(now),
	})
	switch {
	case errors.Is(err, store.ErrReused):
		s.audit(ctx, "refresh.reuse", c, step.Session.UserID, step.Session.ID, "revoked")
		return nil, errors.Join(sessionOver(err), s.inForce(ctx))
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded):
		return nil, sessionOver(err)
	case err != nil:
		return nil, unavailable(fmt.Errorf("rotate refresh token: %w", err))
	}
	u, err := s.Users.ByID(ctx, step.Session.UserID)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && u.Disabled:
		return nil, errors.Join(sessionOver(errors.New("account is disabled or gone")), s.end(ctx, store.SessionEnd{SessionID: step.Session.ID}))
	case err != nil:
		return nil, unavailable(fmt.Errorf("look up account: %w", err))
	}
	if !step.Repeated {
		s.audit(ctx, "refresh.success", c, u.ID, step.Session.ID, "success")
	}
	g, err := s.grant(ctx, u, step.Session, next)
	if errors.Is(err, token.ErrTooLarge) { // nobody got the successor: coming again, the spent token would look stolen
		err = errors.Join(err, s.end(ctx, store.SessionEnd{SessionID: step.Session.ID}))
	}
	return g, err
}

// renew is Refresh for the browser's request: the many requests of a page that
// wakes up share one rotation and its answer.
func (s *Service) renew(ctx context.Context, c Caller, spent token.Refresh) (*Grant, error) {
	hash := spent.Hash()
	shared := context.WithoutCancel(ctx) // one tab that goes away must not fail the others
	v, err, _ := s.renewing.Do(string(hash[:]), func() (any, error) {
		limited, cancel := context.WithTimeout(shared, 5*time.Second)
		defer cancel()
		return s.Refresh(limited, c, spent)
	})
	if err != nil {
		return nil, err
	}
	g, ok := v.(*Grant)
	if !ok {
		return nil, unavailable(errors.New("renewal gave nothing"))
	}
	return g, nil
}

// isOver reports whether a refusal means that the session is really over, so
// that its cookies may be cleared. A token of no family proves no end: the
// session may go on under another head, as after a new password, and the
// browser may hold its cookies by now.
func isOver(err error) bool {
	var e *web.Error
	return errors.As(err, &e) && e.Code == "session_over" && !errors.Is(err, store.ErrNotFound)
}
