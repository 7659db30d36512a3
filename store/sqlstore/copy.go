//go:build !embedded

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gatehouse/store"
)

// copied is one table as Copy moves it, ordered by its first column.
type copied struct {
	name    string
	columns []string
}

func tables() []copied {
	return []copied{
		{name: "users", columns: []string{"id", "email", "email_key", "email_verified", "name", "groups_json", "password_hash", "disabled", "generation", "created_at", "updated_at", "password_changed_at"}},
		{name: "sessions", columns: []string{"id", "user_id", "selector", "head", "parent", "rotated_at", "created_at", "auth_time", "last_used_at", "idle_ends", "ends", "ended_at", "amr_json", "user_agent", "address"}},
		{name: "revocations", columns: []string{"seq", "kind", "subject", "generation", "created_at", "expires"}},
		{name: "limits", columns: []string{"subject", "tat"}},
	}
}

// ErrDiffers says that a row of the copy is not that of the original.
var ErrDiffers = errors.New("the copy differs from the original")

// Copy moves everything from an embedded database, which nobody may be serving
// from, into PostgreSQL, and then compares every row. What is there already is
// kept, so that a copy which broke off goes on when it is begun again; what is
// there and not in the original is ErrDiffers. seal changes keys on their way.
// done is told of every table.
func Copy(ctx context.Context, from *Store, to *Postgres, seal func(store.Key) store.Key, done func(table string, rows int)) error {
	for _, t := range tables() {
		n, err := t.move(ctx, from, to)
		if err != nil {
			return fmt.Errorf("copy %s: %w", t.name, err)
		}
		done(t.name, n)
	}
	n, err := copyRing(ctx, from, to, seal)
	if err != nil {
		return fmt.Errorf("copy keys: %w", err)
	}
	done("keys", n)
	return to.write(ctx, "set the next revocation", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence('revocations', 'seq'), (SELECT COALESCE(MAX(seq), 0) + 1 FROM revocations))")
		return err
	})
}

// move copies one table page by page, and compares it page by page.
func (t copied) move(ctx context.Context, from *Store, to *Postgres) (n int, err error) {
	for pass := range 2 {
		n = 0
		for last := any(nil); ; {
			page, err := t.page(ctx, from, last)
			if err != nil {
				return n, err
			}
			if pass == 0 {
				err = t.insert(ctx, to, page)
			} else {
				err = t.compare(ctx, to, last, page)
			}
			if err != nil || len(page) == 0 {
				if err != nil {
					return n, err
				}
				break
			}
			n, last = n+len(page), page[len(page)-1][0]
		}
	}
	return n, nil
}

// page reads rows after the given first column, nil = from the start.
func (t copied) page(ctx context.Context, e engine, last any) (rows [][]any, err error) {
	order := t.columns[0]
	if order != "seq" {
		order += "{bytewise}"
	}
	query, args := "SELECT "+strings.Join(t.columns, ", ")+" FROM "+t.name, []any(nil)
	if last != nil {
		query, args = query+" WHERE "+order+" > $1", []any{last}
	}
	query += " ORDER BY " + order + " LIMIT " + strconv.Itoa(rowsAtOnce)
	err = e.read(ctx, "read "+t.name, func(ctx context.Context, q querier) error {
		rows, err = scanAll(ctx, q, t.scan, bytewise(q, query), args...)
		return err
	})
	return rows, err
}

// bytewise writes an order that is the same in both databases.
func bytewise(q querier, query string) string {
	collation := " COLLATE BINARY"
	if _, pg := q.dialect.(postgres); pg {
		collation = ` COLLATE "C"`
	}
	return strings.ReplaceAll(query, "{bytewise}", collation)
}

// scan reads a row as values that compare: drivers differ in how they hand out
// booleans, bytes and text.
func (t copied) scan(r scanner) ([]any, error) {
	row, into := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range row {
		into[i] = &row[i]
	}
	err := r.Scan(into...)
	for i, v := range row {
		switch v := v.(type) {
		case []byte:
			if c := t.columns[i]; c != "selector" && c != "head" && c != "parent" {
				row[i] = string(v)
			}
		case int64:
			if c := t.columns[i]; c == "disabled" || c == "email_verified" {
				row[i] = v != 0
			}
		}
	}
	return row, err
}

func (t copied) insert(ctx context.Context, to *Postgres, page [][]any) error {
	if len(page) == 0 {
		return nil
	}
	var args []any
	for _, row := range page {
		args = append(args, row...)
	}
	overriding := ""
	if t.columns[0] == "seq" {
		overriding = "OVERRIDING SYSTEM VALUE "
	}
	return to.write(ctx, "write "+t.name, func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, "INSERT INTO "+t.name+" ("+strings.Join(t.columns, ", ")+") "+overriding+"VALUES "+tuples(len(page), len(t.columns))+" ON CONFLICT DO NOTHING",
			append([]any(nil), args...)...)
		return err
	})
}

func (t copied) compare(ctx context.Context, to *Postgres, last any, want [][]any) error {
	got, err := t.page(ctx, to, last)
	if err != nil {
		return err
	}
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) {
			return fmt.Errorf("%w: %d rows where there are %d", ErrDiffers, len(got), len(want))
		}
		if clean(want[i]); !reflect.DeepEqual(want[i], got[i]) {
			return fmt.Errorf("%w: row %v", ErrDiffers, want[i][0])
		}
	}
	return nil
}

// copyRing is apart because secrets change on their way: what was sealed
// before, by a copy that broke off, stays.
func copyRing(ctx context.Context, from *Store, to *Postgres, seal func(store.Key) store.Key) (int, error) {
	keys, err := from.Keys().All(ctx)
	if err != nil {
		return 0, err
	}
	for _, k := range keys {
		if err := to.Keys().Add(ctx, seal(k), time.Time{}); err != nil && !errors.Is(err, store.ErrExists) {
			return 0, err
		}
	}
	there, err := to.Keys().All(ctx)
	if err != nil {
		return 0, err
	}
	if len(there) != len(keys) {
		return 0, fmt.Errorf("%w: %d keys where there are %d", ErrDiffers, len(there), len(keys))
	}
	for i, k := range keys {
		got := there[i]
		got.Secret, k.Secret = nil, nil
		if !reflect.DeepEqual(got, k) {
			return 0, fmt.Errorf("%w: key %s", ErrDiffers, k.ID)
		}
	}
	return len(keys), nil
}
