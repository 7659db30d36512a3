package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/store"
)

// sessionsKept is how long a session that is over can still be named by its
// tokens, so that a late one reads as "ended" and not as unknown.
const sessionsKept = 7 * 24 * time.Hour

// Revocations keeps store.Revocations.
type Revocations struct{ e engine }

var _ store.Revocations = (*Revocations)(nil)

// Revoke adds entries.
func (r *Revocations) Revoke(ctx context.Context, entries ...store.Revocation) error {
	if len(entries) == 0 {
		return nil
	}
	return r.e.write(ctx, "revoke", func(ctx context.Context, q querier) error {
		return addRevocations(ctx, q, entries...)
	})
}

// rowsAtOnce bounds the rows one statement writes.
const rowsAtOnce = 200

// addRevocations comes last in an act, when all rows it changes are its own:
// the lock, which makes numbers visible in their order, is held until the
// commit, and nobody who holds it may wait for anything else.
func addRevocations(ctx context.Context, q querier, entries ...store.Revocation) error {
	if len(entries) == 0 {
		return nil
	}
	if err := q.lock(ctx, q, lockRevocations); err != nil {
		return err
	}
	for some := range slices.Chunk(entries, rowsAtOnce) {
		args := make([]any, 0, 5*len(some))
		for _, e := range some {
			args = append(args, int64(e.Kind), e.Key, e.Generation, micros(e.CreatedAt), micros(e.Expires))
		}
		if _, err := q.ExecContext(ctx, "INSERT INTO revocations (kind, subject, generation, created_at, expires) VALUES "+tuples(len(some), 5), args...); err != nil {
			return err
		}
	}
	return nil
}

// places are those of n values from the first: ($2, $3, $4).
func places(first, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(", $" + strconv.Itoa(first+i))
	}
	return "(" + b.String()[2:] + ")"
}

// tuples are the places of n rows of k values: ($1, $2), ($3, $4).
func tuples(n, k int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = places(1+i*k, k)
	}
	return strings.Join(rows, ", ")
}

// Since returns entries and epoch as of one moment.
func (r *Revocations) Since(ctx context.Context, after int64, limit int) (entries []store.Revocation, epoch string, err error) {
	err = r.e.read(ctx, "read revocations", func(ctx context.Context, q querier) error {
		entries, epoch = nil, "" // it may run again
		var text string
		// One text of many lines: a row costs more to hand over than to read, and
		// there may be a million of them before the first request is served.
		err := q.QueryRowContext(ctx, `SELECT COALESCE((SELECT value FROM meta WHERE name = 'epoch'), ''), COALESCE(`+q.joinLines("line")+`, '') FROM (
			SELECT `+q.numbers("seq, kind, generation, created_at, expires, octet_length(subject)")+` || subject AS line
			FROM revocations WHERE seq > $1 ORDER BY seq LIMIT $2) AS lines`, after, max(limit, 0)).Scan(&epoch, &text)
		if err != nil {
			return err
		}
		if epoch == "" {
			return errNoEpoch
		}
		entries, err = revocationLines(text)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	// That lines are joined in their order holds in practice, and in no standard.
	slices.SortFunc(entries, func(a, b store.Revocation) int { return cmp.Compare(a.Seq, b.Seq) })
	return entries, epoch, nil
}

// Purge forgets expired entries, and sessions that have been over for a week.
func (r *Revocations) Purge(ctx context.Context, before time.Time) (n int64, err error) {
	err = r.e.maintain(ctx, "purge revocations", func(ctx context.Context, q querier) error {
		res, err := q.ExecContext(ctx, "DELETE FROM revocations WHERE expires < $1", micros(before))
		if err != nil {
			return err
		}
		if n, err = res.RowsAffected(); err != nil {
			return err
		}
		_, err = q.ExecContext(ctx, "DELETE FROM sessions WHERE (ended_at > 0 AND ended_at < $1) OR ends < $1 OR idle_ends < $1",
			micros(before.Add(-sessionsKept)))
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
