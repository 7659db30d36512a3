package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"gatehouse/store"
)

// Users keeps store.Users and store.UserLister.
type Users struct{ e engine }

var (
	_ store.Users      = (*Users)(nil)
	_ store.UserLister = (*Users)(nil)
)

const selectUsers = `SELECT id, email, email_key, email_verified, name, groups_json, password_hash, disabled, generation,
	created_at, updated_at, password_changed_at FROM users`

func scanUser(r scanner) (store.User, error) {
	var u store.User
	var groups string
	var created, updated, changed int64
	err := r.Scan(&u.ID, &u.Email, &u.EmailKey, &u.EmailVerified, &u.Name, &groups, &u.PasswordHash, &u.Disabled, &u.Generation, &created, &updated, &changed)
	if errors.Is(err, sql.ErrNoRows) {
		return store.User{}, store.ErrNotFound
	}
	if err != nil {
		return store.User{}, err
	}
	u.CreatedAt, u.UpdatedAt, u.PasswordChangedAt = fromMicros(created), fromMicros(updated), fromMicros(changed)
	u.Groups, err = fromList(groups)
	return u, err
}

// inserted tells a taken key from a stored row; insertions do nothing on
// conflict, which every dialect can say.
func inserted(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return store.ErrExists
	}
	return nil
}

// groupList is the stored form: sorted, unique.
func groupList(groups []string) string {
	sorted := slices.Clone(groups)
	slices.Sort(sorted)
	return list(slices.Compact(sorted))
}

// Create stores a new account.
func (u *Users) Create(ctx context.Context, v store.User) error {
	return u.e.write(ctx, "create user", func(ctx context.Context, q querier) error {
		return inserted(q.ExecContext(ctx, `INSERT INTO users (id, email, email_key, email_verified, name, groups_json, password_hash, disabled, generation,
			created_at, updated_at, password_changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
			v.ID, v.Email, v.EmailKey, v.EmailVerified, v.Name, groupList(v.Groups), v.PasswordHash, v.Disabled, v.Generation,
			micros(v.CreatedAt), micros(v.UpdatedAt), micros(v.PasswordChangedAt)))
	})
}

// ByID returns one account.
func (u *Users) ByID(ctx context.Context, id string) (store.User, error) {
	return u.one(ctx, "id", selectUsers+" WHERE id = $1", id)
}

// ByEmail returns the account with that canonical address.
func (u *Users) ByEmail(ctx context.Context, emailKey string) (store.User, error) {
	return u.one(ctx, "address", selectUsers+" WHERE email_key = $1", emailKey)
}

// errMixed would mean that the driver handed us another query's row (threat
// T147, CVE-2025-47907).
var errMixed = errors.New("the row read is not the one asked for")

func (u *Users) one(ctx context.Context, by, query, key string) (found store.User, err error) {
	err = u.e.read(ctx, "read user by "+by, func(ctx context.Context, q querier) error {
		found, err = scanUser(q.QueryRowContext(ctx, query, key))
		if err == nil && found.ID != key && found.EmailKey != key {
			err = errMixed
		}
		return err
	})
	if err != nil {
		return store.User{}, err
	}
	return found, nil
}

// List pages through the accounts.
func (u *Users) List(ctx context.Context, afterEmailKey string, limit int) (page []store.User, err error) {
	err = u.e.read(ctx, "list users", func(ctx context.Context, q querier) error {
		page, err = scanAll(ctx, q, scanUser, selectUsers+" WHERE email_key > $1 ORDER BY email_key LIMIT $2", afterEmailKey, max(limit, 0))
		return err
	})
	return page, err
}

// Update applies one change.
func (u *Users) Update(ctx context.Context, id string, c store.UserChange) (after store.User, err error) {
	err = u.e.write(ctx, "update user", func(ctx context.Context, q querier) error {
		v, err := scanUser(q.QueryRowContext(ctx, selectUsers+" WHERE id = $1"+q.forUpdate(), id))
		if err != nil {
			return err
		}
		if c.ExpectHash != nil && *c.ExpectHash != v.PasswordHash {
			return store.ErrConflict
		}
		if c.Keep != nil {
			if err := newHead(ctx, q, id, *c.Keep, c.Now); err != nil {
				return err
			}
		}
		change(&v, c)
		if err := saveUser(ctx, q, v); err != nil {
			return err
		}
		if err := revokeFor(ctx, q, v, c); err != nil {
			return err
		}
		after, err = scanUser(q.QueryRowContext(ctx, selectUsers+" WHERE id = $1", id))
		return err
	})
	if err != nil {
		return store.User{}, err
	}
	return after, nil
}

// change sets the fields. A new hash counts as a new password when older
// sessions or tokens end with it; otherwise the same password was hashed anew.
func change(v *store.User, c store.UserChange) {
	if c.Name != nil {
		v.Name = *c.Name
	}
	if c.Groups != nil {
		v.Groups = *c.Groups
	}
	if c.EmailVerified != nil {
		v.EmailVerified = *c.EmailVerified
	}
	if c.Disabled != nil {
		v.Disabled = *c.Disabled
	}
	if c.PasswordHash != nil {
		v.PasswordHash = *c.PasswordHash
		if c.Revoke || c.EndSessions {
			v.PasswordChangedAt = c.Now
		}
	}
	if c.Revoke {
		v.Generation++
	}
	v.UpdatedAt = c.Now
}

func saveUser(ctx context.Context, q querier, v store.User) error {
	_, err := q.ExecContext(ctx, `UPDATE users SET name = $1, groups_json = $2, email_verified = $3, disabled = $4, password_hash = $5,
		generation = $6, updated_at = $7, password_changed_at = $8 WHERE id = $9`,
		v.Name, groupList(v.Groups), v.EmailVerified, v.Disabled, v.PasswordHash, v.Generation, micros(v.UpdatedAt), micros(v.PasswordChangedAt), v.ID)
	return err
}

// revokeFor writes the revocations a change asks for; v is the user afterwards.
func revokeFor(ctx context.Context, q querier, v store.User, c store.UserChange) error {
	var revoked []store.Revocation
	if c.Revoke {
		revoked = append(revoked, store.Revocation{Kind: store.KindUser, Key: v.ID, Generation: v.Generation, CreatedAt: c.Now, Expires: c.RevokedUntil})
	}
	if !c.EndSessions {
		return addRevocations(ctx, q, revoked...)
	}
	end := store.SessionEnd{UserID: v.ID}
	if c.Keep != nil {
		end.ExceptID = c.Keep.ID
	}
	found, err := sessionsToEnd(ctx, q, end)
	if err != nil {
		return err
	}
	return endAll(ctx, q, found, c.Now, c.RevokedUntil, revoked...)
}

// Delete removes the account and everything that lets it in.
func (u *Users) Delete(ctx context.Context, id string, now, revokedUntil time.Time) error {
	return u.e.write(ctx, "delete user", func(ctx context.Context, q querier) error {
		v, err := scanUser(q.QueryRowContext(ctx, selectUsers+" WHERE id = $1"+q.forUpdate(), id))
		if err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, "DELETE FROM users WHERE id = $1", id); err != nil {
			return err
		}
		v.Generation++
		return revokeFor(ctx, q, v, store.UserChange{Revoke: true, EndSessions: true, Now: now, RevokedUntil: revokedUntil})
	})
}
