// Package authn answers who is calling: it registers, signs in, refreshes and
// signs out, and tells of each request which identity it carries. It decides
// nothing about what an identity may do, and knows neither routes nor
// upstreams. Signing lives in authn/token, the revocation list in
// authn/revoked, hashing in authn/password; the records are behind the
// contracts of package store, each passed as its own parameter.
package authn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/authn/password"
	"gatehouse/authn/revoked"
	"gatehouse/authn/token"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/store"
	"gatehouse/web"
)

// revokedMargin is added to the longest life of an access token: how long a
// revocation is kept (threat T89).
const revokedMargin = 24*time.Hour + 15*time.Minute + 30*time.Second

// Deps is what a Service is made of.
type Deps struct {
	Users       store.Users
	Lister      store.UserLister
	Sessions    store.Sessions
	Revocations store.Revocations
	Limiter     store.Limiter
	Keys        store.Keys

	Ring   *token.Ring
	Mirror *revoked.Mirror
	Hasher *password.Hasher
	Rules  *password.Rules

	Log     *slog.Logger
	Audit   *slog.Logger
	Metrics *Metrics
	Now     func() time.Time
}

// Service is the sign-in service as plain calls. It is safe for concurrent
// use. Refusals are *web.Error values whose text may be shown.
type Service struct {
	Deps
	cfg      atomic.Pointer[settings]
	renewing singleflight.Group // by refresh token: one rotation for many tabs
}

// NewService makes a Service; it starts nothing.
func NewService(d Deps, cfg *config.Config) (*Service, error) {
	if d.Users == nil || d.Sessions == nil || d.Revocations == nil || d.Limiter == nil || d.Keys == nil ||
		d.Ring == nil || d.Mirror == nil || d.Hasher == nil || d.Rules == nil || d.Log == nil || d.Audit == nil || d.Metrics == nil || d.Now == nil {
		return nil, errors.New("authn: a dependency is missing")
	}
	s := &Service{Deps: d}
	d.Ring.OnRotate(func(ctx context.Context, kid string) {
		d.Audit.LogAttrs(ctx, slog.LevelInfo, "key.rotate", slog.String("actor", "gatehouse"), slog.String("subject", kid), slog.String("outcome", "success"))
	})
	s.Configure(cfg, d.Rules)
	return s, nil
}

// settings is what a reload replaces, all at once.
type settings struct {
	*config.Config
	rules *password.Rules
}

// Configure puts another configuration in force; requests under way end under
// the one they began with or the new one.
func (s *Service) Configure(cfg *config.Config, rules *password.Rules) {
	s.cfg.Store(&settings{cfg, rules})
}

func (s *Service) rules() *password.Rules { return s.cfg.Load().rules }

// Caller is where a request comes from, for limits, audit and the session list.
type Caller struct {
	Address   netip.Addr
	UserAgent string
	RequestID string
}

// Grant is one set of fresh tokens.
type Grant struct {
	Identity       *identity.Identity
	Access         string
	Refresh        token.Refresh
	AccessExpires  time.Duration
	RefreshExpires time.Duration
}

func (s *Service) until(now time.Time) time.Time { return now.Add(revokedMargin) }

// identityOf is what a token for this user and session says.
func (s *Service) identityOf(u store.User, sess store.Session) identity.Identity {
	return identity.Identity{
		Subject: u.ID, Email: u.Email, EmailVerified: u.EmailVerified, Name: u.Name, Groups: u.Groups,
		Session: sess.ID, Generation: u.Generation, AuthTime: sess.AuthTime, AMR: sess.AMR,
		SessionEnds: sess.Ends, Expires: s.Now().Add(s.cfg.Load().Tokens.AccessTTL),
	}
}

// grant signs an access token beside a refresh token.
func (s *Service) grant(ctx context.Context, u store.User, sess store.Session, refresh token.Refresh) (*Grant, error) {
	id := s.identityOf(u, sess)
	access, err := s.Ring.Access(id)
	switch {
	case errors.Is(err, token.ErrTooLarge):
		s.Log.LogAttrs(ctx, slog.LevelError, "a user cannot sign in: the access token would be too large; put the user in fewer groups, or give the groups shorter names",
			slog.String("account", u.EmailKey), slog.String("subject", u.ID), slog.Any("error", err))
		return nil, tooManyGroups(err)
	case err != nil:
		return nil, unavailable(fmt.Errorf("issue access token: %w", err))
	}
	now := s.Now()
	return &Grant{
		Identity: &id, Access: access, Refresh: refresh,
		AccessExpires: min(s.cfg.Load().Tokens.AccessTTL, sess.Ends.Sub(now)), RefreshExpires: min(sess.IdleEnds.Sub(now), sess.Ends.Sub(now)),
	}, nil
}

