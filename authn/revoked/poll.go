package revoked

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"gatehouse/store"
)

// polled is what one poll did.
type polled struct {
	epoch string
	whole bool               // the list was read from its start; nothing of it is news
	found []store.Revocation // refused from now on, and not before
	known map[int64]store.Revocation
}

// poll reads the list from the window behind what was read before.
func (m *Mirror) poll(ctx context.Context) (polled, error) {
	m.polling.Lock()
	defer m.polling.Unlock()
	asked := time.Since(m.start)
	p, err := m.readAll(ctx, m.src)
	if err != nil {
		return p, err
	}
	if err := m.restore(ctx, p.known); err != nil {
		return p, err
	}
	m.fresh.Store(int64(asked))
	return p, nil
}

// readAll puts all pages in force, the store reading on while a page is.
func (m *Mirror) readAll(ctx context.Context, src store.Revocations) (polled, error) {
	after, p := m.begin()
	got := read(ctx, src, after)
	for {
		if got.err != nil {
			return p, fmt.Errorf("read revocations: %w", got.err)
		}
		if m.replaced(ctx, got.epoch, &p) {
			got = read(ctx, src, 0)
			continue
		}
		if len(got.entries) < page {
			m.takeAll(got.entries, &p)
			return p, nil
		}
		ahead := make(chan batch, 1)
		go func(after int64) { ahead <- read(ctx, src, after) }(got.entries[len(got.entries)-1].Seq)
		m.takeAll(got.entries, &p)
		got = <-ahead
	}
}

func (m *Mirror) begin() (after int64, p polled) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.head-window, 0), polled{known: maps.Clone(m.recent)}
}

// replaced reports whether the list must be read again from its start, because
// it is another one.
func (m *Mirror) replaced(ctx context.Context, epoch string, p *polled) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.epoch = epoch
	if epoch == m.epoch {
		return false
	}
	if m.epoch != "" {
		m.log.LogAttrs(ctx, slog.LevelWarn, "the revocation list was replaced; reading it from the start and keeping what is known")
	}
	again := m.head > 0
	m.epoch, m.head, m.recent = epoch, 0, map[int64]store.Revocation{}
	p.whole, p.known, p.found = true, nil, nil
	return again
}

// batch is one page of the store's list.
type batch struct {
	entries []store.Revocation
	epoch   string
	err     error
}

func read(ctx context.Context, src store.Revocations, after int64) batch {
	entries, epoch, err := src.Since(ctx, after, page)
	return batch{entries, epoch, err}
}

// takeAll puts a page in force.
func (m *Mirror) takeAll(entries []store.Revocation, p *polled) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := int64(0) // what is not read again; of a long list nearly all
	if n := len(entries); n > 0 {
		old = entries[n-1].Seq - window
	}
	for _, e := range entries {
		delete(p.known, e.Seq)
		take := m.take
		if e.Seq <= old {
			take = m.force
		}
		if take(e) && !p.whole {
			p.found = append(p.found, e)
		}
		m.head = max(m.head, e.Seq)
	}
	for seq := range m.recent {
		if seq <= m.head-window {
			delete(m.recent, seq)
		}
	}
}

// take puts one entry in force, once, and reports whether it refuses more than
// before. The caller holds mu.
func (m *Mirror) take(e store.Revocation) bool {
	if _, known := m.recent[e.Seq]; known || int(e.Kind) >= len(m.lists) {
		return false
	}
	kept := e
	kept.Key = strings.Clone(e.Key) // it may be part of a whole page's text
	m.recent[e.Seq] = kept
	return m.force(e)
}

// force is take without remembering the number.
func (m *Mirror) force(e store.Revocation) bool {
	if int(e.Kind) >= len(m.lists) || !m.lists[e.Kind].add(e) {
		return false // of a kind to come, or known already, as after a change of epoch
	}
	if mt := m.metrics.Load(); mt != nil {
		mt.took(e, m.now)
	}
	if watch := m.watch.Load(); watch != nil {
		for _, f := range *watch {
			f(e)
		}
	}
	return true
}

// restore writes again what the list has lost: entries that were in it, or that
// another instance told of, and are not there any more although they have not
// expired. A database that failed over to a copy lagging behind loses the last
// of what it acknowledged; the instances still know it.
func (m *Mirror) restore(ctx context.Context, missing map[int64]store.Revocation) error {
	now := m.now()
	var lost []store.Revocation
	for _, e := range missing {
		if e.Expires.After(now) {
			lost = append(lost, e)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	m.log.LogAttrs(ctx, slog.LevelError, "the revocation list has lost entries; writing them again", slog.Int("entries", len(lost)))
	if err := m.src.Revoke(ctx, lost...); err != nil {
		return fmt.Errorf("write lost revocations again: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.head, m.recent = 0, map[int64]store.Revocation{} // numbers may be given anew: read from the start once
	return nil
}
