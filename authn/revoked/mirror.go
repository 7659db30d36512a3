// Package revoked mirrors the store's revocation list in memory, so that every
// request can be checked without asking anybody. It decides whether an identity
// is revoked and whether it still knows that; it refuses to know why something
// was revoked and what happens next.
package revoked

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/identity"
	"gatehouse/store"
)

// The feed's clockwork.
const (
	pollEvery = 250 * time.Millisecond // another process revokes too, and its second is short
	staleAt   = 2 * time.Second        // without a successful poll, the mirror no longer vouches
	page      = 5000                   // entries per read
	// window is how far behind the newest entry each poll starts to read: a
	// database that runs transactions side by side may publish a lower
	// sequence number after a higher one.
	window = 200
)

// Mirror is the list in memory. It is safe for concurrent use.
type Mirror struct {
	src    store.Revocations
	margin time.Duration
	log    *slog.Logger
	now    func() time.Time

	bell Bell          // nil while there is one instance
	wake chan struct{} // asks Run to poll now

	polling sync.Mutex // one poll at a time
	mu      sync.Mutex // guards what follows; never held while waiting
	epoch   string
	head    int64                      // up to here the list was read; the bell may have brought more
	recent  map[int64]store.Revocation // entries after head less the window, by number

	lists   [store.KindKey + 1]list
	fresh   atomic.Int64 // monotonic nanoseconds of the last successful poll, since start
	start   time.Time    // carries the monotonic clock
	started time.Time    // wall clock at start
	watch   atomic.Pointer[[]func(store.Revocation)]
	metrics atomic.Pointer[metrics]
}

// New makes an empty mirror of a list, which SetSource may name later. margin is
// added to each entry's expiry before it is forgotten; it covers leeway and
// clocks that differ.
func New(src store.Revocations, margin time.Duration, log *slog.Logger, now func() time.Time) *Mirror {
	m := &Mirror{src: src, margin: margin, log: log, now: now, recent: map[int64]store.Revocation{}, wake: make(chan struct{}, 1), start: time.Now(), started: now()}
	for i := range m.lists {
		m.lists[i].init()
	}
	m.fresh.Store(-int64(staleAt) * 2)
	return m
}

// OnRevoke adds a callback that is told of every new entry, once, after it is
// in force here. It must not block. Call it before Load.
func (m *Mirror) OnRevoke(f func(store.Revocation)) {
	var all []func(store.Revocation)
	if old := m.watch.Load(); old != nil {
		all = append(all, *old...)
	}
	all = append(all, f)
	m.watch.Store(&all)
}

// Load reads the whole list. Nothing may be accepted before it has returned
// nil (threat T96).
func (m *Mirror) Load(ctx context.Context) error {
	if err := m.Sync(ctx); err != nil {
		return fmt.Errorf("load revocations: %w", err)
	}
	return nil
}

// Sync brings the mirror up to date now, and tells the other instances what it
// found. Whoever has made a revocation durable calls it before answering, so
// that this instance refuses from then on.
func (m *Mirror) Sync(ctx context.Context) error {
	p, err := m.poll(ctx)
	if err != nil {
		return err
	}
	m.ring(ctx, p.epoch, p.found)
	return nil
}

// Run polls, also when it is asked to, and drops what has expired, until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		case <-m.wake:
		}
		limited, cancel := context.WithTimeout(ctx, staleAt)
		err := m.Sync(limited)
		cancel()
		if err != nil && ctx.Err() == nil {
			m.log.LogAttrs(ctx, slog.LevelError, "the revocation list could not be read", slog.Duration("age", m.Age()), slog.Any("error", err))
		}
		if n%int(time.Minute/pollEvery) == 0 {
			m.drop()
		}
	}
}

// drop forgets entries that are expired by the whole margin on two clocks: the
// wall, and the time of the start plus what has passed since. A wall clock that
// jumps ahead and back again drops nothing early, so that no revoked token comes
// back (fault F-C1).
func (m *Mirror) drop() {
	before := m.now()
	if steady := m.started.Add(time.Since(m.start)); steady.Before(before) {
		before = steady
	}
	for i := range m.lists {
		m.lists[i].drop(before.Add(-m.margin).Unix())
	}
}

// Revoked reports whether a genuine token, its session, an older generation of
// its user, or the key that signed it has been revoked. It does not allocate.
func (m *Mirror) Revoked(id *identity.Identity, kid string) bool {
	if m.lists[store.KindSession].has(id.Session) || m.lists[store.KindToken].has(id.TokenID) || m.lists[store.KindKey].has(kid) {
		return true
	}
	generation, ok := m.lists[store.KindUser].generation(id.Subject)
	return ok && id.Generation < generation
}

// Age is the time since the list was last known to be complete.
func (m *Mirror) Age() time.Duration { return time.Since(m.start) - time.Duration(m.fresh.Load()) }

// Stale reports whether the mirror can no longer vouch for anybody.
func (m *Mirror) Stale() bool { return m.Age() > staleAt }

// Len is the number of entries held.
func (m *Mirror) Len() int {
	n := 0
	for i := range m.lists {
		n += m.lists[i].len()
	}
	return n
}
