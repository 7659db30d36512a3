package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/internal/servertest"
	"gatehouse/store"
	"gatehouse/store/circuit"
	"gatehouse/store/storetest"
)

func storesOf(p parts) storetest.Stores {
	return storetest.Stores{
		Users: p.Users(), UserLister: p.Users(), Sessions: p.Sessions(),
		Revocations: p.Revocations(), Limiter: p.Limiter(), Keys: p.Keys(), Instances: p.Instances(),
	}
}

func openPostgres(t testing.TB, url string) *Postgres {
	t.Helper()
	p, err := OpenPostgres(t.Context(), url, PostgresOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// TestPostgres holds one server to everything that needs no other.
func TestPostgres(t *testing.T) {
	server := servertest.StartPostgres(t)
	t.Run("contracts", func(t *testing.T) { pgContracts(t, server) })
	t.Run("three open at once", func(t *testing.T) { pgOpenedTogether(t, server) })
	t.Run("newer schema", func(t *testing.T) { pgNewer(t, server) })
	t.Run("bytes that are no text", func(t *testing.T) { pgOddText(t, server) })
	t.Run("an account changed while its session begins", func(t *testing.T) { pgSessionRacesUpdate(t, server) })
	t.Run("read-only", func(t *testing.T) { pgReadOnlyServer(t, server) })
	t.Run("locks that cross are tried again", func(t *testing.T) { pgDeadlock(t, server) })
	t.Run("maintenance is done once", func(t *testing.T) { pgMaintain(t, server) })
	t.Run("copy", func(t *testing.T) { pgCopy(t, server) })
	t.Run("a host that is gone", func(t *testing.T) { pgGoneHost(t, server) })
	t.Run("connections that fell silent", func(t *testing.T) { pgSilent(t, server) })
	t.Run("restart", func(t *testing.T) { pgRestart(t, server) })
}

func pgContracts(t *testing.T, server *servertest.Postgres) {
	p := openPostgres(t, server.Schema(t))
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		if _, err := p.db.Exec("TRUNCATE users, sessions, revocations, limits, ring, instances; DELETE FROM meta WHERE name <> 'epoch'"); err != nil {
			t.Fatal(err)
		}
		return storesOf(p.parts)
	})
}

// Instances that start together agree on one schema and one epoch.
func pgOpenedTogether(t *testing.T, server *servertest.Postgres) {
	at := server.Schema(t)
	epochs := make(chan string, 3)
	for range cap(epochs) {
		go func() {
			p, err := OpenPostgres(context.Background(), at, PostgresOptions{MaxConnections: 2})
			if err != nil {
				epochs <- err.Error()
				return
			}
			_, epoch, err := p.Revocations().Since(context.Background(), 0, 1)
			if err = errors.Join(err, p.Close()); err != nil {
				epoch = err.Error()
			}
			epochs <- epoch
		}()
	}
	first := <-epochs
	for range cap(epochs) - 1 {
		if e := <-epochs; e != first || strings.Contains(e, " ") {
			t.Fatalf("epochs %q and %q", first, e)
		}
	}
}

