package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gatehouse/store"
)

// unproven is the engine over a file whose check has not ended: it reads.
type unproven struct{ db *sql.DB }

var errUnproven = errors.New("the database is still being checked")

func (u unproven) read(ctx context.Context, what string, run query) error {
	return failed(what, run(ctx, onSQLite(u.db)))
}

func (u unproven) write(_ context.Context, what string, _ act) error {
	return failed(what, fmt.Errorf("%w: %w", store.ErrUnavailable, errUnproven))
}

func (u unproven) maintain(ctx context.Context, what string, run act) error {
	return u.write(ctx, what, run)
}
