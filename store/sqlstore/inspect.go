package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// checkFile judges the file by its entry alone.
func checkFile(info os.FileInfo) error {
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return errors.New("it is not a regular file")
	case mode.Perm()&0o600 != 0o600:
		return fmt.Errorf("its mode %04o does not let its owner read and write; run chmod 600 on it", mode.Perm())
	case mode.Perm()&0o077 != 0:
		return fmt.Errorf("its mode %04o lets others at secrets; run chmod 600 on it", mode.Perm())
	case info.Size() == 0:
		return errors.New("it is empty, which a database never is; restore a backup, or remove it to start afresh")
	}
	return nil
}

// checkAccess asks whether this process may write the files. It does not try:
// closing a file takes the locks off that another connection has on it.
func (s *Store) checkAccess() error {
	const readWrite = 6
	for _, path := range []string{s.path, s.path + "-wal", s.path + "-shm", filepath.Dir(s.path)} {
		if err := syscall.Access(path, readWrite); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s cannot be read and written by the user of this process (%d); check its owner and the mount: %w", path, os.Geteuid(), err)
		}
	}
	return nil
}

// inspect reads the file before anything is changed in it.
func (s *Store) inspect(ctx context.Context) error {
	db, err := sql.Open("sqlite3", dsn(s.path, checking))
	if err != nil {
		return err
	}
	defer db.Close()      // only read from
	db.SetMaxOpenConns(2) // the check, and who reads beside it
	var id int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return fmt.Errorf("cannot be read as a database; restore a backup: %w", err)
	}
	if id != applicationID {
		return errors.New("it is a database of another program")
	}
	if err := s.checkAll(ctx, db); err != nil {
		return fmt.Errorf("%w; restore a backup", err)
	}
	v, err := schemaVersion(ctx, onSQLite(db))
	if err != nil {
		return err
	}
	if v > len(s.steps) {
		return fmt.Errorf("%w (its schema is %d, this one knows %d)", ErrNewer, v, len(s.steps))
	}
	if v == 0 {
		return errors.New("it has no schema; restore a backup, or remove it to start afresh")
	}
	return nil
}

// checkAll reads the whole file, and lets the list be read meanwhile.
func (s *Store) checkAll(ctx context.Context, db *sql.DB) error {
	if s.o.Beside == nil {
		return quickCheck(ctx, db)
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	beside.Go(func() { s.o.Beside(reading, &Revocations{unproven{db}}) })
	err := quickCheck(ctx, db)
	if err != nil {
		stop()
	}
	beside.Wait()
	return err
}