// begin opens a new session for a user who has just proven who they are. The
// user is read once more afterwards: a change that ended all sessions between
// the check of the password and the new session must end this one too.
func (s *Service) begin(ctx context.Context, u store.User, c Caller, amr []string) (*Grant, error) {
	now := s.Now().UTC()
	refresh := token.NewRefresh()
	sess := store.Session{
		ID: newID(), UserID: u.ID, CreatedAt: now, AuthTime: now, LastUsedAt: now, IdleEnds: now.Add(s.cfg.Load().Sessions.IdleTimeout),
		Ends: now.Add(s.cfg.Load().Sessions.MaxLifetime), AMR: amr, UserAgent: cut(c.UserAgent, 256), Address: address(c.Address),
	}
	sess.IdleEnds = earlier(sess.IdleEnds, sess.Ends)
	head := store.SessionHead{ID: sess.ID, Selector: refresh.Selector(), Hash: refresh.Hash()}
	if err := s.Sessions.Create(ctx, sess, head); err != nil {
		return nil, unavailable(fmt.Errorf("create session: %w", err))
	}
	again, err := s.Users.ByID(ctx, u.ID)
	if err == nil && !again.Disabled && again.Generation == u.Generation {
		g, err := s.grant(ctx, again, sess, refresh)
		if err != nil { // nobody holds the session
			err = errors.Join(err, s.end(ctx, store.SessionEnd{SessionID: sess.ID}))
		}
		return g, err
	}
	if endErr := s.end(ctx, store.SessionEnd{SessionID: sess.ID}); endErr != nil {
		return nil, endErr
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, unavailable(err)
	}
	return nil, invalidCredentials()
}

// end ends sessions: durable first, then in force here, then it returns.
func (s *Service) end(ctx context.Context, e store.SessionEnd) error {
	e.Now = s.Now().UTC()
	e.RevokedUntil = s.until(e.Now)
	if _, err := s.Sessions.End(ctx, e); err != nil {
		return unavailable(fmt.Errorf("end session: %w", err))
	}
	return s.inForce(ctx)
}

// inForce makes this instance know what was just made durable.
func (s *Service) inForce(ctx context.Context) error {
	if err := s.Mirror.Sync(context.WithoutCancel(ctx)); err != nil {
		return unavailable(err)
	}
	return nil
}

// audit writes one security event.
func (s *Service) audit(ctx context.Context, event string, c Caller, subject, session, outcome string, more ...slog.Attr) {
	attrs := append([]slog.Attr{
		slog.String("actor", subject), slog.String("subject", subject), slog.String("session", session),
		slog.String("ip", address(c.Address)), slog.String("ua", cut(c.UserAgent, 256)),
		slog.String("outcome", outcome), slog.String("request_id", c.RequestID),
	}, more...)
	s.Audit.LogAttrs(ctx, slog.LevelInfo, event, attrs...)
}

// Run forgets what has expired, every ten minutes, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.Purge(ctx); err != nil && ctx.Err() == nil {
				s.Log.LogAttrs(ctx, slog.LevelWarn, "expired records could not be removed", slog.Any("error", err))
			}
		}
	}
}

// Purge removes expired revocations, limits that limit nobody, and keys that
// verify nothing any more.
func (s *Service) Purge(ctx context.Context) error {
	now := s.Now().UTC()
	_, err1 := s.Revocations.Purge(ctx, now.Add(-revokedMargin))
	_, err2 := s.Limiter.Purge(ctx, now)
	_, err3 := s.Keys.Purge(ctx, now.Add(-revokedMargin))
	return errors.Join(err1, err2, err3)
}

// newID is 130 random bits.
func newID() string { return strings.ToLower(rand.Text()) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// The refusals; each text is the same for every cause it must not tell apart.

func unavailable(cause error) *web.Error {
	var already *web.Error
	if errors.As(cause, &already) {
		return already
	}
	return &web.Error{Status: 503, Code: "unavailable", Detail: "This cannot be done at the moment; please try again shortly.", RetryAfter: 2 * time.Second, Cause: cause}
}

// tooManyGroups is told to people who have proven who they are.
func tooManyGroups(cause error) *web.Error {
	return &web.Error{Status: 403, Code: "too_many_groups", Detail: "You are in more groups than a sign-in can carry; please ask whoever runs this site.", Cause: cause}
}

func invalidCredentials() *web.Error {
	return &web.Error{Status: 401, Code: "invalid_credentials", Detail: "The address or the password is wrong."}
}

func sessionOver(cause error) *web.Error {
	return &web.Error{Status: 401, Code: "session_over", Detail: "This session is over; please sign in again.", Cause: cause}
}

func unauthorized(cause error) *web.Error {
	return &web.Error{Status: 401, Code: "unauthorized", Detail: "Please sign in.", Cause: cause}
}
