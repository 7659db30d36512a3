package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gatehouse/store"
	"gatehouse/store/gcra"
)

// Limiter keeps store.Limiter. A unit that was taken is on disk before the
// answer (threat T99).
type Limiter struct{ e engine }

var _ store.Limiter = (*Limiter)(nil)

// Take grants all claims or none.
func (l *Limiter) Take(ctx context.Context, now time.Time, claims ...store.Claim) (d store.Decision, err error) {
	if err := gcra.Check(claims); err != nil {
		return store.Decision{Refused: -1}, failed("take", err)
	}
	err = l.e.write(ctx, "take", func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockLimits, keysOf(claims)...); err != nil {
			return err
		}
		tats, err := readTATs(ctx, q, claims)
		if err != nil {
			return err
		}
		d, _ = gcra.Decide(now.UnixNano(), claims, tats)
		return storeTATs(ctx, q, claims, tats, now)
	})
	if err != nil {
		return store.Decision{Refused: -1}, err
	}
	return d, nil
}

// Refund gives one unit of each claim back.
func (l *Limiter) Refund(ctx context.Context, now time.Time, claims ...store.Claim) error {
	if err := gcra.Check(claims); err != nil {
		return failed("refund", err)
	}
	return l.e.write(ctx, "refund", func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockLimits, keysOf(claims)...); err != nil {
			return err
		}
		tats, err := readTATs(ctx, q, claims)
		if err != nil {
			return err
		}
		for _, c := range claims {
			r, _ := gcra.RateOf(c)
			tats[c.Key] = r.Sub(tats[c.Key], now.UnixNano())
		}
		return storeTATs(ctx, q, claims, tats, now)
	})
}

func keysOf(claims []store.Claim) []string {
	keys := make([]string, len(claims))
	for i, c := range claims {
		keys[i] = c.Key
	}
	return keys
}

func readTATs(ctx context.Context, q querier, claims []store.Claim) (map[string]int64, error) {
	tats := make(map[string]int64, len(claims))
	for _, c := range claims {
		var tat int64
		err := q.QueryRowContext(ctx, "SELECT tat FROM limits WHERE subject = $1", c.Key).Scan(&tat)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		tats[c.Key] = tat
	}
	return tats, nil
}

// storeTATs writes each key once; a key that is unused needs no row.
func storeTATs(ctx context.Context, q querier, claims []store.Claim, tats map[string]int64, now time.Time) error {
	for _, c := range claims {
		tat, ok := tats[c.Key]
		if !ok {
			continue
		}
		delete(tats, c.Key)
		var err error
		if tat <= now.UnixNano() {
			_, err = q.ExecContext(ctx, "DELETE FROM limits WHERE subject = $1", c.Key)
		} else {
			_, err = q.ExecContext(ctx, "INSERT INTO limits (subject, tat) VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET tat = excluded.tat", c.Key, tat)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Reset forgets the keys.
func (l *Limiter) Reset(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	return l.e.write(ctx, "reset limits", func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockLimits, keys...); err != nil {
			return err
		}
		for _, k := range keys {
			if _, err := q.ExecContext(ctx, "DELETE FROM limits WHERE subject = $1", k); err != nil {
				return err
			}
		}
		return nil
	})
}

// Purge forgets keys that no longer limit anybody.
func (l *Limiter) Purge(ctx context.Context, now time.Time) (n int64, err error) {
	err = l.e.maintain(ctx, "purge limits", func(ctx context.Context, q querier) error {
		res, err := q.ExecContext(ctx, "DELETE FROM limits WHERE tat <= $1", now.UnixNano())
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
