package sqlstore

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Statements that hold for SQLite only stand in this file and in the four that
// handle the file itself: open.go, create.go, recover.go and backup.go; those
// that hold for PostgreSQL only, in the files named pg*.go.

// applicationID marks the file as ours, so that the database of some other
// program is never touched.
const applicationID = 0x47415445

// busyStep is how long one attempt to get the write lock takes. Acts wait
// through several of them.
const busyStep = 400 * time.Millisecond

// lockClass names what two transactions must not do side by side.
type lockClass int32

const (
	lockSchema      lockClass = 0x67610001 + iota // "ga": told apart from the locks of other programs
	lockRevocations                               // numbers become visible in their order
	lockRing
	lockLimits
	lockPurge
)

// dialect is where the two databases differ.
type dialect interface {
	// schemaWords replaces the types that have no common name.
	schemaWords(statement string) string
	// hasSchema reports whether the tables are there.
	hasSchema(ctx context.Context, q plain) (bool, error)
	// forUpdate ends a SELECT whose rows the transaction will change.
	forUpdate() string
	// numbers is the text of columns that hold integers: [1,2,3].
	numbers(columns string) string
	// joinLines is the aggregate that makes one text of an expression's values.
	joinLines(expression string) string
	// holdUser keeps an account from changing until the transaction ends.
	holdUser(ctx context.Context, q plain, id string) error
	// lock is held until the transaction ends; keys are parts of a class.
	lock(ctx context.Context, q plain, class lockClass, keys ...string) error
}

// sqlite writes in one transaction at a time, so it needs no locks.
type sqlite struct{}

func (sqlite) schemaWords(statement string) string {
	return strings.NewReplacer(
		"{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT", // never reuses a number
		"{bytes}", "BLOB",
		"{bytewise}", "TEXT COLLATE BINARY",
	).Replace(statement)
}

func (sqlite) hasSchema(ctx context.Context, q plain) (there bool, err error) {
	err = q.QueryRowContext(ctx, "SELECT COUNT(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'").Scan(&there)
	return there, err
}

// Of all that SQLite can write numbers with, its JSON does so fastest.
func (sqlite) numbers(columns string) string { return "json_array(" + columns + ")" }

func (sqlite) joinLines(expression string) string {
	return "group_concat(" + expression + ", char(10))"
}
func (sqlite) forUpdate() string                                       { return "" }
func (sqlite) holdUser(context.Context, plain, string) error           { return nil }
func (sqlite) lock(context.Context, plain, lockClass, ...string) error { return nil }

// onSQLite is q in the dialect of SQLite.
func onSQLite(q plain) querier { return querier{q, sqlite{}} }

// access says what a connection is for.
type access int

const (
	reading  access = iota // shared, many
	writing                // the one that commits
	checking               // before the file is known to be ours: changes nothing
)

// dsn names the file with the settings every single connection must have;
// settings made by a statement would hold for one connection of the pool only.
func dsn(path string, a access) string {
	q := url.Values{}
	q.Set("mode", "rw") // never creates a file
	q.Set("_foreign_keys", "1")
	q.Set("_synchronous", "FULL")
	q.Set("_stmt_cache_size", "64")
	switch a {
	case writing:
		q.Set("_busy_timeout", strconv.FormatInt(busyStep.Milliseconds(), 10))
		q.Set("_journal_mode", "WAL")
		q.Set("_txlock", "immediate")
	case reading, checking:
		q.Set("_busy_timeout", "5000")
		q.Set("_query_only", "1")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// trouble sorts the failures of the back end by what must follow.
type trouble int

const (
	passing trouble = iota // the next act may well succeed: lock held, disk full
	grave                  // nothing may be acknowledged before recovery
)

func troubleOf(err error) trouble {
	var e sqlite3.Error
	if errors.As(err, &e) {
		switch e.Code {
		case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrFull, sqlite3.ErrInterrupt, sqlite3.ErrConstraint, sqlite3.ErrTooBig, sqlite3.ErrNomem:
			return passing
		}
	}
	return grave
}

func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

func isReadOnly(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrReadonly
}
