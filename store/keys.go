package store

import (
	"context"
	"time"
)

// Purpose says what a key is for; a key serves one purpose and one algorithm.
type Purpose string

// The purposes.
const (
	PurposeSign    Purpose = "sign"    // access tokens and assertions
	PurposeRefresh Purpose = "refresh" // derives the successor of a refresh token
)

// Key is one secret that gatehouse made for itself.
type Key struct {
	ID        string // kid: [A-Za-z0-9_-]{1,64}
	Purpose   Purpose
	Algorithm string // EdDSA, ES256, RS256, HS256; "HMAC-SHA256" for PurposeRefresh
	Secret    []byte // PKCS #8 DER, or the raw bytes of a symmetric key
	CreatedAt time.Time
	ActiveAt  time.Time // signs from here on, until a younger key is active
	RetireAt  time.Time // verifies until here; zero while it is the newest
	RevokedAt time.Time // zero unless revoked; a revoked key verifies nothing
}

// Keys keeps the key ring.
type Keys interface {
	// All returns every key that is still stored, oldest first.
	All(ctx context.Context) ([]Key, error)
	// Add stores a new key and, when retireOthersAt is not zero, sets RetireAt
	// of the keys of the same purpose that have none. ErrExists on a taken id.
	Add(ctx context.Context, k Key, retireOthersAt time.Time) error
	// Bootstrap stores k only if no unrevoked, unretired key of its purpose
	// exists, and returns the one that stands. Several instances starting
	// together agree on one.
	Bootstrap(ctx context.Context, k Key) (Key, error)
	// Revoke marks a key as revoked and writes a KindKey revocation, in one
	// act. ErrNotFound when absent.
	Revoke(ctx context.Context, id string, now, revokedUntil time.Time) error
	// Purge removes keys whose RetireAt, or RevokedAt, is before the given time.
	Purge(ctx context.Context, before time.Time) (int64, error)
}
