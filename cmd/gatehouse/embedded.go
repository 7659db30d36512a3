//go:build embedded

package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"gatehouse/config"
	"gatehouse/store"
)

// errEmbedded is what a build with the tag embedded says to a configuration of
// several instances. The tag leaves the clients of PostgreSQL and Redis out,
// which are a third of what has to be compiled, so that the demo starts sooner.
var errEmbedded = errors.New("this build has the embedded database only; make build makes one with PostgreSQL and Redis")

// cluster is never made.
type cluster struct{}

func (*cluster) join(context.Context) error  { return errEmbedded }
func (*cluster) run(context.Context)         {}
func (*cluster) ready(context.Context) error { return errEmbedded }
func (*cluster) close() error                { return nil }

func (a *accounts) share(cfg *config.Config, _ *slog.Logger, _ prometheus.Registerer) (store.Limiter, error) {
	if cfg.Cluster {
		return nil, errEmbedded
	}
	return a.store.Limiter(), nil
}

func openPostgres(context.Context, *config.Postgres, *slog.Logger) (database, error) {
	return nil, errEmbedded
}

func tryStores(_ context.Context, cfg *config.Config) ([]storeReport, error) {
	if cfg.Store.Postgres == nil && !cfg.Cluster {
		return nil, nil
	}
	return []storeReport{{Store: "postgres", Error: errEmbedded.Error()}}, errEmbedded
}

func (a *app) storeCommand() *cobra.Command {
	return group("store", "The database", &cobra.Command{
		Use: "migrate FILE", Short: "Not in this build", Hidden: true,
		RunE: func(*cobra.Command, []string) error { return errEmbedded },
	})
}
