package sqlstore

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"slices"
	"time"

	"gatehouse/store"
)

// Sessions keeps store.Sessions.
type Sessions struct{ e engine }

var _ store.Sessions = (*Sessions)(nil)

const selectSessions = `SELECT id, user_id, head, parent, rotated_at, created_at, auth_time, last_used_at, idle_ends, ends, ended_at,
	amr_json, user_agent, address FROM sessions`

// family is a session with the proofs of its last two tokens.
type family struct {
	store.Session
	head, parent []byte // parent is nil until the first rotation
	rotatedAt    time.Time
}

func scanFamily(r scanner) (family, error) {
	var f family
	var amr string
	var rotated, created, auth, used, idle, ends, ended int64
	err := r.Scan(&f.ID, &f.UserID, &f.head, &f.parent, &rotated, &created, &auth, &used, &idle, &ends, &ended, &amr, &f.UserAgent, &f.Address)
	if errors.Is(err, sql.ErrNoRows) {
		return family{}, store.ErrNotFound
	}
	if err != nil {
		return family{}, err
	}
	f.rotatedAt, f.CreatedAt, f.AuthTime, f.LastUsedAt = fromMicros(rotated), fromMicros(created), fromMicros(auth), fromMicros(used)
	f.IdleEnds, f.Ends, f.EndedAt = fromMicros(idle), fromMicros(ends), fromMicros(ended)
	f.AMR, err = fromList(amr)
	return f, err
}

func (f family) isHead(hash [32]byte) bool { return subtle.ConstantTimeCompare(f.head, hash[:]) == 1 }
func (f family) isParent(hash [32]byte) bool {
	return subtle.ConstantTimeCompare(f.parent, hash[:]) == 1
}

// lives says whether the session is neither ended, idle nor past its end.
func (f family) lives(now time.Time) bool {
	return f.EndedAt.IsZero() && now.Before(f.IdleEnds) && now.Before(f.Ends)
}

// inGrace is measured both ways: the caller read its clock before its turn
// came, and a clock that was set back must not stretch the grace.
func (f family) inGrace(now time.Time, grace time.Duration) bool {
	return grace > 0 && now.Sub(f.rotatedAt).Abs() <= grace
}

