package server

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WatcherOptions configures a Watcher.
type WatcherOptions struct {
	// Files lists what the configuration was read from; asked again after
	// every reload.
	Files func() []string
	// Reload reads, validates and puts in force, or returns an error and
	// changes nothing. It is never called twice at a time.
	Reload   func(ctx context.Context) error
	Log      *slog.Logger
	Registry prometheus.Registerer
	Poll     time.Duration // between two looks at the content; 0 means 10 s
	Debounce time.Duration // of quiet after an event; 0 means 200 ms
}

// Watcher reloads the configuration on SIGHUP and when a file changed.
type Watcher struct {
	o       WatcherOptions
	success prometheus.Gauge
	when    prometheus.Gauge
}

// NewWatcher makes a Watcher; the configuration in force counts as loaded.
func NewWatcher(o WatcherOptions) (*Watcher, error) {
	if o.Poll <= 0 {
		o.Poll = 10 * time.Second
	}
	if o.Debounce <= 0 {
		o.Debounce = 200 * time.Millisecond
	}
	w := &Watcher{o: o}
	var err error
	if w.success, err = register(o.Registry, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_config_last_reload_success", Help: "1 when the configuration in force is the newest one."})); err != nil {
		return nil, wrapf(err, "register reload metric")
	}
	if w.when, err = register(o.Registry, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was loaded."})); err != nil {
		return nil, wrapf(err, "register reload metric")
	}
	w.success.Set(1)
	w.when.SetToCurrentTime()
	return w, nil
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	asked := make(chan time.Time)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				select {
				case asked <- time.Now():
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	f := fileWatch{files: w.o.Files, poll: w.o.Poll, debounce: w.o.Debounce, log: w.o.Log, changed: func() { w.reload(ctx) }}
	f.run(ctx, asked)
	<-done
}

func (w *Watcher) reload(ctx context.Context) {
	if err := w.o.Reload(ctx); err != nil {
		w.o.Log.LogAttrs(ctx, slog.LevelError, "configuration was not reloaded; the old one stays in force", slog.Any("error", err))
		w.success.Set(0)
		return
	}
	w.success.Set(1)
	w.when.SetToCurrentTime()
	w.o.Log.LogAttrs(ctx, slog.LevelInfo, "configuration reloaded")
}
