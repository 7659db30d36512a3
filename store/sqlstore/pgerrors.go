//go:build !embedded

package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrReadOnly says that PostgreSQL answers but refuses writes: it is a standby,
// or was made one by a failover.
var ErrReadOnly = errors.New("postgres cannot be written: it is a standby, or read-only")

// errOutdated makes the pool throw a connection away; see Postgres.born.
var errOutdated = driver.ErrBadConn

// pgKind sorts failures by what must follow.
type pgKind int

const (
	pgFine     pgKind = iota // no failure, or an outcome
	pgAgain                  // met another transaction; nothing was done, try again
	pgGone                   // the connection, or the server behind it, is gone
	pgReadOnly               // the server must not be written any more
	pgOther                  // a failure of this act alone, or of its time
)

// pgKindOf judges by SQLSTATE (PostgreSQL manual, appendix A).
func pgKindOf(err error) pgKind {
	if err == nil || isOutcome(err) || errors.Is(err, sql.ErrNoRows) {
		return pgFine
	}
	if errors.Is(err, ErrReadOnly) {
		return pgReadOnly
	}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return pgKindOfState(e.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect):
		return pgGone
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return pgOther // whose time it was, the caller knows
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, net.ErrClosed):
		return pgGone
	}
	return pgOther
}

func pgKindOfState(code string) pgKind {
	switch code {
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock not available
		return pgAgain
	case "25006": // read-only transaction
		return pgReadOnly
	case "57P01", "57P02", "57P03", "57P05", "53300", "25P03": // shutdown, crash, starting up, idle, too many connections, idle in transaction
		return pgGone
	}
	if len(code) == 5 && code[:2] == "08" { // connection exception
		return pgGone
	}
	return pgOther
}
