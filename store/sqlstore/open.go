package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"gatehouse/store"
)

// Options of Open; the zero value is good.
type Options struct {
	Log       *slog.Logger     // nil = silent
	Now       func() time.Time // nil = time.Now
	Readers   int              // read connections; 0 = 4
	MustExist bool             // refuse to create the database: ErrMissing instead

	// Beside runs while the file is checked, which takes as long as reading the
	// list does. What it reads is worth something only when Open returns nil.
	Beside func(ctx context.Context, list store.Revocations)

	migrations fs.FS // nil = the embedded ones
}

// ErrMissing says that there is no database and that none was to be made.
var ErrMissing = errors.New("database does not exist")

// Store is one open database file. Its parts and methods are safe for concurrent
// use.
type Store struct {
	parts
	path   string
	o      Options
	steps  []migration
	opened files

	wdb  *sql.DB
	conn *sql.Conn // owned by the writer's goroutine once it runs
	rdb  *sql.DB

	queue   chan *request
	stop    chan struct{} // closed by Close
	stopped chan struct{} // writer
	watched chan struct{} // watcher
	once    sync.Once
	closed  error

	fault atomic.Pointer[trace] // set while the disk is in doubt
	gone  atomic.Bool
	newer atomic.Bool

	failCommit atomic.Pointer[sqlite3.Error] // nil but in tests
}

// Open opens the database file and brings its schema up to date; a missing file
// is created with mode 0600. It refuses, with a reason and a remedy, what is not
// a sound database of ours: ErrMissing, ErrNewer, or an error that wraps
// store.ErrUnavailable. Nothing is ever created over a file that exists.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.migrations == nil {
		o.migrations = migrationFiles
	}
	s := &Store{
		o:     o,
		queue: make(chan *request, 4*batchLimit),
		stop:  make(chan struct{}), stopped: make(chan struct{}), watched: make(chan struct{}),
	}
	s.parts = parts{s}
	if err := s.open(ctx, path); err != nil {
		s.disconnect()
		if !errors.Is(err, ErrMissing) && !errors.Is(err, ErrNewer) && !errors.Is(err, store.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	go s.writeLoop()
	go s.watch()
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) error {
	var err error
	if s.steps, err = migrations(s.o.migrations); err != nil {
		return err
	}
	if s.path, err = filepath.Abs(path); err != nil {
		return err
	}
	if err := s.findOrCreate(ctx); err != nil {
		return err
	}
	if s.path, err = filepath.EvalSymlinks(s.path); err != nil {
		return err
	}
	before, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if err := checkFile(before); err != nil {
		return err
	}
	if err := s.checkAccess(); err != nil {
		return err
	}
	if err := checkLog(s.path + "-wal"); err != nil {
		return err
	}
	if err := s.inspect(ctx); err != nil {
		return err
	}
	if err := s.connectWriter(ctx); err != nil {
		return err
	}
	if err := s.upgrade(ctx); err != nil {
		return err
	}
	if err := s.connectReaders(ctx); err != nil {
		return err
	}
	if s.opened, err = statFiles(s.path); err != nil {
		return err
	}
	if !os.SameFile(before, s.opened.db) {
		return errReplaced
	}
	return nil
}

func (s *Store) connectWriter(ctx context.Context) (err error) {
	if s.wdb, err = sql.Open("sqlite3", dsn(s.path, writing)); err != nil {
		return err
	}
	s.wdb.SetMaxOpenConns(1)
	s.wdb.SetMaxIdleConns(-1) // closing the connection really closes it
	s.conn, err = s.wdb.Conn(ctx)
	return err
}

// connectReaders opens all of them now: one opened later could meet another
// file under the same name.
func (s *Store) connectReaders(ctx context.Context) (err error) {
	if s.rdb, err = sql.Open("sqlite3", dsn(s.path, reading)); err != nil {
		return err
	}
	s.rdb.SetMaxOpenConns(s.o.Readers)
	s.rdb.SetMaxIdleConns(s.o.Readers)
	conns := make([]*sql.Conn, 0, s.o.Readers)
	defer func() {
		for _, c := range conns {
			_ = c.Close() // goes back to the pool
		}
	}()
	for range s.o.Readers {
		c, err := s.rdb.Conn(ctx)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		if _, err := schemaVersion(ctx, onSQLite(c)); err != nil {
			return err
		}
	}
	return nil
}

// upgrade proves that the file can be written, applies missing migrations and
// takes the mark off a restored copy, as one transaction.
func (s *Store) upgrade(ctx context.Context) error {
	have, err := schemaVersion(ctx, onSQLite(s.conn))
	if err != nil {
		return err
	}
	if have < len(s.steps) {
		copyPath := fmt.Sprintf("%s.schema%d-%s", s.path, have, s.o.Now().UTC().Format("20060102T150405Z"))
		if err := backup(ctx, s.conn, copyPath); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("back up before the upgrade: %w", err)
		}
		s.o.Log.Info("database backed up before its upgrade", slog.String("path", copyPath))
	}
	return s.alone(ctx, func(q querier) error {
		if err := migrate(ctx, q, s.steps, s.o.Now()); err != nil {
			return err
		}
		return s.settleCopy(ctx, q)
	})
}

// alone runs a transaction before the writer's goroutine exists.
func (s *Store) alone(ctx context.Context, run func(querier) error) error {
	deadline := time.Now().Add(turnWait)
	for {
		_, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		if err == nil {
			break
		}
		if isReadOnly(err) {
			return fmt.Errorf("it cannot be written; check the mount, its owner and its directory: %w", err)
		}
		if !isBusy(err) || time.Now().After(deadline) {
			return fmt.Errorf("begin: %w", err)
		}
	}
	if err := run(onSQLite(s.conn)); err != nil {
		s.rollback(context.WithoutCancel(ctx))
		return err
	}
	if _, err := s.conn.ExecContext(ctx, "COMMIT"); err != nil {
		s.rollback(context.WithoutCancel(ctx))
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// Close waits for the act that is running, refuses those that wait, and closes
// the file. Calling it again returns the same.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.stop)
		<-s.stopped
		<-s.watched
		s.closed = s.disconnect()
	})
	return s.closed
}

func (s *Store) disconnect() error {
	var errs []error
	if s.rdb != nil {
		errs = append(errs, s.rdb.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.wdb != nil {
		errs = append(errs, s.wdb.Close())
	}
	return errors.Join(errs...)
}

func randomName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
