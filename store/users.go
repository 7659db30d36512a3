package store

import (
	"context"
	"time"
)

// User is one account.
type User struct {
	ID                string // random, immutable, never reused (threat T154)
	Email             string // as given, for display
	EmailKey          string // canonical form; unique (threats T103, T108)
	EmailVerified     bool
	Name              string
	Groups            []string // sorted, unique
	PasswordHash      string   // PHC string or an imported older format; empty = cannot sign in by password
	Disabled          bool
	Generation        int64 // grows with every change that older access tokens must not survive
	CreatedAt         time.Time
	UpdatedAt         time.Time
	PasswordChangedAt time.Time
}

// UserChange is one atomic change of an account. Nil fields stay as they are.
type UserChange struct {
	Name          *string
	Groups        *[]string
	EmailVerified *bool
	Disabled      *bool
	PasswordHash  *string

	// ExpectHash, when set, makes the change a compare-and-swap on the stored
	// password hash: ErrConflict when it differs.
	ExpectHash *string

	// Revoke makes older access tokens of this user worthless: Generation
	// grows by one and a KindUser revocation with the new generation is
	// written. Re-hashing the same password leaves it false.
	Revoke bool
	// EndSessions ends every session of the user, except Keep.
	EndSessions bool
	// Keep, when set, is the session that goes on, under a new refresh head.
	// ErrEnded when that session is over already.
	Keep *SessionHead

	Now          time.Time
	RevokedUntil time.Time // when the revocations written may be forgotten
}

// Users keeps accounts by id and canonical address.
type Users interface {
	// Create stores a new account. ErrExists when the id or the canonical
	// address is taken; of many concurrent calls for one address one wins.
	Create(ctx context.Context, u User) error
	// ByID returns one account, or ErrNotFound.
	ByID(ctx context.Context, id string) (User, error)
	// ByEmail returns the account with that canonical address, or ErrNotFound.
	ByEmail(ctx context.Context, emailKey string) (User, error)
	// Update applies a change and returns the account as it is afterwards.
	// ErrNotFound, ErrConflict or ErrEnded leave everything as it was.
	Update(ctx context.Context, id string, c UserChange) (User, error)
	// Delete removes the account, ends its sessions and writes the
	// revocations that make its tokens worthless. ErrNotFound when absent.
	Delete(ctx context.Context, id string, now, revokedUntil time.Time) error
}

// UserLister pages through all accounts in the order of their canonical
// addresses.
type UserLister interface {
	// List returns up to limit accounts whose canonical address sorts after
	// the one given ("" = from the start).
	List(ctx context.Context, afterEmailKey string, limit int) ([]User, error)
}
