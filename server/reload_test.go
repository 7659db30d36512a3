package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// watched runs a Watcher over one file.
type watched struct {
	file    string
	reloads chan string // what the file held at each reload
	reg     *prometheus.Registry
	log     *lines
}

func watch(t *testing.T, poll time.Duration) *watched {
	t.Helper()
	w := &watched{file: filepath.Join(t.TempDir(), "gatehouse.yaml"), reloads: make(chan string, 16), reg: prometheus.NewRegistry(), log: &lines{}}
	w.write(t, "one")
	r, err := NewWatcher(WatcherOptions{
		Files: func() []string { return []string{w.file} }, Log: slog.New(slog.NewJSONHandler(w.log, nil)), Registry: w.reg,
		Poll: poll, Debounce: 20 * time.Millisecond,
		Reload: func(context.Context) error {
			b, err := os.ReadFile(w.file)
			if err != nil {
				return err
			}
			w.reloads <- string(b)
			if strings.HasPrefix(string(b), "bad") {
				return errors.New("does not parse")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// write replaces the file as editors do.
func (w *watched) write(t *testing.T, text string) {
	t.Helper()
	tmp := w.file + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, w.file); err != nil {
		t.Fatal(err)
	}
}

func (w *watched) success(t *testing.T) float64 {
	t.Helper()
	all, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "gatehouse_config_last_reload_success" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric")
	return 0
}

func (w *watched) expect(t *testing.T, want string, success float64) {
	t.Helper()
	select {
	case got := <-w.reloads:
		if got != want {
			t.Fatalf("reloaded %q, want %q", got, want)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("no reload of %q", want)
	}
	eventually(t, "the metric follows", func() bool { return w.success(t) == success })
}

func TestReloadOnChangeAndSignal(t *testing.T) {
	// The file may change before the watch begins; the poll finds that.
	w := watch(t, 100*time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	if w.success(t) != 1 {
		t.Error("the first configuration does not count as loaded")
	}
	w.write(t, "two")
	w.expect(t, "two", 1)
	w.write(t, "bad")
	w.expect(t, "bad", 0)
	if len(w.log.records(t, "configuration was not reloaded; the old one stays in force")) != 1 {
		t.Error("the failure was not logged once")
	}
	w.write(t, "three")
	w.expect(t, "three", 1)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w.expect(t, "three", 1)
	w.write(t, "three") // same content
	time.Sleep(300 * time.Millisecond)
	select {
	case got := <-w.reloads:
		t.Errorf("reloaded %q although nothing changed", got)
	default:
	}
}

// A change that falls into the reload of the one before is not lost.
func TestReloadOfAChangeDuringAReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write("one")
	reads := make(chan string, 16)
	f := fileWatch{files: func() []string { return []string{file} }, poll: 20 * time.Millisecond, debounce: time.Millisecond, log: slog.New(slog.DiscardHandler),
		changed: func() {
			b, _ := os.ReadFile(file)
			if string(b) == "two" {
				write("three")
			}
			reads <- string(b)
		}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	asked := make(chan time.Time)
	go func() { defer close(done); f.run(ctx, asked) }()
	defer func() { cancel(); <-done }()
	write("two")
	asked <- time.Now()
	for _, want := range []string{"two", "three"} {
		select {
		case got := <-reads:
			if got != want {
				t.Fatalf("reloaded %q, want %q", got, want)
			}
		case <-time.After(15 * time.Second):
			t.Fatalf("no reload of %q", want)
		}
	}
}

func TestReloadByEventAlone(t *testing.T) {
	w := watch(t, time.Hour)
	// Until the watch is in place a change goes unseen: change until it is seen.
	eventually(t, "an event", func() bool {
		w.write(t, "x"+time.Now().String())
		select {
		case <-w.reloads:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
}

func TestReloadMetricsAreRegisteredOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		if _, err := NewWatcher(WatcherOptions{Registry: reg}); err != nil {
			t.Fatal(err)
		}
	}
	reg = prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_config_last_reload_success", Help: "Another."}))
	if _, err := NewWatcher(WatcherOptions{Registry: reg}); err == nil {
		t.Error("a conflicting metric is no error")
	}
}
