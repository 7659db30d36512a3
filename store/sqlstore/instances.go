package sqlstore

import (
	"context"
	"time"

	"gatehouse/store"
)

// Instances keeps store.Instances.
type Instances struct{ e engine }

var _ store.Instances = (*Instances)(nil)

const selectInstances = "SELECT id, host, version, started_at, seen_at FROM instances"

func scanInstance(r scanner) (store.Instance, error) {
	var i store.Instance
	var started, seen int64
	err := r.Scan(&i.ID, &i.Host, &i.Version, &started, &seen)
	i.StartedAt, i.SeenAt = fromMicros(started), fromMicros(seen)
	return i, err
}

// Beat records a sign of life.
func (x *Instances) Beat(ctx context.Context, i store.Instance, since time.Time) (live []store.Instance, err error) {
	err = x.e.write(ctx, "record instance", func(ctx context.Context, q querier) error {
		if _, err := q.ExecContext(ctx, `INSERT INTO instances (id, host, version, started_at, seen_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`, i.ID, i.Host, i.Version, micros(i.StartedAt), micros(i.SeenAt)); err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, "DELETE FROM instances WHERE seen_at < $1", micros(since)); err != nil {
			return err
		}
		live, err = scanAll(ctx, q, scanInstance, selectInstances+" ORDER BY started_at, id")
		return err
	})
	if err != nil {
		return nil, err
	}
	return live, nil
}

// Leave removes an instance.
func (x *Instances) Leave(ctx context.Context, id string) error {
	return x.e.write(ctx, "remove instance", func(ctx context.Context, q querier) error {
		_, err := q.ExecContext(ctx, "DELETE FROM instances WHERE id = $1", id)
		return err
	})
}

// List returns all instances.
func (x *Instances) List(ctx context.Context) (all []store.Instance, err error) {
	err = x.e.read(ctx, "list instances", func(ctx context.Context, q querier) error {
		all, err = scanAll(ctx, q, scanInstance, selectInstances+" ORDER BY started_at, id")
		return err
	})
	return all, err
}

// Agree keeps the first value given.
func (x *Instances) Agree(ctx context.Context, name, value string) (stands string, err error) {
	err = x.e.write(ctx, "agree on "+name, func(ctx context.Context, q querier) error {
		if _, err := q.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", "agreed."+name, value); err != nil {
			return err
		}
		return q.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = $1", "agreed."+name).Scan(&stands)
	})
	return stands, err
}
