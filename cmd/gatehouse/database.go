package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"gatehouse/config"
	"gatehouse/store"
	"gatehouse/store/sealed"
	"gatehouse/store/sqlstore"
)

// database is what both back ends of sqlstore are used as.
type database interface {
	Users() *sqlstore.Users
	Sessions() *sqlstore.Sessions
	Revocations() *sqlstore.Revocations
	Limiter() *sqlstore.Limiter
	Keys() *sqlstore.Keys
	Instances() *sqlstore.Instances
	Ping(ctx context.Context) error
	Close() error
}

// openDatabase opens the one the file names. The first to open it makes it:
// accounts can be added before the first start. The embedded one is checked
// first, and beside, unless it is nil, reads the list meanwhile.
func openDatabase(ctx context.Context, cfg config.Store, log *slog.Logger, beside func(context.Context, store.Revocations)) (database, error) {
	if pg := cfg.Postgres; pg != nil {
		return openPostgres(ctx, pg, log)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.SQLite.Path), 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	db, err := sqlstore.Open(ctx, cfg.SQLite.Path, sqlstore.Options{Log: log, Beside: beside})
	if err != nil {
		return nil, err
	}
	return db, nil
}

// sealedKeys is the key ring of the store, encrypted when there is a key for it.
func sealedKeys(db database, cfg *config.Config) (store.Keys, error) {
	if cfg.Tokens.EncryptionKey.IsZero() {
		return db.Keys(), nil
	}
	box, err := sealed.NewBox(cfg.Tokens.EncryptionKey.Reveal())
	if err != nil {
		return nil, err
	}
	return sealed.New(db.Keys(), box), nil
}
