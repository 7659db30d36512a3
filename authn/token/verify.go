package token

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gatehouse/identity"
)

// Verify proves an access token: shape, type, key, signature, issuer, audience
// and times, in that order, cheap checks first. The error wraps
// identity.ErrRejected and never holds the token. A token seen before costs a
// lookup and no allocation; its times are checked anew each time.
func (r *Ring) Verify(raw string) (*Verified, error) {
	now := r.now()
	if e := r.cache.get(raw); e != nil {
		if !now.Before(e.until) {
			return nil, reject("expired")
		}
		if now.Before(e.from) { // the clock went back
			return nil, reject("not yet valid")
		}
		return &e.verified, nil
	}
	return r.prove(raw, now)
}

// prove does the work of Verify for a token that was not seen before. It is a
// function of its own because its stack is large, and most calls need none.
func (r *Ring) prove(raw string, now time.Time) (*Verified, error) {
	p, err := split(raw)
	if err != nil {
		return nil, err
	}
	if p.header.Typ != typeAccess {
		return nil, reject("type")
	}
	set := r.keys.Load()
	if set == nil {
		return nil, reject("no keys")
	}
	k := set.verify[p.header.Kid]
	if k == nil || p.header.Alg != k.method.Alg() {
		return nil, reject("key")
	}
	if !k.retires.IsZero() && !now.Before(k.retires) {
		return nil, reject("key retired")
	}
	if !k.proves(p) {
		return nil, reject("signature")
	}
	var c claims
	if err := strictObject(p.payload, &c); err != nil {
		return nil, reject("claims")
	}
	if err := r.judge(c, now); err != nil {
		return nil, err
	}
	e := &entry{
		token: strings.Clone(raw), verified: Verified{Identity: r.identity(c, k.id), KeyID: k.id},
		from: time.Unix(max(c.NotBefore, c.IssuedAt), 0).Add(-r.cfg.Leeway), until: time.Unix(c.Expires, 0).Add(r.cfg.Leeway),
	}
	r.cache.put(e)
	if r.keys.Load().verify[k.id] == nil {
		r.cache.clear() // the key was revoked between the look-up and the put
		return nil, reject("key")
	}
	return &e.verified, nil
}

// proves reports whether a token's signature is of this key and in its one form.
func (k *key) proves(p parsed) bool {
	if k.method.Alg() == "ES256" && !lowS(p.signature) {
		return false // the twin (r, n-s) verifies too
	}
	return k.method.Verify(p.signed, p.signature, k.verify) == nil
}

// judge checks the claims of a genuine token (threats T85, T86, T97).
func (r *Ring) judge(c claims, now time.Time) error {
	leeway := int64(r.cfg.Leeway / time.Second)
	at := now.Unix()
	switch {
	case c.Issuer != r.cfg.Issuer:
		return reject("issuer")
	case c.Audience != r.cfg.Issuer:
		return reject("audience")
	case c.Subject == "" || c.Session == "" || c.ID == "":
		return reject("a claim is missing")
	case c.Expires <= 0 || c.IssuedAt <= 0 || c.Expires <= c.IssuedAt || c.Expires-c.IssuedAt > int64(maxLifetime/time.Second):
		return reject("lifetime")
	case at >= c.Expires+leeway:
		return reject("expired")
	case c.NotBefore > at+leeway || c.IssuedAt > at+leeway:
		return reject("not yet valid")
	}
	return nil
}

func (r *Ring) identity(c claims, kid string) *identity.Identity {
	authTime := time.Unix(c.AuthTime, 0).UTC()
	return &identity.Identity{
		Subject: c.Subject, Email: c.Email, EmailVerified: c.EmailVerified, Name: c.Name, Groups: slices.Clone(c.Groups),
		Session: c.Session, TokenID: c.ID, KeyID: kid, Generation: c.Generation, AuthTime: authTime, AMR: c.AMR,
		Expires: time.Unix(c.Expires, 0).UTC(), SessionEnds: authTime.Add(r.sessionLife),
	}
}

// Ours reports whether raw claims to be an access token or an assertion of
// ours, or is a refresh token, genuine or not: nobody else may see it, and a bad one is refused
// instead of being passed on as somebody else's. It reads leniently what Verify
// reads strictly, since an app could mend a token that came in a wrong spelling.
func (r *Ring) Ours(raw string) bool {
	if r.cache.get(raw) != nil {
		return true
	}
	if len(raw) >= len(refreshPrefix) && strings.EqualFold(raw[:len(refreshPrefix)], refreshPrefix) {
		return true
	}
	head, rest, ok := strings.Cut(raw, ".")
	if !ok || len(head) > maxToken {
		return false
	}
	var h header
	if !loose(head, &h) {
		return false
	}
	if set := r.keys.Load(); set != nil && set.verify[h.Kid] != nil {
		return true
	}
	if !strings.EqualFold(h.Typ, typeAccess) && !strings.EqualFold(h.Typ, typeAssertion) {
		return false
	}
	payload, _, _ := strings.Cut(rest, ".")
	var c struct {
		Issuer string `json:"iss"`
	}
	return len(payload) <= 8*maxToken && loose(payload, &c) && c.Issuer == r.cfg.Issuer
}

// loose decodes one part in any spelling of base64url.
func loose(part string, v any) bool {
	part = strings.Map(func(c rune) rune {
		switch c {
		case '=', '\r', '\n', ' ', '\t':
			return -1
		case '+':
			return '-'
		case '/':
			return '_'
		}
		return c
	}, part)
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, v) == nil
}
