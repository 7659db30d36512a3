package store

import (
	"context"
	"time"
)

// Kind says what a revocation names. Keys are ids, never token text or its
// hash, since one token has many spellings (threat T79).
type Kind uint8

// The kinds; the numbers are stored.
const (
	KindToken   Kind = 1 // key = jti
	KindSession Kind = 2 // key = sid
	KindUser    Kind = 3 // key = sub; tokens of an older generation are refused
	KindKey     Kind = 4 // key = kid
)

// Revocation is one entry of the list every instance mirrors.
type Revocation struct {
	Seq        int64 // given by the store, growing; not without gaps
	Kind       Kind
	Key        string
	Generation int64     // KindUser: the first generation that is good again
	CreatedAt  time.Time //
	Expires    time.Time // may be forgotten after this; never earlier than the last token it refuses
}

// Revocations keeps the list. Sessions and Users write to it too, inside their
// own acts.
type Revocations interface {
	// Revoke adds entries; they are durable when it returns.
	Revoke(ctx context.Context, entries ...Revocation) error
	// Since returns up to limit entries with Seq > after, in order, and the
	// epoch of the list. An epoch that changed means that the list was
	// replaced (a restored backup, another database): the mirror starts over
	// without dropping what it has. The keys may be parts of one text: whoever
	// keeps one for long keeps a copy of it.
	Since(ctx context.Context, after int64, limit int) (entries []Revocation, epoch string, err error)
	// Purge forgets entries with Expires before the given time and returns
	// how many.
	Purge(ctx context.Context, before time.Time) (int64, error)
}
