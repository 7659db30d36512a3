//go:build !embedded

package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"gatehouse/store"
	"gatehouse/store/sealed"
	"gatehouse/store/sqlstore"
)

func (a *app) storeCommand() *cobra.Command {
	return group("store", "The database", &cobra.Command{
		Use: "migrate FILE", Short: "Copy an embedded database into store.postgres and compare every row",
		Long: "Copies the SQLite database FILE into the PostgreSQL database of the configuration and compares every row.\n" +
			"Stop the gateway that serves from FILE first. A copy that broke off goes on when it is run again.",
		Args: args(1, 1, "the file of the embedded database"),
		RunE: func(cmd *cobra.Command, given []string) (err error) {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if cfg.Store.Postgres == nil {
				return usageError{errors.New("store.postgres is not given: there is nowhere to copy to")}
			}
			seal := func(k store.Key) store.Key { return k }
			if !cfg.Tokens.EncryptionKey.IsZero() {
				box, err := sealed.NewBox(cfg.Tokens.EncryptionKey.Reveal())
				if err != nil {
					return err
				}
				seal = box.Seal
			}
			log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			from, err := sqlstore.Open(cmd.Context(), given[0], sqlstore.Options{Log: log, MustExist: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, from.Close()) }()
			to, err := sqlstore.OpenPostgres(cmd.Context(), cfg.Store.Postgres.URL.Reveal(), sqlstore.PostgresOptions{Log: log, MaxConnections: 4})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, to.Close()) }()
			return sqlstore.Copy(cmd.Context(), from, to, seal, func(table string, rows int) {
				fmt.Fprintf(a.stdout, "%s: %d copied and compared\n", table, rows)
			})
		},
	})
}
