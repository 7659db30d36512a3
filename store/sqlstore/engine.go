package sqlstore

import (
	"context"
	"database/sql"
)

// plain is what a pool, a connection and a transaction have in common.
type plain interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// querier runs statements and knows in which dialect.
type querier struct {
	plain
	dialect
}

// act is the body of one write. An error takes back what it wrote, and only
// that. It may run again from its start, so it sets all of its results anew.
type act func(ctx context.Context, q querier) error

// query is the body of one read. It is one statement, so that it sees one
// moment.
type query func(ctx context.Context, q querier) error

// engine is what the contracts need of a back end. All errors it returns are
// named by what, and are outcomes or wrap store.ErrUnavailable.
type engine interface {
	// write runs an act; it is durable when write returns nil.
	write(ctx context.Context, what string, run act) error
	// read runs a query.
	read(ctx context.Context, what string, run query) error
	// maintain runs an act that may take long and that somebody else may do
	// just as well: when somebody does, nothing happens.
	maintain(ctx context.Context, what string, run act) error
}

// parts hands out the contracts over one engine.
type parts struct{ e engine }

// Users returns the accounts; they keep store.Users and store.UserLister.
func (p parts) Users() *Users { return &Users{p.e} }

// Sessions returns the refresh families.
func (p parts) Sessions() *Sessions { return &Sessions{p.e} }

// Revocations returns the list every instance mirrors.
func (p parts) Revocations() *Revocations { return &Revocations{p.e} }

// Limiter returns the counters.
func (p parts) Limiter() *Limiter { return &Limiter{p.e} }

// Keys returns the key ring.
func (p parts) Keys() *Keys { return &Keys{p.e} }

// Instances returns who serves together.
func (p parts) Instances() *Instances { return &Instances{p.e} }
