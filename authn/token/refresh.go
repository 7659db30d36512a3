package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"gatehouse/identity"
)

// Refresh is an opaque refresh token: "ghr_" and 256 bits in base64url, of which
// the first 96 name the family and stay the same through it, and the other 160
// are the secret. It prints as nothing.
type Refresh struct{ bits [32]byte }

const (
	refreshPrefix = "ghr_"
	selectorSize  = 12
)

// NewRefresh makes the first token of a new family.
func NewRefresh() Refresh {
	var r Refresh
	_, _ = rand.Read(r.bits[:]) // never fails (crypto/rand)
	return r
}

// ParseRefresh reads a token in its one spelling; the error wraps
// identity.ErrRejected.
func ParseRefresh(s string) (Refresh, error) {
	var r Refresh
	text, ok := strings.CutPrefix(s, refreshPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(len(r.bits)) {
		return Refresh{}, reject("refresh token")
	}
	b, err := decode(text)
	if err != nil || len(b) != len(r.bits) {
		return Refresh{}, reject("refresh token")
	}
	copy(r.bits[:], b)
	return r, nil
}

// Reveal returns the token's text, for the answer that delivers it.
func (t Refresh) Reveal() string {
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(t.bits[:])
}

// String implements fmt.Stringer without the value.
func (Refresh) String() string { return "[refresh token]" }

// GoString implements fmt.GoStringer without the value.
func (Refresh) GoString() string { return "[refresh token]" }

// Selector names the family.
func (t Refresh) Selector() (s [12]byte) {
	copy(s[:], t.bits[:selectorSize])
	return s
}

// Hash is what the store keeps instead of the token.
func (t Refresh) Hash() [32]byte { return sha256.Sum256([]byte(t.Reveal())) }

// Successor derives the token that follows a spent one. It is a function of the
// spent token and a key that never leaves the store, so the loser of a race gets
// the same successor without it being stored anywhere (threat T91).
func (r *Ring) Successor(spent Refresh) (Refresh, error) {
	set := r.keys.Load()
	if set == nil || len(set.refresh) < 32 {
		return Refresh{}, fmt.Errorf("derive refresh token: %w: no refresh key", identity.ErrUnavailable)
	}
	mac := hmac.New(sha256.New, set.refresh)
	mac.Write([]byte("gatehouse refresh successor\x00"))
	mac.Write(spent.bits[:])
	next := spent
	copy(next.bits[selectorSize:], mac.Sum(nil))
	return next, nil
}
