package wire

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Conns are the connections a server serves. It is safe for concurrent use; the
// zero value has none.
type Conns[C comparable] struct {
	closing atomic.Bool
	mu      sync.Mutex
	all     map[C]struct{}
}

// Add reports false when no more are taken.
func (s *Conns[C]) Add(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.all == nil {
		s.all = map[C]struct{}{}
	}
	s.all[c] = struct{}{}
	return true
}

// Remove forgets one.
func (s *Conns[C]) Remove(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
}

// Each calls f for each. No other is added or removed meanwhile.
func (s *Conns[C]) Each(f func(C)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		f(c)
	}
}

// Closing reports whether no more are taken.
func (s *Conns[C]) Closing() bool { return s.closing.Load() }

// Close takes no more.
func (s *Conns[C]) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
}

// drainEvery is how often those that are left are asked to go.
const drainEvery = 10 * time.Millisecond

// Drain takes no more, and asks each to go, again and again, until none is left
// or ctx ends, whose error it returns then.
func (s *Conns[C]) Drain(ctx context.Context, ask func(C)) error {
	s.Close()
	t := time.NewTicker(drainEvery)
	defer t.Stop()
	for {
		s.Each(ask)
		s.mu.Lock()
		left := len(s.all)
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
