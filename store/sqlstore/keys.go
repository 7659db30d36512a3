package sqlstore

import (
	"context"
	"time"

	"gatehouse/store"
)

// Keys keeps store.Keys.
type Keys struct{ e engine }

var _ store.Keys = (*Keys)(nil)

const selectKeys = "SELECT id, purpose, algorithm, secret, created_at, active_at, retire_at, revoked_at FROM ring"

func scanKey(r scanner) (store.Key, error) {
	var k store.Key
	var created, active, retire, revoked int64
	err := r.Scan(&k.ID, &k.Purpose, &k.Algorithm, &k.Secret, &created, &active, &retire, &revoked)
	k.CreatedAt, k.ActiveAt, k.RetireAt, k.RevokedAt = fromMicros(created), fromMicros(active), fromMicros(retire), fromMicros(revoked)
	return k, err
}

// All returns every key that is still stored, oldest first.
func (k *Keys) All(ctx context.Context) (keys []store.Key, err error) {
	err = k.e.read(ctx, "read keys", func(ctx context.Context, q querier) error {
		keys, err = scanAll(ctx, q, scanKey, selectKeys+" ORDER BY created_at, id")
		return err
	})
	return keys, err
}

func insertKey(ctx context.Context, q querier, k store.Key) error {
	res, err := q.ExecContext(ctx, `INSERT INTO ring (id, purpose, algorithm, secret, created_at, active_at, retire_at, revoked_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		k.ID, string(k.Purpose), k.Algorithm, k.Secret, micros(k.CreatedAt), micros(k.ActiveAt), micros(k.RetireAt), micros(k.RevokedAt))
	return inserted(res, err)
}

// Add stores a new key.
func (k *Keys) Add(ctx context.Context, key store.Key, retireOthersAt time.Time) error {
	return k.e.write(ctx, "add key", func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockRing); err != nil {
			return err
		}
		if !retireOthersAt.IsZero() {
			if _, err := q.ExecContext(ctx, "UPDATE ring SET retire_at = $1 WHERE purpose = $2 AND retire_at = 0",
				micros(retireOthersAt), string(key.Purpose)); err != nil {
				return err
			}
		}
		return insertKey(ctx, q, key)
	})
}

// Bootstrap stores the key only if none of its purpose stands.
func (k *Keys) Bootstrap(ctx context.Context, key store.Key) (stands store.Key, err error) {
	err = k.e.write(ctx, "bootstrap key", func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockRing); err != nil {
			return err
		}
		found, err := scanAll(ctx, q, scanKey, selectKeys+" WHERE purpose = $1 AND retire_at = 0 AND revoked_at = 0 ORDER BY created_at DESC, id DESC LIMIT 1",
			string(key.Purpose))
		if err != nil {
			return err
		}
		if len(found) == 1 {
			stands = found[0]
			return nil
		}
		if err := insertKey(ctx, q, key); err != nil {
			return err
		}
		stands, err = scanKey(q.QueryRowContext(ctx, selectKeys+" WHERE id = $1", key.ID))
		return err
	})
	if err != nil {
		return store.Key{}, err
	}
	return stands, nil
}

// Reseal replaces the secret of every key that is not revoked by what seal
// makes of it, all of them or none.
func (k *Keys) Reseal(ctx context.Context, seal func(store.Key) (store.Key, error)) (n int, err error) {
	err = k.e.write(ctx, "reseal keys", func(ctx context.Context, q querier) error {
		if err := q.lock(ctx, q, lockRing); err != nil {
			return err
		}
		n = 0
		keys, err := scanAll(ctx, q, scanKey, selectKeys+" WHERE revoked_at = 0")
		if err != nil {
			return err
		}
		for _, key := range keys {
			sealed, err := seal(key)
			if err != nil {
				return err
			}
			if _, err := q.ExecContext(ctx, "UPDATE ring SET secret = $1 WHERE id = $2", sealed.Secret, key.ID); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// Revoke marks a key as revoked and says so in the list.
func (k *Keys) Revoke(ctx context.Context, id string, now, revokedUntil time.Time) error {
	return k.e.write(ctx, "revoke key", func(ctx context.Context, q querier) error {
		return revokeKey(ctx, q, id, now, revokedUntil)
	})
}

// revokeKey keeps the moment of the first revocation.
func revokeKey(ctx context.Context, q querier, id string, now, until time.Time) error {
	res, err := q.ExecContext(ctx, "UPDATE ring SET revoked_at = CASE WHEN revoked_at = 0 THEN $1 ELSE revoked_at END WHERE id = $2", micros(now), id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return store.ErrNotFound
	}
	return addRevocations(ctx, q, store.Revocation{Kind: store.KindKey, Key: id, CreatedAt: now, Expires: until})
}

// Purge removes keys that were retired or revoked before.
func (k *Keys) Purge(ctx context.Context, before time.Time) (n int64, err error) {
	err = k.e.maintain(ctx, "purge keys", func(ctx context.Context, q querier) error {
		res, err := q.ExecContext(ctx, "DELETE FROM ring WHERE (retire_at > 0 AND retire_at < $1) OR (revoked_at > 0 AND revoked_at < $1)", micros(before))
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
