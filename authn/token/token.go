// Package token issues and verifies every signed statement gatehouse makes:
// access tokens (RFC 9068), assertions for apps, and the opaque refresh tokens.
// It is the only package that touches a signing key; what it cannot prove it
// refuses. It knows no user, no request and no revocation list: a token that
// verifies may still be revoked, and its caller must ask.
package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatehouse/identity"
)

// Bounds of what is looked at (threats T83, T97).
const (
	maxToken    = 8 << 10 // bytes; refused before any decoding
	maxIssued   = 2 << 10 // bytes; more does not fit a cookie beside others (T66)
	maxLifetime = 15 * time.Minute
)

// Types of JWS, exact and mutually exclusive (RFC 8725 section 3.11).
const (
	typeAccess    = "at+jwt"
	typeAssertion = "gatehouse-assertion+jwt"
)

// header is the whole JOSE header of a token of ours; anything more is refused.
type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

// claims is the payload of an access token.
type claims struct {
	Issuer        string   `json:"iss"`
	Audience      string   `json:"aud"`
	Subject       string   `json:"sub"`
	Session       string   `json:"sid"`
	ID            string   `json:"jti"`
	IssuedAt      int64    `json:"iat"`
	NotBefore     int64    `json:"nbf"`
	Expires       int64    `json:"exp"`
	AuthTime      int64    `json:"auth_time"`
	AMR           []string `json:"amr"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	Name          string   `json:"name,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	Generation    int64    `json:"gen"`
}

// Verified is a token that was proven genuine and in its time.
type Verified struct {
	Identity *identity.Identity
	KeyID    string
}

// reject wraps a reason as identity.ErrRejected.
func reject(reason string) error { return fmt.Errorf("%w: %s", identity.ErrRejected, reason) }

// parsed is a token taken apart and not yet believed.
type parsed struct {
	header    header
	payload   []byte
	signed    string // what the signature covers
	signature []byte
}

// split takes a compact JWS apart. Only the one canonical spelling of each part
// is accepted, so that one token has one text (threat T79).
func split(raw string) (parsed, error) {
	if len(raw) == 0 || len(raw) > maxToken {
		return parsed{}, reject("size")
	}
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first <= 0 || last == first || last == len(raw)-1 || strings.IndexByte(raw[first+1:last], '.') >= 0 || last == first+1 {
		return parsed{}, reject("not three parts")
	}
	head, err := decode(raw[:first])
	if err != nil {
		return parsed{}, err
	}
	payload, err := decode(raw[first+1 : last])
	if err != nil {
		return parsed{}, err
	}
	signature, err := decode(raw[last+1:])
	if err != nil {
		return parsed{}, err
	}
	p := parsed{payload: payload, signed: raw[:last], signature: signature}
	if err := strictObject(head, &p.header); err != nil {
		return parsed{}, reject("header")
	}
	return p, nil
}

// decode accepts canonical unpadded base64url alone: no line breaks, which
// encoding/base64 skips, and no stray bits in the last character.
func decode(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n=") {
		return nil, reject("encoding")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, reject("encoding")
	}
	return b, nil
}

// strictObject decodes one JSON object with exactly the fields of v, each at
// most once and spelled as tagged (threats T82, T87: encoding/json alone lets
// "SUB" override "sub", and golang-jwt ignores crit).
func strictObject(text []byte, v any) error {
	if err := uniqueKeys(text); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("trailing data")
	}
	return nil
}

// uniqueKeys refuses an object whose names are not lower case or repeat. No
// claim of ours holds an object, so a nested one is refused too.
func uniqueKeys(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := make(map[string]bool, 16)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok || !plainName(name) || seen[name] {
			return errors.New("a name repeats or varies in case")
		}
		seen[name] = true
		if err := skipValue(dec); err != nil {
			return err
		}
	}
	return nil
}

// plainName refuses everything that encoding/json could fold into a field's
// name: upper case, and letters such as U+017F that fold to ASCII.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return name != ""
}

func skipValue(dec *json.Decoder) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		return errors.New("nested object")
	case json.Delim('['):
		for dec.More() {
			if t, err := dec.Token(); err != nil {
				return err
			} else if _, nested := t.(json.Delim); nested {
				return errors.New("nested value")
			}
		}
		_, err := dec.Token()
		return err
	}
	return nil
}