func pgNewer(t *testing.T, server *servertest.Postgres) {
	at := server.Schema(t)
	first, err := migrationFiles.ReadFile("migrations/0001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	release := fstest.MapFS{"migrations/0001_first.sql": {Data: first}}
	if _, err := OpenPostgres(t.Context(), at, PostgresOptions{migrations: fstest.MapFS{
		"migrations/0001_first.sql": {Data: append(first[:len(first):len(first)], " INSERT INTO absent VALUES (1);"...)},
	}}); err == nil {
		t.Fatal("a broken migration was accepted")
	}
	p, err := OpenPostgres(t.Context(), at, PostgresOptions{migrations: release}) // nothing of the broken one was kept
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.db.Exec("INSERT INTO schema_version VALUES (99, 0)"); err != nil {
		t.Fatal(err)
	}
	if err := p.Ping(t.Context()); err != nil {
		t.Errorf("an instance that runs while the others are upgraded goes on: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPostgres(t.Context(), at, PostgresOptions{}); !errors.Is(err, ErrNewer) {
		t.Errorf("error = %v, want ErrNewer", err)
	}
}

func pgOddText(t *testing.T, server *servertest.Postgres) {
	p, at := openPostgres(t, server.Schema(t)), time.Now()
	v := store.Session{ID: "s", UserID: "u", IdleEnds: at.Add(time.Hour), Ends: at.Add(time.Hour), UserAgent: "\xff\x00agent"}
	if err := p.Sessions().Create(t.Context(), v, store.SessionHead{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	list, err := p.Sessions().List(t.Context(), "u", at)
	if err != nil || len(list) != 1 || list[0].UserAgent != "\uFFFD\uFFFDagent" {
		t.Fatalf("%+v, %v", list, err)
	}
	if ids, err := p.Sessions().End(t.Context(), store.SessionEnd{SessionID: "\xff\x00", Now: at}); err != nil || len(ids) != 0 {
		t.Fatal(ids, err)
	}
}

// A sign-in with the old password must not outlive the change of it: either
// the change ends the new session, or who began it sees the change.
func pgSessionRacesUpdate(t *testing.T, server *servertest.Postgres) {
	p, at := openPostgres(t, server.Schema(t)), time.Now()
	for i := range 60 {
		id := fmt.Sprint("u", i)
		if err := p.Users().Create(t.Context(), account(id)); err != nil {
			t.Fatal(err)
		}
		var seen store.User
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.Users().Update(t.Context(), id, store.UserChange{Revoke: true, EndSessions: true, Now: at, RevokedUntil: at}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			err := p.Sessions().Create(t.Context(), store.Session{ID: id, UserID: id, IdleEnds: at.Add(time.Hour), Ends: at.Add(time.Hour)}, store.SessionHead{ID: id, Selector: [12]byte{byte(i)}})
			if err == nil {
				seen, err = p.Users().ByID(t.Context(), id)
			}
			if err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		list, err := p.Sessions().List(t.Context(), id, at)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 && seen.Generation == 0 {
			t.Fatal("a session begun before the change lives after it")
		}
	}
}

func pgReadOnlyServer(t *testing.T, server *servertest.Postgres) {
	p := openPostgres(t, server.Schema(t))
	if err := server.Exec("ALTER SYSTEM SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	reload := func() {
		if err := server.Exec("SELECT pg_reload_conf()"); err != nil {
			t.Fatal(err)
		}
	}
	reload()
	eventually(t, "writes are refused as read-only", func() bool { return errors.Is(p.Ping(t.Context()), ErrReadOnly) })
	err := p.Users().Create(t.Context(), account("a"))
	wantUnavailable(t, err)
	if _, err := OpenPostgres(t.Context(), server.Admin(), PostgresOptions{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a read-only server was opened: %v", err)
	}
	if err := server.Exec("BEGIN; SET TRANSACTION READ WRITE; COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec("ALTER SYSTEM RESET default_transaction_read_only"); err != nil {
		t.Fatal(err)
	}
	reload()
	eventually(t, "writes are accepted again", func() bool { return p.Users().Create(t.Context(), account("a")) == nil })
}

// Two acts lock two rows in opposite order; both end well.
func pgDeadlock(t *testing.T, server *servertest.Postgres) {
	p := openPostgres(t, server.Schema(t))
	for _, id := range []string{"a", "b"} {
		if err := p.Users().Create(t.Context(), account(id)); err != nil {
			t.Fatal(err)
		}
	}
	var met sync.WaitGroup
	met.Add(2)
	var wg sync.WaitGroup
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			first := true
			err := p.write(t.Context(), "cross", func(ctx context.Context, q querier) error {
				for i, id := range order {
					if i == 1 && first {
						first = false
						met.Done()
						met.Wait()
					}
					if _, err := q.ExecContext(ctx, "UPDATE users SET generation = generation + 1 WHERE id = $1", id); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	u, err := p.Users().ByID(t.Context(), "a")
	if err != nil || u.Generation != 2 {
		t.Fatal(u.Generation, err)
	}
}

func pgMaintain(t *testing.T, server *servertest.Postgres) {
	at := server.Schema(t)
	p, other := openPostgres(t, at), openPostgres(t, at)
	ran := 0
	err := p.maintain(t.Context(), "outer", func(ctx context.Context, _ querier) error {
		ran++
		return other.maintain(ctx, "inner", func(context.Context, querier) error { ran += 10; return nil })
	})
	if err != nil || ran != 1 {
		t.Fatal(ran, err)
	}
}

// A server that crashes and comes back: nothing that was acknowledged is lost,
// nobody waits for it once it is known to be gone, and no restart is needed.
func pgRestart(t *testing.T, server *servertest.Postgres) {
	p := openPostgres(t, server.Schema(t))
	if err := p.Users().Create(t.Context(), account("kept")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	for range pgFailures {
		_, err := p.Users().ByID(t.Context(), "kept")
		wantUnavailable(t, err)
	}
	if err := p.Users().Create(t.Context(), account("lost")); !errors.Is(err, circuit.ErrOpen) || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("error = %v, want one that did not ask", err)
	}
	server.Run()
	eventually(t, "it is used again", func() bool { return p.Ping(t.Context()) == nil })
	if u, err := p.Users().ByID(t.Context(), "kept"); err != nil || u.ID != "kept" {
		t.Fatal(err)
	}
	if err := p.Users().Create(t.Context(), account("new")); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20s: ", what)
		}
	}
}

// A failover: the standby takes over, and of two hosts the one that can be
// written is found.
func TestPostgresFailover(t *testing.T) {
	first := servertest.StartPostgres(t)
	at := first.Database("")
	second := first.Standby()
	both := strings.Replace(at, first.Addr, first.Addr+","+second.Addr, 1)
	if _, err := OpenPostgres(t.Context(), strings.Replace(at, first.Addr, second.Addr, 1), PostgresOptions{}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a standby was opened: %v", err)
	}
	p := openPostgres(t, both)
	if err := p.Users().Create(t.Context(), account("before")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby has it", func() bool {
		var same bool
		err := first.DB().QueryRow("SELECT COUNT(*) = 1 AND MIN(replay_lsn) >= pg_current_wal_lsn() FROM pg_stat_replication").Scan(&same)
		return err == nil && same
	})
	first.Kill()
	second.Promote()
	eventually(t, "the new primary is written", func() bool { return p.Users().Create(t.Context(), account("after")) == nil })
	if _, err := p.Users().ByID(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
}

// Each kind is reached through a wrap, as errors come.
func TestPostgresFailuresAreToldApart(t *testing.T) {
	state := func(code string) error { return &pgconn.PgError{Code: code} }
	for _, c := range []struct {
		err  error
		want pgKind
	}{
		{nil, pgFine}, {store.ErrConflict, pgFine}, {sql.ErrNoRows, pgFine},
		{state("40001"), pgAgain}, {state("40P01"), pgAgain}, {state("55P03"), pgAgain},
		{state("25006"), pgReadOnly}, {ErrReadOnly, pgReadOnly},
		{state("57P01"), pgGone}, {state("57P03"), pgGone}, {state("53300"), pgGone}, {state("08006"), pgGone}, {io.ErrUnexpectedEOF, pgGone},
		{state("22021"), pgOther}, {state("57014"), pgOther}, {context.DeadlineExceeded, pgOther}, {errors.New("odd"), pgOther},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("begin: %w", err)
		}
		if got := pgKindOf(err); got != c.want {
			t.Errorf("%v: kind %d, want %d", err, got, c.want)
		}
		if err != nil && !isOutcome(err) && !errors.Is(failed("do", err), store.ErrUnavailable) {
			t.Errorf("%v is not unavailable", err)
		}
	}
}

// F-R8 for the database: what the URL leaves open never means plain text over a
// network, and no error shows the password.
func TestPostgresURL(t *testing.T) {
	for text, tls := range map[string]bool{
		"postgres://u:p@db.example.com/gate":                     true,
		"postgres://u:p@127.0.0.1,db.example.com/gate":           true,
		"postgres://u:p@10.0.0.7:5433/gate":                      true,
		"postgres://u:p@127.0.0.1:5432/gate":                     false,
		"postgres://u:p@[::1]:5432/gate":                         false,
		"postgres://u:p@localhost/gate":                          false,
		"postgres:///gate?host=/run/postgresql":                  false,
		"postgres:///gate?host=db.example.com":                   true,
		"postgres://u:p@db.example.com/gate?sslmode=disable":     false,
		"postgresql://u:p@db.example.com/gate?sslmode=verify-ca": true,
	} {
		cfg, err := pgConfig(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if (cfg.TLSConfig != nil) != tls {
			t.Errorf("%s: TLS %v", text, cfg.TLSConfig != nil)
		}
		for _, f := range cfg.Fallbacks {
			if tls && f.TLSConfig == nil {
				t.Errorf("%s falls back to plain text", text)
			}
		}
	}
	for _, bad := range []string{"mysql://u:hunter2@h/d", "u:hunter2@h", "postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=hunter"} {
		_, err := pgConfig(bad)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url.PathEscape(bad), err)
		}
	}
}
