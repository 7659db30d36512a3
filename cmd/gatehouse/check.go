package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/config"
	"gatehouse/proxy"
)

func (a *app) checkCommand() *cobra.Command {
	var online bool
	c := &cobra.Command{
		Use: "check", Short: "Validate the configuration; every problem at once, each at its place",
		Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd.Context(), online) },
	}
	c.Flags().BoolVar(&a.asJSON, "json", false, "print the problems as JSON")
	c.Flags().BoolVar(&online, "online", false, "also try to connect to every upstream, PostgreSQL and Redis")
	return c
}

// storeReport is what became of the attempt to use one store.
type storeReport struct {
	Store string `json:"store"`
	Error string `json:"error,omitempty"`
}

// checkReport is the output of check --json.
type checkReport struct {
	OK        bool             `json:"ok"`
	Problems  []config.Problem `json:"problems"`
	Warnings  []config.Problem `json:"warnings"`
	Upstreams []upstreamReport `json:"upstreams,omitempty"` // with --online
	Stores    []storeReport    `json:"stores,omitempty"`    // with --online
}

// upstreamReport is what became of the attempt to reach one upstream.
type upstreamReport struct {
	Route    string `json:"route"`
	Upstream string `json:"upstream"`
	Error    string `json:"error,omitempty"`
}

func (a *app) check(ctx context.Context, online bool) error {
	cfg, err := config.Load(a.configFile, a.env)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if err == nil {
		// The table is built as at a start, so that nothing passes here which
		// would be refused there.
		if _, refused := proxy.NewExplainer(cfg, time.Now); refused != nil {
			problems = config.Problems{{File: cfg.File, Line: 1, Column: 1, Message: refused.Error()}}
			err = problems
		}
	}
	report := checkReport{OK: err == nil, Problems: append([]config.Problem{}, problems...), Warnings: []config.Problem{}}
	var down error
	if cfg != nil && err == nil {
		report.Warnings = append(report.Warnings, cfg.Warnings...)
		if online {
			report.Upstreams, down = tryUpstreams(ctx, cfg)
			stores, err := tryStores(ctx, cfg)
			report.Stores, down = stores, errors.Join(down, err)
		}
	}
	if a.asJSON {
		if err := a.printJSON(report); err != nil {
			return err
		}
	} else {
		a.printCheck(cfg, report, err)
	}
	return errors.Join(err, down)
}

func (a *app) printCheck(cfg *config.Config, report checkReport, err error) {
	if err != nil {
		fmt.Fprintln(a.stderr, err)
		return
	}
	for _, w := range report.Warnings {
		fmt.Fprintln(a.stderr, "warning:", w.Format())
	}
	routes := "routes"
	if len(cfg.Routes) == 1 {
		routes = "route"
	}
	fmt.Fprintf(a.stdout, "%s: fine, %d %s\n", cfg.File, len(cfg.Routes), routes)
	for _, s := range report.Stores {
		if s.Error == "" {
			fmt.Fprintf(a.stdout, "%s answers\n", s.Store)
		}
	}
	for _, u := range report.Upstreams {
		if u.Error == "" {
			fmt.Fprintf(a.stdout, "route %s: upstream %s answers\n", u.Route, u.Upstream)
		}
	}
}

// tryUpstreams connects to every upstream once; its error names those that
// refuse.
func tryUpstreams(ctx context.Context, cfg *config.Config) ([]upstreamReport, error) {
	var tried []upstreamReport
	var down []error
	for _, route := range cfg.Routes {
		for _, u := range route.Upstream {
			network, addr := "tcp", u.Host
			if u.Socket != "" {
				network, addr = "unix", u.Socket
			}
			report := upstreamReport{Route: route.Name, Upstream: u.Raw}
			d := net.Dialer{Timeout: min(route.Timeout.Connect, 10*time.Second)}
			if conn, err := d.DialContext(ctx, network, addr); err != nil {
				report.Error = err.Error()
				down = append(down, fmt.Errorf("route %s: upstream %s: %w", route.Name, u.Raw, err))
			} else {
				_ = conn.Close()
			}
			tried = append(tried, report)
		}
	}
	return tried, errors.Join(down...)
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	return nil
}
