// Package store states what gatehouse keeps and the contracts by which it is
// kept. It knows no SQL, no Redis and no HTTP. Each contract is one need with
// five methods at most, and each method is one whole atomic act: what it
// reports as done survives kill -9, and what it reports as failed did not
// happen. Package storetest holds every back end to it.
//
// All methods are safe for concurrent use. All times are UTC with microsecond
// resolution at least. Any error that is not one of the sentinels means "could
// not find out" and must fail closed.
package store

import "errors"

// Sentinels; compare with errors.Is.
var (
	// ErrNotFound says that no such record exists.
	ErrNotFound = errors.New("not found")
	// ErrExists says that a unique key (canonical address, id) is taken.
	ErrExists = errors.New("already exists")
	// ErrConflict says that a compare-and-swap lost: the record is no longer
	// what the caller based its change on.
	ErrConflict = errors.New("changed meanwhile")
	// ErrReused says that a spent refresh token was presented outside its
	// grace; the session has been ended and revoked in the same act.
	ErrReused = errors.New("refresh token reused")
	// ErrEnded says that the session is over: logged out, revoked or expired.
	ErrEnded = errors.New("session ended")
	// ErrUnavailable wraps every failure of the back end itself.
	ErrUnavailable = errors.New("store unavailable")
)
