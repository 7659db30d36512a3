// Package sqlstore keeps the contracts of package store in an embedded SQLite
// file (Open) or in PostgreSQL (OpenPostgres), over one set of SQL. It decides
// how an act becomes durable and when a database can no longer be trusted. It
// refuses to know what a token, a password or a request is.
//
// # SQLite
//
// Writing: one goroutine owns the only writing connection. It runs the acts
// that wait for it inside one transaction, each in a savepoint of its own, so
// that acts which arrive together share one fsync. An act is answered after the
// commit. What it reported as failed did not happen; when the commit itself
// fails, every act of the batch failed. After an error that leaves the disk in
// doubt nothing is acknowledged until the write-ahead log could be emptied into
// the database, the connection was opened anew and the integrity check passed.
// An act that was begun is finished even if its caller went away.
//
// Opening: the whole file is checked before anything is changed in it, which
// takes as long as reading it does. Options.Beside may read the revocation list
// meanwhile; what it learned is thrown away with a file that is not sound.
//
// Waiting: an act waits two seconds for its turn at most (another process may
// hold the lock), then it is ErrUnavailable and never runs.
//
// Several processes may open one file. Revocation numbers stay in commit order
// among them, and are never used twice.
//
// Backup and restore: a copy that Backup made carries a mark. Opening it gives
// the list a new epoch, ends all sessions and revokes all signing keys, because
// what was revoked after the copy was made is not in it (threats T96, F-S8).
// People sign in again. What else happened after the copy (an account deleted,
// a password changed) is lost with a restore, and must be done again. A copy
// made by other means has no mark.
//
// # PostgreSQL
//
// An act is one transaction at READ COMMITTED. It locks the rows it changes,
// and by advisory locks what has no row yet: a limit's key, the key ring, and
// the revocation list, whose numbers so become visible in their order. Acts
// that stood in each other's way (deadlock, lock timeout) are tried again.
//
// Waiting: acts and queries end within two seconds. After three failures of the
// server in a row nobody waits any more: everything is ErrUnavailable at once,
// until a probe finds the server working. Connections from before a failure are
// not used again, so that after a failover nobody writes to the old primary. A
// server that refuses writes is ErrReadOnly, and unavailable.
//
// What is reported as failed did not happen, with one exception: when the
// connection breaks while a commit is under way, nobody here can know. All acts
// may be tried again then: the one that did happen answers ErrExists, ErrEnded
// or, for a rotation within its grace, the same successor.
//
// Migrations run in one transaction behind a lock, so that instances may start
// together. An instance goes on over a schema that a newer one has extended, so
// that a cluster can be upgraded one by one: a migration may add tables and
// columns with defaults, and changes nothing the release before it uses.
//
// # Both
//
// Statements have numbered parameters in order of first use, no implicit row
// id, times as integers, lists as JSON text. What differs stands in dialect.go
// and pgdialect.go.
package sqlstore
