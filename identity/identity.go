// Package identity holds the answer to "who is calling": a value that authn
// makes and proxy reads. It decides nothing and knows no token, store or
// request; it exists so that the two sides need not know each other.
package identity

import (
	"errors"
	"fmt"
	"time"
)

// Three answers never mix: a nil error is "signed in", ErrNone and ErrRejected
// are "not signed in", ErrConflict is "the request contradicts itself", and
// every other error, ErrUnavailable among them, is "could not find out".
var (
	// ErrNone says that the request carries no credential of ours.
	ErrNone = errors.New("no credential")
	// ErrRejected says that a credential came and is not, or no longer, good.
	ErrRejected = errors.New("credential rejected")
	// ErrConflict says that the request names two identities, or states a
	// credential in a form that has no single meaning (RFC 6750 section 2).
	ErrConflict = errors.New("credentials contradict each other")
	// ErrUnavailable says that nobody could be asked: a store is down or the
	// revocation feed is older than its bound.
	ErrUnavailable = errors.New("identity could not be established")
	// ErrStale is the one refusal that comes with an Identity: the credential
	// is good, but the revocation feed is older than its bound. A route with
	// on_stale: allow accepts it; for all others it is "could not find out".
	ErrStale = fmt.Errorf("revocation feed is stale: %w", ErrUnavailable)
)

// Identity is one signed-in caller. Values are shared between requests of the
// same token and must not be changed after they were made.
type Identity struct {
	Subject       string    // random and immutable; never an address (threat T154)
	Email         string    // as the account shows it
	EmailVerified bool      //
	Name          string    // may be empty
	Groups        []string  // sorted; may be empty
	Session       string    // sid: the refresh family this token belongs to
	TokenID       string    // jti
	KeyID         string    // kid of the key that signed the token
	Generation    int64     // of the user when the token was issued
	AuthTime      time.Time // when the user last proved a factor
	AMR           []string  // RFC 8176 names of the proofs
	Expires       time.Time // exp of the access token
	SessionEnds   time.Time // absolute end of the session; streams close then
}

// Via says how a credential reached us.
type Via uint8

// The ways a credential can travel.
const (
	ViaNone Via = iota
	ViaCookie
	ViaBearer
)

// Result is what authentication found. On an error Identity is nil (but for
// ErrStale); SetCookie and OwnBearer hold in any case: a session that is really
// over clears its cookies even though the request is refused.
type Result struct {
	Identity  *Identity
	Via       Via
	SetCookie []string // complete Set-Cookie values the answer must carry; usually nil
	OwnBearer bool     // the Authorization header is ours, good or not: no app may see it
}
