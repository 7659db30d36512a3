package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"gatehouse/server"
	"gatehouse/store/sqlstore"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a consistent copy of the database, also while the gateway runs",
		Args: args(1, 1, "the file to write"),
		RunE: func(cmd *cobra.Command, given []string) (err error) {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if cfg.Store.Postgres != nil {
				return usageError{errors.New("backup copies the embedded database; use pg_dump for PostgreSQL")}
			}
			s, err := sqlstore.Open(cmd.Context(), cfg.Store.SQLite.Path, sqlstore.Options{Log: slog.New(slog.NewTextHandler(a.stderr, nil)), MustExist: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			if err := s.Backup(cmd.Context(), given[0]); errors.Is(err, fs.ErrExist) {
				return usageError{err}
			} else if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "backed up to %s\n", given[0])
			return err
		},
	}
}

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "The audit file", &cobra.Command{
		Use: "verify FILE", Short: "Check that no line of an audit file was changed, removed or put between",
		Args: args(1, 1, "the file"),
		RunE: func(_ *cobra.Command, given []string) error {
			summary, err := server.VerifyAudit(given[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s: fine, %+v\n", given[0], summary)
			return err
		},
	})
}
