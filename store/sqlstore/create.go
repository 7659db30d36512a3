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
	"strconv"
)

// findOrCreate makes the database if nothing of it is there.
func (s *Store) findOrCreate(ctx context.Context) error {
	_, err := os.Lstat(s.path)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.o.MustExist {
		return ErrMissing
	}
	if _, err := os.Lstat(s.path + "-wal"); err == nil {
		return errors.New("the file is missing, but its -wal file is there and may hold what was acknowledged; put the file back, or restore a backup and move the -wal away")
	}
	return s.create(ctx)
}

// create builds the database under another name and gives it the real one when
// it is complete and on disk. A crash leaves no half database, and of two
// processes that create it one wins.
func (s *Store) create(ctx context.Context) error {
	tmp := s.path + ".new-" + randomName()
	defer removeDatabase(tmp)
	if err := createEmpty(tmp); err != nil {
		return err
	}
	if err := s.fill(ctx, tmp); err != nil {
		return err
	}
	if err := publish(tmp, s.path); errors.Is(err, fs.ErrExist) {
		return nil // another process was first
	} else if err != nil {
		return err
	}
	s.o.Log.Info("database created", slog.String("path", s.path))
	return nil
}

func (s *Store) fill(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite3", dsn(path, writing))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }() // moves the write-ahead log into the file
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, "PRAGMA application_id = "+strconv.Itoa(applicationID)); err != nil {
		return err
	}
	if err := migrate(ctx, onSQLite(tx), s.steps, s.o.Now()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('epoch', $1)", randomName()); err != nil {
		return err
	}
	return tx.Commit()
}

// createEmpty makes a new file for SQLite to fill; its -wal and -shm files take
// the same mode.
func createEmpty(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// publish puts a finished database, which nobody has open, on disk and under
// its name; fs.ErrExist when the name is taken.
func publish(tmp, path string) error {
	if _, err := os.Lstat(tmp + "-wal"); err == nil {
		return errors.New("the write-ahead log was not emptied")
	}
	if err := syncFile(tmp); err != nil {
		return err
	}
	if err := os.Link(tmp, path); err != nil { // unlike a rename, never replaces
		return err
	}
	return syncFile(filepath.Dir(path))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read from
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// removeDatabase takes a temporary database away; what is left of it in vain
// has a name that nobody opens.
func removeDatabase(path string) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		_ = os.Remove(path + suffix)
	}
}
