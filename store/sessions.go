package store

import (
	"context"
	"time"
)

// Session is one sign-in: a family of refresh tokens of which exactly one, the
// head, is good (RFC 9700 section 4.14).
type Session struct {
	ID         string // sid
	UserID     string
	CreatedAt  time.Time
	AuthTime   time.Time
	LastUsedAt time.Time
	IdleEnds   time.Time // moved forward by every rotation
	Ends       time.Time // absolute
	EndedAt    time.Time // zero while the session lives
	AMR        []string
	UserAgent  string // shown to the owner; at most 256 bytes
	Address    string // client address at the last use
}

// SessionHead is the one refresh token that is good. The token itself is never
// stored: Selector finds the family, Hash proves the token.
type SessionHead struct {
	ID       string   // sid
	Selector [12]byte // random, secret, constant through the family
	Hash     [32]byte // SHA-256 of the whole token
}

// Rotation asks for one step of a family.
type Rotation struct {
	Selector  [12]byte
	Presented [32]byte // hash of the token that came
	Successor [32]byte // hash of the token that shall follow it
	Now       time.Time
	Grace     time.Duration // 0 = the immediate parent is reuse at once
	IdleEnds  time.Time     // new idle end; the store never moves it past Session.Ends

	Address      string // becomes Session.Address when not empty
	UserAgent    string
	RevokedUntil time.Time // for the revocation that reuse causes
}

// Rotated is the outcome of a rotation that was granted.
type Rotated struct {
	Session Session
	// Repeated says that the token was the immediate parent within its grace:
	// nothing changed, and the caller derives the same successor again.
	Repeated bool
}

// Sessions keeps refresh families.
type Sessions interface {
	// Create stores a new session under its first head. ErrExists on a taken id.
	Create(ctx context.Context, s Session, head SessionHead) error
	// Rotate replaces the head by its successor as one compare-and-swap.
	// ErrNotFound: no such family. ErrEnded: the session is over, idle or past
	// its end (nothing is written). ErrReused: an older token, or the parent
	// after its grace; the session was ended and revoked. Rotated.Session is
	// set for ErrReused and ErrEnded too.
	// Of 64 concurrent calls with one token exactly one moves the head.
	Rotate(ctx context.Context, r Rotation) (Rotated, error)
	// Find returns the session whose family the selector names, living or
	// ended, when the presented hash is its head or the head's parent.
	// Otherwise ErrNotFound.
	Find(ctx context.Context, selector [12]byte, presented [32]byte) (Session, error)
	// List returns the living sessions of one user ("" = of everybody),
	// latest use first.
	List(ctx context.Context, userID string, now time.Time) ([]Session, error)
	// End ends living sessions and writes a KindSession revocation for each,
	// in one act. It returns the ids that were living. Ending nothing is no
	// error.
	End(ctx context.Context, e SessionEnd) ([]string, error)
}

// SessionEnd names the sessions to end: the one with SessionID if set (of
// UserID only, when that is set too), else all of UserID except ExceptID, else,
// with Everyone, all.
type SessionEnd struct {
	SessionID    string
	UserID       string
	ExceptID     string
	Everyone     bool
	Now          time.Time
	RevokedUntil time.Time
}
