//go:build !embedded

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgres runs transactions side by side at READ COMMITTED; what must not
// meet is locked.
type postgres struct{}

func (postgres) schemaWords(statement string) string {
	return strings.NewReplacer(
		"{serial}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		"{bytes}", "BYTEA",
		"{bytewise}", `TEXT COLLATE "C"`,
	).Replace(statement)
}

func (postgres) hasSchema(ctx context.Context, q plain) (there bool, err error) {
	err = q.QueryRowContext(ctx, "SELECT to_regclass('schema_version') IS NOT NULL").Scan(&there)
	return there, err
}

func (postgres) numbers(columns string) string {
	return "'[' || concat_ws(',', " + columns + ") || ']'"
}

func (postgres) joinLines(expression string) string {
	return "string_agg(" + expression + ", chr(10))"
}

func (postgres) forUpdate() string { return " FOR UPDATE" }

func (postgres) holdUser(ctx context.Context, q plain, id string) error {
	_, err := q.ExecContext(ctx, "SELECT 1 FROM users WHERE id = $1 FOR SHARE", id)
	return err
}

// lock takes the locks of all keys in one order, so that two callers cannot
// wait for each other.
func (postgres) lock(ctx context.Context, q plain, class lockClass, keys ...string) error {
	places := []int32{0}
	if len(keys) > 0 {
		places = places[:0]
	}
	for _, k := range keys {
		h := fnv.New32a()
		_, _ = h.Write([]byte(k))                 // never fails
		places = append(places, int32(h.Sum32())) //#nosec G115 -- any 32 bits will do
	}
	slices.Sort(places)
	for _, p := range slices.Compact(places) {
		if _, err := q.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1, $2)", int32(class), p); err != nil {
			return err
		}
	}
	return nil
}

// cleaned hands over text that PostgreSQL can store: valid UTF-8 without NUL.
// What clients send, as in User-Agent, need not be that.
type cleaned struct{ plain }

func clean(args []any) []any {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return args
}

func (c cleaned) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return c.plain.ExecContext(ctx, query, clean(args)...)
}

func (c cleaned) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return c.plain.QueryContext(ctx, query, clean(args)...)
}

func (c cleaned) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return c.plain.QueryRowContext(ctx, query, clean(args)...)
}

// pgConfig reads the URL. What it leaves open is decided for safety: TLS with a
// verified name unless the server is on this machine, and the one of several
// hosts that can be written.
func pgConfig(text string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("the url does not read postgres://user:password@host:5432/database") // the cause would show the password
	}
	q := u.Query()
	if !q.Has("sslmode") {
		q.Set("sslmode", "verify-full")
		if localHosts(u, q) {
			q.Set("sslmode", "disable")
		}
		u.RawQuery = q.Encode()
	}
	cfg, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("the url: %w", err) // pgx hides the password
	}
	if cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > pgDialWait {
		cfg.ConnectTimeout = pgDialWait
	}
	if cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range map[string]string{
		"application_name": "gatehouse",
		"lock_timeout":     "2s",
		// An instance that was cut off must not hold locks others wait for.
		"idle_in_transaction_session_timeout": "2s",
		"statement_timeout":                   "120s",
		// What is acknowledged is on disk, whatever the server's default.
		"synchronous_commit": "on",
	} {
		if _, given := cfg.RuntimeParams[name]; !given {
			cfg.RuntimeParams[name] = value
		}
	}
	return cfg, nil
}

// localHosts reports whether every host is a socket or a loopback address.
func localHosts(u *url.URL, q url.Values) bool {
	for _, h := range strings.Split(u.Host+","+q.Get("host"), ",") {
		name := h
		if i := strings.LastIndex(h, ":"); i >= 0 && !strings.HasSuffix(h, "]") {
			name = h[:i]
		}
		name = strings.Trim(name, "[]")
		addr, err := netip.ParseAddr(name)
		if name != "" && name != "localhost" && !strings.HasPrefix(name, "/") && (err != nil || !addr.IsLoopback()) {
			return false
		}
	}
	return true
}
