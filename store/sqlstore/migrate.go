package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// ErrNewer says that a later release of gatehouse has been at this database.
var ErrNewer = errors.New("database was written by a newer gatehouse; run that version, or restore the backup taken before the upgrade")

// migration is one step of the schema; its number is its place, from 1.
type migration struct {
	version int
	name    string
	text    string
}

// migrations reads the steps, which must be numbered without gaps.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var steps []migration
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if v, err := strconv.Atoi(number); err != nil || v != i+1 {
			return nil, fmt.Errorf("migration %s is out of order, want number %d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		steps = append(steps, migration{i + 1, path.Base(name), string(text)})
	}
	return steps, nil
}

// schemaVersion is 0 for a database without tables.
func schemaVersion(ctx context.Context, q querier) (int, error) {
	there, err := q.hasSchema(ctx, q)
	if err != nil {
		return 0, fmt.Errorf("look for the schema: %w", err)
	}
	if !there {
		return 0, nil
	}
	var v sql.NullInt64
	if err := q.QueryRowContext(ctx, "SELECT MAX(version) FROM schema_version").Scan(&v); err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return int(v.Int64), nil
}

// migrate applies what is missing, all of it or nothing, inside the
// transaction of q. Running it again changes nothing.
func migrate(ctx context.Context, q querier, steps []migration, now time.Time) error {
	have, err := schemaVersion(ctx, q)
	if err != nil {
		return err
	}
	if have > len(steps) {
		return fmt.Errorf("%w (its schema is %d, this one knows %d)", ErrNewer, have, len(steps))
	}
	if have == 0 {
		if _, err := q.ExecContext(ctx, "CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)"); err != nil {
			return fmt.Errorf("create schema_version: %w", err)
		}
	}
	for _, m := range steps[have:] {
		if _, err := q.ExecContext(ctx, q.schemaWords(m.text)); err != nil {
			return fmt.Errorf("apply migration %s: %w", m.name, err)
		}
		if _, err := q.ExecContext(ctx, "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)", m.version, micros(now)); err != nil {
			return fmt.Errorf("record migration %s: %w", m.name, err)
		}
	}
	return nil
}
