//go:build !embedded

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse/config"
	"gatehouse/store/redisstore"
	"gatehouse/store/sqlstore"
)

// tryStores asks PostgreSQL and Redis what only they can tell. The embedded
// database is left alone: opening it would make it.
func tryStores(ctx context.Context, cfg *config.Config) (tried []storeReport, err error) {
	note := func(name string, failed error) {
		r := storeReport{Store: name}
		if failed != nil {
			r.Error = failed.Error()
			err = errors.Join(err, fmt.Errorf("%s: %w", name, failed))
		}
		tried = append(tried, r)
	}
	if cfg.Store.Postgres != nil {
		note("postgres", tryPostgres(ctx, cfg))
	}
	if cfg.Cluster {
		note("redis", tryRedis(ctx, cfg))
	}
	return tried, err
}

// openPostgres opens the database several instances share.
func openPostgres(ctx context.Context, pg *config.Postgres, log *slog.Logger) (database, error) {
	db, err := sqlstore.OpenPostgres(ctx, pg.URL.Reveal(), sqlstore.PostgresOptions{Log: log, MaxConnections: pg.MaxConnections})
	if err != nil {
		return nil, err
	}
	return db, nil
}

func tryPostgres(ctx context.Context, cfg *config.Config) error {
	return sqlstore.TryPostgres(ctx, cfg.Store.Postgres.URL.Reveal())
}

func tryRedis(ctx context.Context, cfg *config.Config) (err error) {
	redis, err := openRedis(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()
	if err := redis.Ping(ctx); err != nil {
		return err
	}
	skew, err := redis.Skew(ctx, time.Now)
	if err == nil && skew.Abs() > maxSkew {
		err = fmt.Errorf("%w (%v)", errSkew, skew.Round(time.Millisecond))
	}
	policy := redis.CheckPolicy(ctx)
	if !errors.Is(policy, redisstore.ErrEvicts) {
		policy = nil // could not be asked, which is no finding
	}
	return errors.Join(err, policy)
}
