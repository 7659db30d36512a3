package authn

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"gatehouse/config"
	"gatehouse/store"
	"gatehouse/web"
)

// network is what a caller can change at no cost: one IPv4 address, or the /64
// an IPv6 host rotates through (threat T101).
func network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return "unknown"
	}
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}

// wider is the /48 around an IPv6 caller, which many providers give to one
// customer: a limit by network also holds for it, eight times as high (T101).
func wider(a netip.Addr) (string, bool) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.Is4() {
		return "", false
	}
	p, err := a.Prefix(48)
	return p.String(), err == nil
}

// networkClaims is one unit of a limit by network; at the names they refuse
// under, both are the same limit.
func networkClaims(class string, c Caller, r config.Rate) []store.Claim {
	claims := []store.Claim{claim(class, network(c.Address), r)}
	if net, ok := wider(c.Address); ok {
		r.Count *= 8
		claims = append(claims, claim(class, net, r))
	}
	return claims
}

func claim(class, subject string, r config.Rate) store.Claim {
	return store.Claim{Key: class + ":" + subject, Count: r.Count, Per: r.Per}
}

// loginClaims are what one failed sign-in costs. The second never refuses: it
// makes guessing slow over all networks together without letting anybody lock
// a victim out (threats T114, T115).
func (s *Service) loginClaims(account string, c Caller) []store.Claim {
	limits := s.cfg.Load().Limits
	return append([]store.Claim{
		claim("login_account", account+"|"+network(c.Address), limits.LoginAccount),
		{Key: "login_slow:" + account, Count: 100, Per: time.Hour, Soft: true},
	}, networkClaims("login_ip", c, limits.LoginIP)...)
}

// take spends the claims or refuses with 429.
func (s *Service) take(ctx context.Context, c Caller, claims []store.Claim) (store.Decision, error) {
	d, err := s.Limiter.Take(ctx, s.Now().UTC(), claims...)
	if err != nil {
		return d, unavailable(fmt.Errorf("count against limits: %w", err))
	}
	if d.Allowed {
		return d, nil
	}
	name, _, _ := strings.Cut(claims[d.Refused].Key, ":")
	s.Metrics.Limited(name)
	s.audit(ctx, "limit.hit", c, "", "", "refused", slog.String("limit", name))
	return d, &web.Error{Status: 429, Code: "rate_limited", Detail: "Too many attempts; please wait and try again.", RetryAfter: max(d.RetryAfter, time.Second)}
}

// refund gives claims back after a success; a failure to do so costs the
// caller a little patience and is not worth failing for.
func (s *Service) refund(ctx context.Context, claims ...store.Claim) {
	if err := s.Limiter.Refund(context.WithoutCancel(ctx), s.Now().UTC(), claims...); err != nil {
		s.Log.Warn("limits could not be refunded", "error", err)
	}
}

// slowDown waits the longer the more failures an account has seen from all
// networks, two seconds at most. It holds no hash slot meanwhile.
func slowDown(ctx context.Context, used int) error {
	const free, step, most = 10, 50 * time.Millisecond, 2 * time.Second
	if used <= free {
		return nil
	}
	timer := time.NewTimer(min(time.Duration(used-free)*step, most))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

func (s *Service) refreshClaim(selector [12]byte) store.Claim {
	return claim("refresh_session", hex.EncodeToString(selector[:]), s.cfg.Load().Limits.RefreshSession)
}
