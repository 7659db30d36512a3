package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"gatehouse/store"
)

func fileIn(t testing.TB) string { return filepath.Join(t.TempDir(), "gatehouse.db") }

// made returns the path of a closed database that holds one account.
func made(t *testing.T) string {
	t.Helper()
	path := fileIn(t)
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Users().Create(t.Context(), store.User{ID: "ada", EmailKey: "ada@example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func rawExec(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn(path, writing))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	write := func(content string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"F-S5 garbage":    {write(strings.Repeat("not a database at all ", 400)), "restore a backup"},
		"F-S5 empty":      {write(""), "it is empty"},
		"F-S5 truncated":  {func(t *testing.T, path string) { truncate(t, path, 8192) }, "restore a backup"},
		"F-S5 corrupt":    {corrupt, "restore a backup"},
		"F-S4 read-only":  {func(t *testing.T, path string) { chmod(t, path, 0o400) }, "chmod 600"},
		"others may read": {func(t *testing.T, path string) { chmod(t, path, 0o640) }, "chmod 600"},
		"a directory": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		"F-S7 newer":      {func(t *testing.T, path string) { rawExec(t, path, "INSERT INTO schema_version VALUES (99, 0)") }, "newer gatehouse"},
		"foreign program": {func(t *testing.T, path string) { rawExec(t, path, "PRAGMA application_id = 7") }, "another program"},
		"no schema":       {func(t *testing.T, path string) { rawExec(t, path, "DELETE FROM schema_version") }, "no schema"},
		"only the log is left": {func(t *testing.T, path string) {
			if err := os.Rename(path, path+"-wal"); err != nil {
				t.Fatal(err)
			}
		}, "-wal"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := made(t)
			c.prepare(t, path)
			before, _ := os.ReadFile(path)
			s, err := Open(t.Context(), path, Options{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			if !errors.Is(err, ErrNewer) && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("error %v has no kind", err)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// corrupt overwrites the pages after the first two.
func corrupt(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 8192; i < len(b); i++ {
		b[i] = 0xa5
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenCreates(t *testing.T) {
	path := fileIn(t)
	if _, err := Open(t.Context(), path, Options{MustExist: true}); !errors.Is(err, ErrMissing) {
		t.Fatalf("error = %v, want ErrMissing", err)
	}
	s := open(t, path, Options{})
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
	}
	left, err := filepath.Glob(path + ".new-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// Two that create the same file at the same time agree on one.
func TestOpenCreatesOnce(t *testing.T) {
	path := fileIn(t)
	epochs := make(chan string, 4)
	for range cap(epochs) {
		go func() {
			s, err := Open(context.Background(), path, Options{Readers: 1})
			if err != nil {
				epochs <- err.Error()
				return
			}
			defer s.Close()
			_, epoch, _ := s.Revocations().Since(context.Background(), 0, 1)
			epochs <- epoch
		}()
	}
	first := <-epochs
	for range cap(epochs) - 1 {
		if e := <-epochs; e != first {
			t.Fatalf("epochs %q and %q", first, e)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	s, err := Open(t.Context(), fileIn(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Users().ByID(t.Context(), "ada")
	for _, err := range []error{err, s.Sessions().Create(t.Context(), store.Session{}, store.SessionHead{}), s.Ping(t.Context())} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after close: %v", err)
		}
	}
	goleak.VerifyNone(t, leaks)
}

// F-S7: an upgrade is one transaction, has a backup, and is not repeated.
func TestUpgrade(t *testing.T) {
	first, err := migrationFiles.ReadFile("migrations/0001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	release := func(second string) fstest.MapFS {
		return fstest.MapFS{"migrations/0001_first.sql": {Data: first}, "migrations/0002_more.sql": {Data: []byte(second)}}
	}
	path := made(t)
	at := time.Now()
	later := func() time.Time { at = at.Add(time.Minute); return at } // so that each upgrade makes a backup of its own
	broken := release("CREATE TABLE more (id TEXT); INSERT INTO absent VALUES (1);")
	if _, err := Open(t.Context(), path, Options{migrations: broken, Now: later}); err == nil || !strings.Contains(err.Error(), "no such table: absent") {
		t.Fatalf("a broken migration: %v", err)
	}
	open(t, path, Options{}).Close() // nothing of it was kept: the old release still opens
	for i := range 2 {
		s := open(t, path, Options{migrations: release("CREATE TABLE more (id TEXT);"), Now: later})
		if _, err := s.Users().ByID(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		if err := s.Users().Create(t.Context(), store.User{ID: strconv.Itoa(i), EmailKey: strconv.Itoa(i)}); err != nil {
			t.Fatalf("a write after the upgrade: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if copies, _ := filepath.Glob(path + ".schema1-*"); len(copies) != 2 {
		t.Errorf("%d backups from before the two upgrades that were begun", len(copies))
	}
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrNewer) {
		t.Errorf("error = %v, want ErrNewer", err)
	}
	if _, err := migrations(fstest.MapFS{"migrations/0002_x.sql": {}}); err == nil {
		t.Error("a gap in the numbers was accepted")
	}
}

func TestUpgradeUnderARunningStore(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, Options{})
	rawExec(t, path, "INSERT INTO schema_version VALUES (99, 0)")
	s.look()
	_, err := s.Users().ByID(t.Context(), "ada")
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, ErrNewer) {
		t.Fatalf("read: %v", err)
	}
	if err := s.Users().Create(t.Context(), store.User{ID: "x"}); !errors.Is(err, ErrNewer) {
		t.Fatalf("write: %v", err)
	}
}

// F-S8: what was revoked after the copy was made stays worthless.
func TestRestoreResurrectsNothing(t *testing.T) {
	ctx, at := t.Context(), time.Now()
	path := fileIn(t)
	s := open(t, path, Options{})
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	head := store.SessionHead{ID: "s1", Selector: [12]byte{1}, Hash: [32]byte{1}}
	check(s.Users().Create(ctx, store.User{ID: "ada", EmailKey: "ada@example.com"}))
	check(s.Sessions().Create(ctx, store.Session{ID: "s1", UserID: "ada", IdleEnds: at.Add(time.Hour), Ends: at.Add(time.Hour)}, head))
	check(s.Keys().Add(ctx, store.Key{ID: "k1", Purpose: store.PurposeSign, Secret: []byte("x"), CreatedAt: at}, time.Time{}))
	check(s.Keys().Add(ctx, store.Key{ID: "r1", Purpose: store.PurposeRefresh, Secret: []byte("x"), CreatedAt: at}, time.Time{}))
	copyPath := filepath.Join(t.TempDir(), "copy.db")
	check(s.Backup(ctx, copyPath))
	if err := s.Backup(ctx, copyPath); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second backup to one name: %v", err)
	}
	if info, err := os.Stat(copyPath); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("copy: %v %v", info.Mode(), err)
	}
	if parts, _ := filepath.Glob(copyPath + ".*"); len(parts) > 0 {
		t.Errorf("left behind: %v", parts)
	}
	_, err := s.Sessions().End(ctx, store.SessionEnd{SessionID: "s1", Now: at, RevokedUntil: at})
	check(err)
	_, epoch, err := s.Revocations().Since(ctx, 0, 10)
	check(err)

	r := open(t, copyPath, Options{})
	list, epochNow, err := r.Revocations().Since(ctx, 0, 10)
	check(err)
	if epochNow == epoch || epochNow == "" {
		t.Errorf("epoch %q after %q", epochNow, epoch)
	}
	if len(list) != 1 || list[0].Kind != store.KindKey || list[0].Key != "k1" || list[0].Expires.Before(at.Add(25*time.Hour)) {
		t.Errorf("revocations: %+v", list)
	}
	_, err = r.Sessions().Rotate(ctx, store.Rotation{Selector: head.Selector, Presented: head.Hash, Now: at, IdleEnds: at})
	if !errors.Is(err, store.ErrEnded) {
		t.Errorf("rotate after the restore: %v", err)
	}
	if _, err := r.Users().ByID(ctx, "ada"); err != nil {
		t.Error(err)
	}
	check(r.Close())
	again := open(t, copyPath, Options{})
	if _, e, _ := again.Revocations().Since(ctx, 0, 10); e != epochNow {
		t.Error("a second open counted as a restore")
	}
}
