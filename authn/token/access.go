package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/identity"
)

// ErrTooLarge says that an access token would not fit the limits of requests:
// its user is in too many groups, or their names are too long.
var ErrTooLarge = errors.New("access token too large")

// Access signs an access token for id, for tokens.access_ttl from now. It
// fills jti, iat, nbf and exp itself, and never lets a token outlive
// id.SessionEnds. Groups that would make it larger than 2 KiB are ErrTooLarge.
func (r *Ring) Access(id identity.Identity) (string, error) {
	now := r.now().UTC().Truncate(time.Second)
	expires := now.Add(r.cfg.AccessTTL)
	if !id.SessionEnds.IsZero() && id.SessionEnds.Before(expires) {
		expires = id.SessionEnds
	}
	if expires.Unix() <= now.Unix() {
		return "", fmt.Errorf("issue access token for %s: the session is over", id.Subject)
	}
	raw, err := r.sign(typeAccess, mapOf(claims{
		Issuer: r.cfg.Issuer, Audience: r.cfg.Issuer, Subject: id.Subject, Session: id.Session, ID: newID(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: expires.Unix(), AuthTime: id.AuthTime.Unix(), AMR: id.AMR,
		Email: id.Email, EmailVerified: id.EmailVerified, Name: id.Name, Groups: id.Groups, Generation: id.Generation,
	}))
	if err != nil {
		return "", err
	}
	if len(raw) > maxIssued {
		return "", fmt.Errorf("%w: %d bytes, over %d, with %d groups", ErrTooLarge, len(raw), maxIssued, len(id.Groups))
	}
	return raw, nil
}

// assertionLife bounds an assertion (threat T10).
const assertionLife = time.Minute

// Assertion signs a statement about id for one app alone: its audience is the
// route's name, its type is none the gateway accepts.
func (r *Ring) Assertion(id *identity.Identity, audience string) (string, error) {
	now := r.now().UTC().Truncate(time.Second)
	c := jwt.MapClaims{
		"iss": r.cfg.Issuer, "aud": audience, "sub": id.Subject, "sid": id.Session, "email": id.Email, "jti": newID(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	if len(id.Groups) > 0 {
		c["groups"] = id.Groups
	}
	return r.sign(typeAssertion, c)
}

// mapOf makes golang-jwt's claims from ours; their names are those of the tags.
func mapOf(c claims) jwt.Claims { return signable{c} }

// signable lets golang-jwt serialise a claims struct; it never validates with
// it.
type signable struct{ claims }

func (signable) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (signable) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (signable) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (signable) GetIssuer() (string, error)                   { return "", nil }
func (signable) GetSubject() (string, error)                  { return "", nil }
func (signable) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// MarshalJSON writes the claims under their own names.
func (s signable) MarshalJSON() ([]byte, error) { return json.Marshal(s.claims) }

func (r *Ring) sign(typ string, c jwt.Claims) (string, error) {
	set := r.keys.Load()
	if set == nil || set.signer == nil {
		return "", fmt.Errorf("sign %s: %w: no signing key", typ, identity.ErrUnavailable)
	}
	t := jwt.NewWithClaims(set.signer.method, c)
	t.Header = map[string]any{"alg": set.signer.method.Alg(), "typ": typ, "kid": set.signer.id}
	raw, err := t.SignedString(set.signer.sign)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	if t.Method.Alg() == "ES256" {
		return canonicalES256(raw)
	}
	return raw, nil
}
