package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatehouse/store"
)

// restoredHold is how long the revocations that a restore writes are kept:
// longer than any access token lives, its leeway and a day.
const restoredHold = 48 * time.Hour

// Backup writes a consistent copy to a file that must not exist yet, with mode
// 0600, and returns when it is on disk. It may run under load: it only reads.
// The copy is marked; see the package comment for what opening it does.
// The error wraps fs.ErrExist when the path is taken.
func (s *Store) Backup(ctx context.Context, path string) error {
	return s.read(ctx, "backup", func(ctx context.Context, _ querier) error {
		conn, err := s.rdb.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close() // goes back to the pool
		return backup(ctx, conn, path)
	})
}

func backup(ctx context.Context, conn *sql.Conn, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w; choose another name", path, fs.ErrExist)
	}
	tmp := path + ".part-" + randomName()
	defer removeDatabase(tmp)
	if err := createEmpty(tmp); err != nil {
		return err
	}
	if err := vacuumInto(ctx, conn, tmp); err != nil {
		return err
	}
	if err := mark(ctx, tmp); err != nil {
		return fmt.Errorf("mark the copy: %w", err)
	}
	if err := publish(tmp, path); err != nil {
		return err
	}
	return nil
}

// vacuumInto copies the database. A connection that may only query refuses to,
// although it leaves the database as it is; one that may do so only meanwhile.
func vacuumInto(ctx context.Context, conn *sql.Conn, path string) error {
	var only bool
	if err := conn.QueryRowContext(ctx, "PRAGMA query_only").Scan(&only); err != nil {
		return err
	}
	if only {
		if _, err := conn.ExecContext(ctx, "PRAGMA query_only = 0"); err != nil {
			return err
		}
	}
	_, err := conn.ExecContext(ctx, "VACUUM INTO $1", path)
	if only {
		_, back := conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA query_only = 1")
		err = errors.Join(err, back)
	}
	return err
}

// mark makes a copy known as one.
func mark(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite3", dsn(path, writing))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('copy', '1') ON CONFLICT (name) DO NOTHING"); err != nil {
		return err
	}
	return quickCheck(ctx, db)
}

// settleCopy turns a restored copy into the database. Tokens that were revoked
// after the copy was made must not come back to life, and the copy does not
// know them: so no token from before is good any more.
func (s *Store) settleCopy(ctx context.Context, q querier) error {
	res, err := q.ExecContext(ctx, "DELETE FROM meta WHERE name = 'copy'")
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	now := s.o.Now()
	if _, err := q.ExecContext(ctx, "UPDATE meta SET value = $1 WHERE name = 'epoch'", randomName()); err != nil {
		return err
	}
	if _, err := q.ExecContext(ctx, "UPDATE sessions SET ended_at = $1 WHERE ended_at = 0", micros(now)); err != nil {
		return err
	}
	keys, err := scanAll(ctx, q, scanKey, selectKeys+" WHERE purpose = $1 AND revoked_at = 0", string(store.PurposeSign))
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := revokeKey(ctx, q, k.ID, now, now.Add(restoredHold)); err != nil {
			return err
		}
	}
	s.o.Log.Warn("restored copy opened: all sessions are ended and signing keys revoked", slog.Int("keys", len(keys)))
	return nil
}
