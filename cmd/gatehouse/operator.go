package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/term"

	"gatehouse/authn"
	"gatehouse/server"
)

// admin opens the store for one command and closes it again. It works beside a
// running gateway, which follows the store.
func (a *app) admin(ctx context.Context, do func(*authn.Admin, *accounts) error) (err error) {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	logs, err := server.NewLogs(a.stderr, "text", "warn")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	log := logs.Log
	if cfg.Log.AuditFile == "" { // the gateway's log is not ours to write to
		log = commandLog(a.stderr, isTerminal(a.stderr))
	}
	acc, err := openAccounts(ctx, cfg, log, prometheus.NewRegistry(), opening{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, acc.close()) }()
	err = do(authn.NewAdmin(acc.service), acc)
	if errors.Is(err, authn.ErrInput) {
		return usageError{err}
	}
	return err
}

// commandLog is where a command's events go without an audit file: to standard
// error, which a script or a service manager keeps. A person at a terminal is
// shown what went wrong, and reads the outcome on standard output.
func commandLog(w io.Writer, person bool) *slog.Logger {
	h := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})
	if person {
		return slog.New(warnings{h})
	}
	return slog.New(h)
}

// warnings drops what is no warning, also what is given to it unasked.
type warnings struct{ slog.Handler }

// Handle implements slog.Handler.
func (h warnings) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h warnings) WithGroup(name string) slog.Handler { return warnings{h.Handler.WithGroup(name)} }

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //#nosec G115 -- a file descriptor fits
}
