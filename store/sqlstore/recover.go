package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"gatehouse/store"
)

// watchEvery is how often the file is looked at while nobody writes; every
// commit looks too.
const watchEvery = time.Second

// trace is a reason to stop acknowledging, and when recovery was last tried.
type trace struct {
	cause error
	tried time.Time
}

var (
	errNoEpoch  = errors.New("the revocation list has no epoch; restore a backup")
	errReplaced = errors.New("the database file was removed or replaced while it is open; put it back or restart gatehouse")
	errDoubt    = errors.New("the disk failed during a write; nothing is acknowledged until the database proves sound")
)

// doubt stops all acknowledging when a failure may have left the disk and the
// page cache with different stories (threat F-S3).
func (s *Store) doubt(err error) {
	if troubleOf(err) == passing || errors.Is(err, store.ErrUnavailable) {
		return
	}
	if s.fault.CompareAndSwap(nil, &trace{cause: err}) {
		s.o.Log.Error("store stopped acknowledging writes", slog.Any("error", err))
	}
}

// recover runs on the writer's goroutine. Emptying the write-ahead log both
// makes durable what was acknowledged and drops what the failed commit left
// behind it, so that a failed act cannot come back with a later open.
func (s *Store) recover(ctx context.Context) error {
	f := s.fault.Load()
	if since := time.Since(f.tried); since < watchEvery {
		return fmt.Errorf("%w: %w", errDoubt, f.cause)
	}
	err := s.reopen(ctx)
	if err != nil {
		s.fault.Store(&trace{cause: f.cause, tried: time.Now()})
		return fmt.Errorf("%w: %w; recovery: %w", errDoubt, f.cause, err)
	}
	s.fault.Store(nil)
	s.o.Log.Warn("store acknowledges writes again", slog.Any("error", f.cause))
	return nil
}

func (s *Store) reopen(ctx context.Context) error {
	s.rollback(ctx)
	var busy, inLog, moved int
	if err := s.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &inLog, &moved); err != nil {
		return fmt.Errorf("empty the write-ahead log: %w", err)
	}
	if busy != 0 {
		return errors.New("empty the write-ahead log: in use by another reader")
	}
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("close the writing connection: %w", err)
	}
	conn, err := s.wdb.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open the writing connection: %w", err)
	}
	s.conn = conn
	return quickCheck(ctx, conn)
}

func quickCheck(ctx context.Context, q plain) error {
	var verdict string
	if err := q.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check integrity: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("database is damaged: %s", verdict)
	}
	return nil
}

// files are the identities of the database and its write-ahead log as opened.
type files struct{ db, wal os.FileInfo }

func statFiles(path string) (files, error) {
	db, err := os.Stat(path)
	if err != nil {
		return files{}, err
	}
	wal, err := os.Stat(path + "-wal")
	if err != nil {
		return files{}, err
	}
	return files{db, wal}, nil
}

// sameFile fails when the path no longer leads to what is open (threat F-S6).
// It looks by name only: opening and closing the file would drop SQLite's locks.
func (s *Store) sameFile() error {
	now, err := statFiles(s.path)
	if err == nil && os.SameFile(now.db, s.opened.db) && os.SameFile(now.wal, s.opened.wal) {
		if s.gone.CompareAndSwap(true, false) {
			s.o.Log.Warn("database file is back")
		}
		return nil
	}
	if s.gone.CompareAndSwap(false, true) {
		s.o.Log.Error("database file was removed or replaced", slog.String("path", s.path))
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, errReplaced)
}

// watch looks at the file and at the schema until stop closes.
func (s *Store) watch() {
	defer close(s.watched)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.look()
		}
	}
}

// look notes what a read must not overlook. A newer gatehouse that changed the
// schema under us makes this one unfit to read or write.
func (s *Store) look() {
	if s.sameFile() != nil {
		return // noted
	}
	ctx, cancel := context.WithTimeout(context.Background(), turnWait)
	defer cancel()
	v, err := schemaVersion(ctx, onSQLite(s.rdb))
	if err == nil && v > len(s.steps) && s.newer.CompareAndSwap(false, true) {
		s.o.Log.Error("database was changed by a newer gatehouse", slog.Int("schema", v))
	}
}

// usable is the first question of every act and read.
func (s *Store) usable() error {
	switch {
	case s.closing():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errClosed)
	case s.gone.Load():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errReplaced)
	case s.newer.Load():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, ErrNewer)
	}
	return nil
}

// Ping is nil while the store answers reads and acknowledges writes. While it
// does not, Ping also asks for recovery. Any error wraps store.ErrUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.sameFile(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if s.fault.Load() != nil {
		return s.write(ctx, "ping", func(context.Context, querier) error { return nil })
	}
	return s.read(ctx, "ping", func(ctx context.Context, q querier) error {
		var epoch string
		return q.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = 'epoch'").Scan(&epoch)
	})
}

// read runs queries on the readers.
func (s *Store) read(ctx context.Context, what string, run query) error {
	if err := s.usable(); err != nil {
		return failed(what, err)
	}
	return failed(what, run(ctx, onSQLite(s.rdb)))
}
