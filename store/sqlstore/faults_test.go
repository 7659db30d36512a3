package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"gatehouse/store"
)

func account(id string) store.User { return store.User{ID: id, EmailKey: id + "@example.com"} }

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("error = %v, want ErrUnavailable", err)
	}
}

// F-S1: another process holds the write lock. Reads go on, writes wait two
// seconds at most, and work again when it lets go.
func TestLockHeldElsewhere(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, Options{})
	other, err := sql.Open("sqlite3", dsn(path, writing))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		wg.Go(func() {
			if err := s.Users().Create(t.Context(), account(id)); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("create while locked: %v", err)
			}
		})
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err = s.Users().Create(short, account("d"))
	wantUnavailable(t, err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v does not name its cause", err)
	}
	if _, err := s.Users().ByID(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read while locked: %v", err)
	}
	wg.Wait()
	if waited := time.Since(start); waited > 10*time.Second {
		t.Errorf("waited %v", waited) // the bound is 2s; the margin is for a busy machine
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Users().Create(t.Context(), account("e")); err != nil {
		t.Fatal(err)
	}
	all, err := s.Users().List(t.Context(), "", 10)
	if err != nil || len(all) != 1 || all[0].ID != "e" {
		t.Fatalf("an act that was given up ran: %v %v", all, err)
	}
}

// F-S3: a commit that failed on the disk stops all acknowledging until the
// database proved sound, and its act does not come back.
func TestCommitFailure(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, Options{})
	ioErr := sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrFsync}
	s.failCommit.Store(&ioErr)
	wantUnavailable(t, s.Users().Create(t.Context(), account("lost")))
	s.failCommit.Store(nil)
	if s.fault.Load() == nil {
		t.Fatal("the store goes on as if nothing happened")
	}
	s.fault.Store(&trace{cause: ioErr, tried: time.Now().Add(time.Second / 2)})
	wantUnavailable(t, s.Users().Create(t.Context(), account("too soon")))
	wantUnavailable(t, s.Ping(t.Context()))
	s.fault.Store(&trace{cause: ioErr})
	if err := s.Ping(t.Context()); err != nil {
		t.Fatalf("ping after the disk is well: %v", err)
	}
	if err := s.Users().Create(t.Context(), account("kept")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, Options{})
	all, err := again.Users().List(t.Context(), "", 10)
	if err != nil || len(all) != 1 || all[0].ID != "kept" {
		t.Fatalf("got %v %v", all, err)
	}
}

// F-S3: while recovery cannot finish, nothing is acknowledged.
func TestRecoveryThatFails(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, Options{})
	if err := s.Users().Create(t.Context(), account("a")); err != nil {
		t.Fatal(err)
	}
	rows, err := s.rdb.Query("SELECT id FROM users") // keeps the log in use
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	if err := s.Users().Create(t.Context(), account("b")); err != nil {
		t.Fatal(err)
	}
	s.fault.Store(&trace{cause: errors.New("disk")})
	err = s.Users().Create(t.Context(), account("c"))
	wantUnavailable(t, err)
	if !errors.Is(err, errDoubt) {
		t.Errorf("error %v does not say why", err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for attempt := 0; ; attempt++ { // recovery is tried again and again, as by Ping
		s.fault.Store(&trace{cause: errors.New("disk")})
		err := s.Users().Create(t.Context(), account("c"))
		if err == nil {
			return
		}
		if wantUnavailable(t, err); attempt == 20 {
			t.Fatal(err)
		}
	}
}

// F-S2: a full disk fails the act, and only until there is room.
func TestDiskFull(t *testing.T) {
	s := open(t, fileIn(t), Options{})
	var pages int
	err := s.write(t.Context(), "limit", func(ctx context.Context, q querier) error {
		if err := q.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, "PRAGMA max_page_count = 40")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	big := account("big")
	big.Name = string(make([]byte, 400<<10))
	wantUnavailable(t, s.Users().Create(t.Context(), big))
	if s.fault.Load() != nil {
		t.Error("a full disk is no doubt about the disk")
	}
	if err := s.Users().Create(t.Context(), account("small")); err != nil {
		t.Errorf("what fits must work: %v", err)
	}
}

// F-S6: the file is gone, or another one stands in its place.
func TestFileReplaced(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, Options{})
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s.Users().Create(t.Context(), account("a"))) // at once, without the watcher
	_, err := s.Users().ByID(t.Context(), "a")
	wantUnavailable(t, err)
	wantUnavailable(t, s.Ping(t.Context()))
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s.Ping(t.Context()))
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	s.look()
	if err := s.Users().Create(t.Context(), account("a")); err != nil {
		t.Errorf("after the file came back: %v", err)
	}
}

// Acts that share a commit fail alone.
func TestActsFailAlone(t *testing.T) {
	s := open(t, fileIn(t), Options{})
	odd := errors.New("odd")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			id := string(rune('A' + i))
			err := s.write(t.Context(), "act", func(ctx context.Context, q querier) error {
				if _, err := q.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ($1, '')", id); err != nil {
					return err
				}
				if i%2 == 1 {
					return errors.Join(store.ErrConflict, odd)
				}
				return nil
			})
			if (i%2 == 1) != errors.Is(err, store.ErrConflict) {
				t.Errorf("act %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := s.rdb.QueryRow("SELECT COUNT(*) FROM meta WHERE name <> 'epoch'").Scan(&n); err != nil || n != 20 {
		t.Fatalf("%d rows are there, want 20: %v", n, err)
	}
}

// The administrator's command line revokes in its own process; the gateway's
// mirror sees it with its next poll, under a higher number.
func TestTwoOpenOneFile(t *testing.T) {
	path := fileIn(t)
	stores := []*Store{open(t, path, Options{}), open(t, path, Options{MustExist: true})}
	var after int64
	for i := range 10 {
		if err := stores[i%2].Revocations().Revoke(t.Context(), store.Revocation{Kind: store.KindToken, Key: "t", CreatedAt: time.Now(), Expires: time.Now()}); err != nil {
			t.Fatal(err)
		}
		list, _, err := stores[(i+1)%2].Revocations().Since(t.Context(), after, 10)
		if err != nil || len(list) != 1 || list[0].Seq <= after {
			t.Fatalf("after %d: %v %v", after, list, err)
		}
		after = list[0].Seq
	}
}

// T099: five tries, a new process, and it is still five.
func TestT099_LimitsSurviveRestart(t *testing.T) {
	path, at := fileIn(t), time.Now()
	claim := store.Claim{Key: "login", Count: 5, Per: time.Minute}
	for round := range 2 {
		s := open(t, path, Options{})
		for range 5 {
			d, err := s.Limiter().Take(t.Context(), at, claim)
			if err != nil || d.Allowed != (round == 0) {
				t.Fatalf("round %d: %+v %v", round, d, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
