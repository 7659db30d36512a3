package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/store"
)

// micros is how a time is stored; 0 stands for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// list is how a list of words is stored.
func list(words []string) string {
	if len(words) == 0 {
		return "[]"
	}
	b, err := json.Marshal(words)
	if err != nil {
		return "[]" // cannot happen: strings always encode
	}
	return string(b)
}

func fromList(text string) ([]string, error) {
	var words []string
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		return nil, fmt.Errorf("stored list: %w", err)
	}
	if len(words) == 0 {
		return nil, nil
	}
	return words, nil
}

// scanner is a row, or the rows at their current place.
type scanner interface{ Scan(dest ...any) error }

// scanAll runs a query and gathers what scan makes of each row.
func scanAll[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // an error here was reported by Err, or came after the last row
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// failed names what was attempted. A sentinel of package store stays what it
// is; anything else is a failure of the back end.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case isOutcome(err), errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("%s: %w", what, err)
	default:
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
	}
}

// isOutcome tells an answer from a failure.
func isOutcome(err error) bool {
	for _, s := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrReused, store.ErrEnded} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}