// Create stores a new session under its first head.
func (x *Sessions) Create(ctx context.Context, v store.Session, head store.SessionHead) error {
	return x.e.write(ctx, "create session", func(ctx context.Context, q querier) error {
		// A change of the account that ends its sessions comes either before, and
		// is seen by whoever reads the account afterwards, or ends this one too.
		if err := q.holdUser(ctx, q, v.UserID); err != nil {
			return err
		}
		return inserted(q.ExecContext(ctx, `INSERT INTO sessions (id, user_id, selector, head, parent, rotated_at, created_at, auth_time, last_used_at,
			idle_ends, ends, ended_at, amr_json, user_agent, address)
			VALUES ($1, $2, $3, $4, NULL, 0, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING`,
			v.ID, v.UserID, head.Selector[:], head.Hash[:], micros(v.CreatedAt), micros(v.AuthTime), micros(v.LastUsedAt),
			micros(earlier(v.IdleEnds, v.Ends)), micros(v.Ends), micros(v.EndedAt), list(v.AMR), v.UserAgent, v.Address))
	})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Rotate replaces the head by its successor.
func (x *Sessions) Rotate(ctx context.Context, r store.Rotation) (out store.Rotated, err error) {
	var refused error // what the act decided and still wrote
	err = x.e.write(ctx, "rotate session", func(ctx context.Context, q querier) error {
		out, refused = store.Rotated{}, nil
		f, err := scanFamily(q.QueryRowContext(ctx, selectSessions+" WHERE selector = $1"+q.forUpdate(), r.Selector[:]))
		if err != nil {
			return err
		}
		switch {
		case !f.lives(r.Now):
			refused = store.ErrEnded
		case f.isHead(r.Presented):
			err = advance(ctx, q, &f, r)
		case f.isParent(r.Presented) && f.inGrace(r.Now, r.Grace):
			out.Repeated = true
		default:
			refused = store.ErrReused
			f.EndedAt = fromMicros(micros(r.Now))
			err = endAll(ctx, q, []family{f}, r.Now, r.RevokedUntil)
		}
		out.Session = f.Session
		return err
	})
	if err != nil {
		return store.Rotated{}, err
	}
	return out, failed("rotate session", refused)
}

func advance(ctx context.Context, q querier, f *family, r store.Rotation) error {
	f.LastUsedAt = fromMicros(micros(r.Now))
	f.IdleEnds = earlier(fromMicros(micros(r.IdleEnds)), f.Ends)
	if r.Address != "" {
		f.Address = r.Address
	}
	if r.UserAgent != "" {
		f.UserAgent = r.UserAgent
	}
	res, err := q.ExecContext(ctx, `UPDATE sessions SET parent = head, head = $1, rotated_at = $2, last_used_at = $3, idle_ends = $4, address = $5, user_agent = $6
		WHERE id = $7 AND head = $8`,
		r.Successor[:], micros(r.Now), micros(f.LastUsedAt), micros(f.IdleEnds), f.Address, f.UserAgent, f.ID, r.Presented[:])
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n != 1 {
		return store.ErrConflict // cannot happen while the row is locked
	}
	return nil
}

// Find returns the session of a token that is its head or the head's parent.
func (x *Sessions) Find(ctx context.Context, selector [12]byte, presented [32]byte) (v store.Session, err error) {
	err = x.e.read(ctx, "find session", func(ctx context.Context, q querier) error {
		f, err := scanFamily(q.QueryRowContext(ctx, selectSessions+" WHERE selector = $1", selector[:]))
		if err != nil {
			return err
		}
		if !f.isHead(presented) && !f.isParent(presented) {
			return store.ErrNotFound
		}
		v = f.Session
		return nil
	})
	return v, err
}

// List returns living sessions, latest use first.
func (x *Sessions) List(ctx context.Context, userID string, now time.Time) (living []store.Session, err error) {
	where, args := " WHERE ended_at = 0 AND ends > $1 AND idle_ends > $1", []any{micros(now)}
	if userID != "" {
		where, args = where+" AND user_id = $2", append(args, userID)
	}
	err = x.e.read(ctx, "list sessions", func(ctx context.Context, q querier) error {
		found, err := scanAll(ctx, q, scanFamily, selectSessions+where+" ORDER BY last_used_at DESC, id", args...)
		living = nil // it may run again
		for _, f := range found {
			living = append(living, f.Session)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return living, nil
}

// End ends sessions.
func (x *Sessions) End(ctx context.Context, e store.SessionEnd) (ids []string, err error) {
	err = x.e.write(ctx, "end sessions", func(ctx context.Context, q querier) error {
		ids = nil
		found, err := sessionsToEnd(ctx, q, e)
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.lives(e.Now) {
				ids = append(ids, f.ID)
			}
		}
		return endAll(ctx, q, found, e.Now, e.RevokedUntil)
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// sessionsToEnd are also those that ran out by themselves and were not ended:
// their last access tokens may outlive them.
func sessionsToEnd(ctx context.Context, q querier, e store.SessionEnd) ([]family, error) {
	where, args := " WHERE ended_at = 0", []any(nil)
	switch {
	case e.SessionID != "" && e.UserID != "":
		where, args = where+" AND id = $1 AND user_id = $2", []any{e.SessionID, e.UserID}
	case e.SessionID != "":
		where, args = where+" AND id = $1", []any{e.SessionID}
	case e.UserID != "":
		where, args = where+" AND user_id = $1 AND id <> $2", []any{e.UserID, e.ExceptID}
	case e.Everyone:
		where, args = where+" AND id <> $1", []any{e.ExceptID}
	default:
		return nil, nil
	}
	return scanAll(ctx, q, scanFamily, selectSessions+where+" ORDER BY id"+q.forUpdate(), args...)
}

// endAll ends the sessions, says so in the list, and says first what more
// there is to say.
func endAll(ctx context.Context, q querier, ended []family, now, until time.Time, more ...store.Revocation) error {
	for some := range slices.Chunk(ended, rowsAtOnce) {
		args := []any{micros(now)}
		for _, f := range some {
			args = append(args, f.ID)
			more = append(more, store.Revocation{Kind: store.KindSession, Key: f.ID, CreatedAt: now, Expires: until})
		}
		if _, err := q.ExecContext(ctx, "UPDATE sessions SET ended_at = $1 WHERE id IN "+places(2, len(some)), args...); err != nil {
			return err
		}
	}
	return addRevocations(ctx, q, more...)
}

// newHead moves a living session of the user to another family of tokens.
func newHead(ctx context.Context, q querier, userID string, head store.SessionHead, now time.Time) error {
	f, err := scanFamily(q.QueryRowContext(ctx, selectSessions+" WHERE id = $1 AND user_id = $2"+q.forUpdate(), head.ID, userID))
	if errors.Is(err, store.ErrNotFound) || (err == nil && !f.lives(now)) {
		return store.ErrEnded
	}
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, "UPDATE sessions SET selector = $1, head = $2, parent = NULL, rotated_at = $3 WHERE id = $4",
		head.Selector[:], head.Hash[:], micros(now), head.ID)
	return err
}
