package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"gatehouse/config"
	"gatehouse/server"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the gateway until SIGTERM or SIGINT; SIGHUP, or a changed file, reloads",
		Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), serveOptions{cfg: cfg, hasher: thisProgramHashes()})
		},
	}
}

// serveOptions is what serve and demo run with.
type serveOptions struct {
	cfg     *config.Config
	ready   func()   // called once when the listeners are bound
	logFile string   // instead of stderr
	hasher  []string // the command that hashes passwords
}

// serve wires and runs one gateway until ctx ends, then drains it.
func (a *app) serve(ctx context.Context, o serveOptions) (err error) {
	out, closeLog, err := a.logTo(o.logFile)
	if err != nil {
		return err
	}
	defer closeLog()
	logs, err := server.NewLogs(out, o.cfg.Log.Format, o.cfg.Log.Level)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	for _, w := range o.cfg.Warnings {
		logs.Log.LogAttrs(ctx, slog.LevelWarn, "configuration warning", slog.String("problem", w.Path+": "+w.Message))
	}
	defer keepHeapFloor(a.env)()
	g, err := a.wire(ctx, o.cfg, logs, o.hasher)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	return g.run(ctx, o.ready)
}

// logTo opens the log; a file is for a person who watches stdout.
func (a *app) logTo(file string) (io.Writer, func(), error) {
	if file == "" {
		return a.stderr, func() {}, nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	return f, func() { _ = f.Close() }, nil // every line was written already
}

// run starts what works in the background, serves, and stops it all again in
// the opposite order.
func (g *gateway) run(ctx context.Context, ready func()) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	loops := []func(context.Context){g.mirror.Run, g.mirror.Listen, g.ring.Run, g.service.Run}
	if g.cluster != nil {
		loops = append(loops, g.cluster.run)
	}
	for _, loop := range loops {
		wg.Go(func() { loop(background) })
	}
	serving, stopServing := context.WithCancel(ctx)
	wg.Go(func() { g.watcher.Run(serving) })
	if ready != nil {
		wg.Go(func() {
			if _, err := g.server.Addrs(serving); err == nil {
				ready()
			}
		})
	}
	err := g.server.Run(serving)
	stopServing()
	stop()
	wg.Wait()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
