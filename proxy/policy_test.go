package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
)

// Every kind of access, against every answer of authentication.
func TestPolicyMatrix(t *testing.T) {
	now := time.Unix(1e9, 0)
	alice := &identity.Identity{Subject: "s1", Email: "Alice@Example.com", Groups: []string{"admins"}, AuthTime: now.Add(-time.Hour)}
	cond := func(a config.Access) config.Access { a.Kind = config.AccessConditions; return a }
	lan := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	wrap := func(err error) error { return fmt.Errorf("wrapped: %w", err) }
	errs := []error{nil, wrap(identity.ErrNone), wrap(identity.ErrRejected), wrap(identity.ErrConflict), wrap(identity.ErrUnavailable), wrap(identity.ErrStale), errors.New("odd")}
	const (
		a = Allow
		c = Challenge
		f = Forbid
		u = Unavailable
	)
	refused := [...]Verdict{c, c, c, u, u, u} // what a route with any condition says to the errors
	for _, row := range []struct {
		name   string
		access config.Access
		good   Verdict // with alice and no error
	}{
		{"zero value", config.Access{}, f},
		{"unknown kind", config.Access{Kind: 99}, f},
		{"public", public(), a},
		{"signed_in", signedIn(), a},
		{"no conditions", cond(config.Access{}), f},
		{"empty list", cond(config.Access{Groups: []string{}}), f},
		{"group", groups("x", "admins"), a},
		{"other group", groups("Admins"), f},
		{"user by address", cond(config.Access{Users: []string{"alice@example.com"}}), a},
		{"user by subject", cond(config.Access{Users: []string{"s1"}}), a},
		{"other user", cond(config.Access{Users: []string{"", "bob@example.com"}}), f},
		{"domain", cond(config.Access{EmailDomains: []string{"example.com"}}), a},
		{"parent domain", cond(config.Access{EmailDomains: []string{"com", "ple.com"}}), f},
		{"network", cond(config.Access{Networks: lan}), a},
		{"other network", cond(config.Access{Networks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}}), f},
		{"group and network", cond(config.Access{Groups: []string{"admins"}, Networks: lan}), a},
		{"one of two fails", cond(config.Access{Groups: []string{"nope"}, Networks: lan}), f},
		{"fresh enough", cond(config.Access{MaxAuthAge: 2 * time.Hour}), a},
		{"too old", cond(config.Access{MaxAuthAge: time.Minute}), c},
		{"too old and not allowed", cond(config.Access{Groups: []string{"nope"}, MaxAuthAge: time.Minute}), f},
	} {
		for i, err := range errs {
			q := question{access: &row.access, err: err, client: netip.MustParseAddr("::ffff:10.1.2.3"), now: now}
			want := row.good
			if err == nil || errors.Is(err, identity.ErrStale) {
				q.id = alice
			}
			constant := row.access.Kind == config.AccessPublic || row.name == "zero value" || row.name == "unknown kind"
			if i > 0 && !constant {
				want = refused[i-1]
			}
			if got := judge(q); got != want {
				t.Errorf("%s, error %v: %v, want %v", row.name, err, got, want)
			}
			if errors.Is(err, identity.ErrStale) {
				q.staleIsOK = true
				if got := judge(q); got != row.good {
					t.Errorf("%s, stale and accepted: %v, want %v", row.name, got, row.good)
				}
				q.id = nil
				if got := judge(q); !constant && got == Allow {
					t.Errorf("%s: stale without an identity was let in", row.name)
				}
			}
		}
		// T151: an answer that names nobody is no answer.
		for _, id := range []*identity.Identity{nil, {}} {
			if got := judge(question{access: &row.access, id: id, now: now}); row.access.Kind != config.AccessPublic && got == Allow {
				t.Errorf("%s: nobody was let in", row.name)
			}
		}
	}
	if judge(question{}) == Allow {
		t.Error("no access at all lets in")
	}
}
