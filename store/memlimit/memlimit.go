// Package memlimit keeps store.Limiter in the memory of one process: what an
// instance counts by while the shared store of limits cannot be had. It decides
// which key is forgotten when there are too many.
package memlimit

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"gatehouse/store"
	"gatehouse/store/gcra"
)

// Limiter is bounded: beyond its size, the key that limits least is forgotten
// first, so that a flood of new keys cannot free one that is full (threat T100).
type Limiter struct {
	mu    sync.Mutex
	size  int
	byKey map[string]*entry
	least entries
}

var _ store.Limiter = (*Limiter)(nil)

// entry is a key and when it is unused again, Unix nanoseconds.
type entry struct {
	key string
	tat int64
	at  int // place in the heap
}

// New makes a limiter for size keys at most.
func New(size int) *Limiter { return &Limiter{size: size, byKey: map[string]*entry{}} }

// Take grants all claims or none.
func (l *Limiter) Take(_ context.Context, now time.Time, claims ...store.Claim) (store.Decision, error) {
	if err := gcra.Check(claims); err != nil {
		return store.Decision{Refused: -1}, fmt.Errorf("take: %w: %w", store.ErrUnavailable, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	tats := l.read(claims)
	d, _ := gcra.Decide(now.UnixNano(), claims, tats)
	l.store(tats, now.UnixNano())
	return d, nil
}

// Refund gives one unit of each claim back.
func (l *Limiter) Refund(_ context.Context, now time.Time, claims ...store.Claim) error {
	if err := gcra.Check(claims); err != nil {
		return fmt.Errorf("refund: %w: %w", store.ErrUnavailable, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	tats := l.read(claims)
	for _, c := range claims {
		r, _ := gcra.RateOf(c)
		tats[c.Key] = r.Sub(tats[c.Key], now.UnixNano())
	}
	l.store(tats, now.UnixNano())
	return nil
}

func (l *Limiter) read(claims []store.Claim) map[string]int64 {
	tats := make(map[string]int64, len(claims))
	for _, c := range claims {
		if e := l.byKey[c.Key]; e != nil {
			tats[c.Key] = e.tat
		} else {
			tats[c.Key] = 0
		}
	}
	return tats
}

func (l *Limiter) store(tats map[string]int64, now int64) {
	for key, tat := range tats {
		e := l.byKey[key]
		switch {
		case tat <= now:
			l.forget(key)
		case e != nil:
			e.tat = tat
			heap.Fix(&l.least, e.at)
		default:
			e = &entry{key: key, tat: tat}
			l.byKey[key] = e
			heap.Push(&l.least, e)
		}
	}
	for len(l.least) > l.size {
		l.forget(l.least[0].key)
	}
}

func (l *Limiter) forget(key string) {
	if e := l.byKey[key]; e != nil {
		heap.Remove(&l.least, e.at)
		delete(l.byKey, key)
	}
}

// Reset forgets the keys.
func (l *Limiter) Reset(_ context.Context, keys ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.forget(k)
	}
	return nil
}

// Purge forgets keys that no longer limit anybody.
func (l *Limiter) Purge(_ context.Context, now time.Time) (n int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; len(l.least) > 0 && l.least[0].tat <= now.UnixNano(); n++ {
		l.forget(l.least[0].key)
	}
	return n, nil
}

// entries is a heap with the key that limits least on top.
type entries []*entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].tat < h[j].tat }
func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is for package heap.
func (h *entries) Push(x any) {
	e, _ := x.(*entry) // nothing else is pushed
	e.at = len(*h)
	*h = append(*h, e)
}

// Pop is for package heap.
func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}
