// Package servertest starts the real servers tests need, PostgreSQL, Redis and
// HAProxy, on loopback with data of their own, and stops them again. It knows
// how the Debian packages lay them out; make test installs them.
package servertest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"gatehouse/internal/gatetest"
)

const missing = "%s is not installed; make test installs what the tests start"

// Postgres is one PostgreSQL server.
type Postgres struct {
	Addr   string // 127.0.0.1:port
	t      testing.TB
	bin    string // directory of the binaries
	dir    string // data directory
	runAs  *syscall.SysProcAttr
	cmd    *exec.Cmd
	db     *sql.DB
	serial *atomic.Int64
}

// StartPostgres makes a server that lives as long as the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := newPostgres(t)
	p.run("initdb", "-D", p.dir, "--no-sync", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8")
	p.Run()
	return p
}

func newPostgres(t testing.TB) *Postgres {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		t.Fatalf(missing, "postgresql")
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	dir, err := os.MkdirTemp("", "gatehouse-pg-")
	if err != nil {
		t.Fatal(err)
	}
	p := &Postgres{t: t, Addr: gatetest.FreeAddr(t), bin: filepath.Dir(found[len(found)-1]), dir: filepath.Join(dir, "data"), serial: new(atomic.Int64)}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Cleanup(p.Kill)
	if os.Getuid() == 0 { // the server refuses to run as root
		p.runAs = &syscall.SysProcAttr{Credential: unprivileged(t, dir)}
	}
	return p
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // anything else sorts first
	return n
}

// unprivileged is a user of this machine who is nobody, given the directory.
func unprivileged(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = filepath.Dir(p.dir), p.runAs
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	return cmd
}

func (p *Postgres) run(name string, args ...string) {
	p.t.Helper()
	if out, err := p.command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Run starts the server and waits until it answers.
func (p *Postgres) Run() {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(p.Addr)
	settings := []string{"-D", p.dir, "-p", port, "-h", "127.0.0.1", "-k", filepath.Dir(p.dir)}
	for _, s := range []string{"fsync=off", "max_connections=200", "shared_buffers=32MB", "max_wal_size=128MB", "hot_standby=on", "wal_level=replica", "wal_keep_size=64MB", "logging_collector=off", "deadlock_timeout=100ms"} {
		settings = append(settings, "-c", s)
	}
	p.cmd = p.command("postgres", settings...)
	var log bytes.Buffer
	p.cmd.Stderr = &log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := p.Exec("SELECT 1")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.Kill()
			p.t.Fatalf("postgres does not answer: %v\n%s", err, log.String())
		}
	}
}

// Kill ends the server at once, as a crash would; Run starts it again.
func (p *Postgres) Kill() { p.end(syscall.SIGQUIT) }

// Stop ends the server in order, throwing its clients out.
func (p *Postgres) Stop() { p.end(syscall.SIGINT) }

func (p *Postgres) end(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("postgres: %v", err)
	}
	_ = p.cmd.Wait() // how it ended is not the test's business
	p.cmd = nil
}

// Admin is the URL of the database that is always there.
func (p *Postgres) Admin() string { return "postgres://postgres@" + p.Addr + "/postgres" }

// Exec runs one statement as the administrator.
func (p *Postgres) Exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	_, err := p.DB().ExecContext(ctx, statement)
	return err
}

// DB is the administrator's connection.
func (p *Postgres) DB() *sql.DB {
	p.t.Helper()
	if p.db == nil {
		db, err := sql.Open("pgx", p.Admin()+"?sslmode=disable")
		if err != nil {
			p.t.Fatal(err)
		}
		db.SetMaxOpenConns(2)
		p.db = db
		p.t.Cleanup(func() { _ = db.Close() })
	}
	return p.db
}

// Database makes an empty database and returns its URL, to be reached at addr
// ("" = the server itself).
func (p *Postgres) Database(addr string) string {
	p.t.Helper()
	name := fmt.Sprintf("gate%d", p.serial.Add(1))
	if err := p.Exec("CREATE DATABASE " + name); err != nil {
		p.t.Fatal(err)
	}
	return p.At(addr, name)
}

// At is the URL of a database, reached at addr ("" = the server itself).
func (p *Postgres) At(addr, name string) string {
	if addr == "" {
		addr = p.Addr
	}
	return "postgres://postgres@" + addr + "/" + name
}

// Schema makes an empty schema, much cheaper than a database, and returns the
// URL that leads into it.
func (p *Postgres) Schema(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("case%d", p.serial.Add(1))
	if err := p.Exec("CREATE SCHEMA " + name); err != nil {
		t.Fatal(err)
	}
	return p.Admin() + "?search_path=" + name
}

// Standby starts a second server that follows this one.
func (p *Postgres) Standby() *Postgres {
	p.t.Helper()
	s := newPostgres(p.t)
	host, port, _ := net.SplitHostPort(p.Addr)
	s.run("pg_basebackup", "-D", s.dir, "-h", host, "-p", port, "-U", "postgres", "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
	s.Run()
	return s
}

// Promote makes a standby the server that is written.
func (p *Postgres) Promote() {
	p.t.Helper()
	if err := p.Exec("SELECT pg_promote(true, 30)"); err != nil {
		p.t.Fatal(err)
	}
}
