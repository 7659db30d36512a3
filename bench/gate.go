package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/authn/token"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/store/sqlstore"
)

// gateOptions is how one gatehouse differs from another.
type gateOptions struct {
	name   string
	access bool // write the access log
	routes int  // more routes than those of the app
	dir    string
}

// gate is one gatehouse process.
type gate struct {
	*peer
	dir, admin string
}

func (r *rig) gatePeer(o gateOptions) (*peer, error) {
	g, err := r.gate(o)
	if err != nil {
		return nil, err
	}
	tokens, err := g.mint(r.ctx, 1)
	if err != nil {
		return nil, err
	}
	g.token = tokens[0].text
	return g.peer, nil
}

// gate configures and starts gatehouse on the production defaults.
func (r *rig) gate(o gateOptions) (*gate, error) {
	g := &gate{peer: &peer{name: "gatehouse", guards: true, names: true}, dir: o.dir}
	if o.name != "" {
		g.name = o.name
	}
	if g.dir == "" {
		g.dir = r.path(file(g.name))
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if g.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	return g, r.serving(g.peer, func(addr string) (string, []string, error) {
		path := filepath.Join(g.dir, "gatehouse.yaml")
		return r.o.binary, []string{"serve", "-c", path}, os.WriteFile(path, []byte(r.gateConfig(g, addr, o)), 0o600)
	})
}

func (r *rig) gateConfig(g *gate, addr string, o gateOptions) string {
	var b strings.Builder
	fmt.Fprintf(&b, `listen: {https: %q, http: "", admin: %q}
tls: {certificates: [{cert_file: %q, key_file: %q}]}
data_dir: %q
tokens: {issuer: "https://bench.test", access_ttl: 15m}
limits: {login_account: 100000/1m, login_ip: 100000/1m}
log: {access: %v}
routes:
  - {name: app, host: 127.0.0.1, upstream: "http://%s"}
  - {name: public, host: 127.0.0.1, path: /public, upstream: "http://%s", access: public}
  - {name: sink, host: 127.0.0.1, path: /up, upstream: "http://%s"}
`, addr, g.admin, r.path("tls.crt"), r.path("tls.key"), filepath.Join(g.dir, "data"), o.access, r.app, r.app, r.sink)
	for i := range o.routes {
		fmt.Fprintf(&b, "  - {name: r%d, host: 127.0.0.1, path: /r%d, upstream: \"http://%s\", access: {groups: [readers, g%d]}}\n", i, i, r.app, i)
	}
	return b.String()
}

func (g *gate) database() string { return filepath.Join(g.dir, "data", "gatehouse.db") }

// minted is a token and whose it is.
type minted struct{ text, subject string }

// mint signs tokens with the gate's own key, as ten thousand sign-ins would
// have, each with its own user and session.
func (g *gate) mint(ctx context.Context, n int) ([]minted, error) {
	s, err := sqlstore.Open(ctx, g.database(), sqlstore.Options{MustExist: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // only read from
	ring, err := token.NewRing(s.Keys(), config.Tokens{Issuer: "https://bench.test", Algorithm: "EdDSA", AccessTTL: 15 * time.Minute, Leeway: 10 * time.Second}, 720*time.Hour, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		return nil, err
	}
	if err := ring.Load(ctx); err != nil {
		return nil, err
	}
	out := make([]minted, n)
	for i := range out {
		sub := fmt.Sprintf("u%021d", i)
		text, err := ring.Access(identity.Identity{
			Subject: sub, Email: fmt.Sprintf("ada%d@bench.test", i), EmailVerified: true, Name: "Ada Lovelace", Groups: []string{"admins", "readers", "staff"},
			Session: fmt.Sprintf("s%021d", i), AuthTime: time.Now(), AMR: []string{"pwd"}, SessionEnds: time.Now().Add(time.Hour),
		})
		if err != nil {
			return nil, err
		}
		out[i] = minted{text, sub}
	}
	return out, nil
}

// ready waits for /readyz.
func (g *gate) ready() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		select {
		case <-g.procs[0].done:
			return g.procs[0].died()
		default:
		}
		resp, err := http.Get("http://" + g.admin + "/readyz")
		if err != nil {
			continue
		}
		_ = resp.Body.Close() // nothing of it is read
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("gatehouse was not ready in a minute")
}

// plant puts users and revocations into a database nobody has open.
func (g *gate) plant(users, revocations int) error {
	db, err := sql.Open("sqlite3", "file:"+g.database()+"?_journal_mode=WAL&_synchronous=OFF")
	if err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	const upTo = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d) "
	_, err1 := db.Exec(fmt.Sprintf(upTo+`INSERT INTO revocations (kind, subject, generation, created_at, expires)
		SELECT 2, lower(hex(randomblob(11))), 0, %d, %d FROM n`, revocations, now, now+int64(time.Hour/time.Microsecond)))
	_, err2 := db.Exec(fmt.Sprintf(upTo+`INSERT INTO users (id, email, email_key, email_verified, name, groups_json, password_hash, disabled, generation, created_at, updated_at, password_changed_at)
		SELECT 'p'||i, 'p'||i||'@bench.test', 'p'||i||'@bench.test', 1, 'P', '[]', '', 0, 0, %d, %d, %d FROM n`, users, now, now, now))
	_, err3 := db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	for _, err := range []error{err1, err2, err3, db.Close()} {
		if err != nil {
			return fmt.Errorf("plant rows: %w", err)
		}
	}
	return nil
}

// command runs an operator's command on this gate.
func (r *rig) command(g *gate, stdin string, args ...string) error {
	cmd := exec.CommandContext(r.ctx, r.o.binary, append(args, "-c", filepath.Join(g.dir, "gatehouse.yaml"))...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gatehouse %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// heap reads Go's own account of live memory, in bytes.
func (g *gate) heap() (int64, error) {
	resp, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // read from alone
	var n float64
	if err := metric(resp.Body, "go_memstats_heap_inuse_bytes", &n); err != nil {
		return 0, err
	}
	return int64(n), nil
}

func credentials(email, password string) []byte {
	text, _ := json.Marshal(map[string]string{"email": email, "password": password}) // strings cannot fail
	return text
}
