package server

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// fileWatch calls changed when the content of one of the files is another one.
// It watches directories, since editors and Kubernetes replace files by
// renaming, waits until writing has paused, and looks by itself now and then
// for file systems that tell nothing.
type fileWatch struct {
	files    func() []string
	poll     time.Duration
	debounce time.Duration
	changed  func()
	log      *slog.Logger
}

// run watches until ctx ends; a value on also calls changed in any case.
func (f *fileWatch) run(ctx context.Context, also <-chan time.Time) {
	var events <-chan fsnotify.Event
	var fails <-chan error
	w, err := fsnotify.NewWatcher()
	if err != nil {
		f.log.LogAttrs(ctx, slog.LevelWarn, "files cannot be watched; they are polled", slog.Any("error", err))
	} else {
		defer w.Close() //nolint:errcheck // nothing follows
		events, fails = w.Events, w.Errors
	}
	watched := map[string]bool{}
	last := f.sums(w, watched)
	poll := time.NewTicker(f.poll)
	defer poll.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	take := func(now sums) {
		f.changed()
		// What changed may include the list of files. Of those known before, the
		// sum from before counts: one may have changed again while it was read.
		last = f.sums(w, watched)
		for name := range last {
			if sum, known := now[name]; known {
				last[name] = sum
			}
		}
	}
	look := func() {
		if now := f.sums(w, watched); !maps.Equal(now, last) {
			take(now)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			quiet.Reset(f.debounce)
		case <-fails: // an overflow loses events; the poll finds what they were about
		case <-quiet.C:
			look()
		case <-poll.C:
			look()
		case <-also:
			take(f.sums(w, watched))
		}
	}
}

// sums are hashes of contents, by name.
type sums map[string][sha256.Size]byte

// sums hashes every file, and watches directories it has not met.
func (f *fileWatch) sums(w *fsnotify.Watcher, watched map[string]bool) sums {
	now := sums{}
	for _, name := range f.files() {
		if dir := filepath.Dir(name); w != nil && !watched[dir] && w.Add(dir) == nil {
			watched[dir] = true
		}
		data, err := os.ReadFile(name)
		if err != nil {
			data = []byte("\x00unreadable")
		}
		now[name] = sha256.Sum256(data)
	}
	return now
}
