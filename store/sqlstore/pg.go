//go:build !embedded

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"gatehouse/store"
	"gatehouse/store/circuit"
)

const (
	pgDialWait     = time.Second     // to connect, per host
	pgMaintainWait = 2 * time.Minute // for an act that may take long
	pgAttempts     = 6               // of an act that met another one
	pgFailures     = 3               // in a row, after which nobody waits any more
	pgProbeEvery   = 100 * time.Millisecond
	pgProbes       = 3 // that wait at a time; more would keep a busy server from getting well
	pgIdleFor      = 5 * time.Minute
)

// PostgresOptions are those of OpenPostgres; the zero value is good.
type PostgresOptions struct {
	Log            *slog.Logger     // nil = silent
	Now            func() time.Time // nil = time.Now
	MaxConnections int              // 0 = 20

	migrations fs.FS // nil = the embedded ones
}

// Postgres is one pool of connections to a PostgreSQL database. Its parts and
// methods are safe for concurrent use, here and in many processes.
type Postgres struct {
	parts
	o       PostgresOptions
	steps   []migration
	db      *sql.DB
	circuit *circuit.Circuit
	// born numbers the connections that may be used: those made before the last
	// failure of the server are thrown away when their turn comes.
	born   atomic.Int64
	closed atomic.Bool
	once   sync.Once
	result error
}

// OpenPostgres connects to the database a URL names and brings its schema up
// to date; of several instances that do so at once, one does. It refuses a
// server that cannot be written, and a schema that is newer than this program.
func OpenPostgres(ctx context.Context, url string, o PostgresOptions) (*Postgres, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 20
	}
	if o.migrations == nil {
		o.migrations = migrationFiles
	}
	cfg, err := pgConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	p := &Postgres{o: o}
	p.parts = parts{p}
	if p.steps, err = migrations(o.migrations); err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	p.db = p.pool(cfg)
	p.circuit = circuit.New(circuit.Options{Failures: pgFailures, Every: pgProbeEvery, Wait: turnWait, Probes: pgProbes, Probe: p.probe, Changed: p.changed})
	if err := p.upgrade(ctx); err != nil {
		return nil, errors.Join(failed("open postgres", err), p.Close())
	}
	return p, nil
}

// TryPostgres connects to a database and changes nothing. It fails when the
// database cannot be written, or has a newer schema.
func TryPostgres(ctx context.Context, url string) (err error) {
	cfg, err := pgConfig(url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*turnWait)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('schema_version') IS NOT NULL").Scan(&there); err != nil || !there {
		return err
	}
	steps, err := migrations(migrationFiles)
	if err != nil {
		return err
	}
	var have int
	if err := conn.QueryRow(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_version").Scan(&have); err != nil {
		return err
	}
	if have > len(steps) {
		return fmt.Errorf("%w (its schema is %d, this one knows %d)", ErrNewer, have, len(steps))
	}
	return nil
}

// bornKey is where a connection carries its number.
const bornKey = "gatehouse.born"

func (p *Postgres) pool(cfg *pgx.ConnConfig) *sql.DB {
	db := sql.OpenDB(newHosts(cfg,
		stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
			c.PgConn().CustomData()[bornKey] = p.born.Load()
			return nil
		}),
		stdlib.OptionResetSession(func(_ context.Context, c *pgx.Conn) error {
			if c.PgConn().CustomData()[bornKey] != p.born.Load() {
				return errOutdated
			}
			return nil
		})))
	db.SetMaxOpenConns(p.o.MaxConnections)
	db.SetMaxIdleConns(p.o.MaxConnections)
	db.SetConnMaxIdleTime(pgIdleFor)
	return db
}

// upgrade applies missing migrations as one transaction, which others that
// start at the same moment wait for.
func (p *Postgres) upgrade(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pgMaintainWait)
	defer cancel()
	return p.transact(ctx, func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockSchema); err != nil {
			return err
		}
		if err := migrate(ctx, q, p.steps, p.o.Now()); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('epoch', $1) ON CONFLICT (name) DO NOTHING", randomName())
		return err
	})
}

// Ping is nil while the database answers and can be written. Any error wraps
// store.ErrUnavailable.
func (p *Postgres) Ping(ctx context.Context) error {
	return p.read(ctx, "ping", p.healthy)
}

func (p *Postgres) healthy(ctx context.Context, q querier) error {
	var standby, readOnly bool
	var schema int
	var epoch string
	err := q.QueryRowContext(ctx, `SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
		(SELECT MAX(version) FROM schema_version), (SELECT value FROM meta WHERE name = 'epoch')`).Scan(&standby, &readOnly, &schema, &epoch)
	switch {
	case err != nil:
		return err
	case standby || readOnly:
		return ErrReadOnly
	}
	return nil
}

// probe runs while the circuit is open.
func (p *Postgres) probe(ctx context.Context) error {
	return p.healthy(ctx, p.pooled())
}

func (p *Postgres) changed(open bool, err error) {
	if open {
		p.outdate() // those that are idle lead to a server that does not answer
		p.o.Log.Error("postgres does not answer", slog.Any("error", err))
		return
	}
	p.o.Log.Warn("postgres answers again")
}

// Close waits for what runs and closes the pool. Calling it again returns the
// same.
func (p *Postgres) Close() error {
	p.once.Do(func() {
		p.closed.Store(true)
		p.circuit.Close()
		p.result = p.db.Close()
	})
	return p.result
}

// usable is the first question of every act and query.
func (p *Postgres) usable() error {
	if p.closed.Load() {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errClosed)
	}
	if err := p.circuit.Allow(); err != nil {
		return fmt.Errorf("%w: postgres: %w", store.ErrUnavailable, err)
	}
	return nil
}
