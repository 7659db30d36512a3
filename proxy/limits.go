package proxy

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"gatehouse/config"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the memory of one limit. Whoever was refused is forgotten
// last: else a flood of other addresses would reset an attacker's own count
// (T100, CVE-2024-21662).
const maxBuckets = 1 << 16

// limits are the guards on proxied traffic, by network and by user; each is off
// without a rate. An IPv6 caller has two networks: its /64, and the /48 around
// it at eight times the rate, since many providers give one customer all of that
// (threat T101).
type limits struct {
	ip   buckets[netip.Addr]
	wide buckets[netip.Addr]
	user buckets[string]
}

func newLimits() *limits { return &limits{} }

func (l *limits) configure(cfg config.Limits) {
	wide := cfg.RequestsIP
	wide.Count *= 8
	l.ip.configure(cfg.RequestsIP)
	l.wide.configure(wide)
	l.user.configure(cfg.RequestsUser)
}

// takeIP reports how long an address has to wait; 0 lets it pass.
func (l *limits) takeIP(a netip.Addr, now time.Time) time.Duration {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return l.ip.take(a, now)
	}
	if wait := l.ip.take(prefix(a, 64), now); wait > 0 {
		return wait
	}
	return l.wide.take(prefix(a, 48), now)
}

func prefix(a netip.Addr, bits int) netip.Addr {
	p, err := a.Prefix(bits)
	if err != nil { // no address has fewer bits
		return a
	}
	return p.Addr()
}

// buckets is a bounded map of token buckets.
type buckets[K comparable] struct {
	mu      sync.Mutex
	rate    config.Rate
	byKey   map[K]*list.Element
	calm    *list.List // never refused since they were last full; front is the most recent
	refused *list.List // front is the one refused last
}

type bucket[K comparable] struct {
	key     K
	limiter *rate.Limiter
	in      *list.List
}

// configure starts over when the rate changed.
func (b *buckets[K]) configure(r config.Rate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byKey != nil && b.rate == r {
		return
	}
	b.rate, b.byKey, b.calm, b.refused = r, map[K]*list.Element{}, list.New(), list.New()
}

// take reports how long the caller has to wait; 0 lets it pass.
func (b *buckets[K]) take(key K, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate.IsZero() || b.rate.Per <= 0 {
		return 0
	}
	e := b.byKey[key]
	if e == nil {
		if len(b.byKey) >= maxBuckets {
			b.forgetOne(now)
		}
		every := rate.Limit(float64(b.rate.Count) / b.rate.Per.Seconds())
		e = b.calm.PushFront(&bucket[K]{key, rate.NewLimiter(every, b.rate.Count), b.calm})
		b.byKey[key] = e
	}
	k := e.Value.(*bucket[K])
	full := k.limiter.TokensAt(now) >= float64(b.rate.Count)
	res := k.limiter.ReserveN(now, 1)
	wait := res.DelayFrom(now)
	if wait > 0 {
		res.CancelAt(now)
	}
	switch {
	case wait > 0:
		b.move(e, b.refused)
	case k.in == b.refused && !full:
		// Its last refusal still says how dangerous it is.
	default:
		b.move(e, b.calm)
	}
	return wait
}

// move puts a bucket at the front of a list.
func (b *buckets[K]) move(e *list.Element, to *list.List) {
	k := e.Value.(*bucket[K])
	if k.in == to {
		to.MoveToFront(e)
		return
	}
	k.in.Remove(e)
	k.in = to
	b.byKey[k.key] = to.PushFront(k)
}

// forgetOne makes room: for a refused one only when it is full again, or when
// there is nobody else.
func (b *buckets[K]) forgetOne(now time.Time) {
	e := b.refused.Back()
	if e == nil || b.calm.Len() > 0 && e.Value.(*bucket[K]).limiter.TokensAt(now) < float64(b.rate.Count) {
		e = b.calm.Back()
	}
	k := e.Value.(*bucket[K])
	k.in.Remove(e)
	delete(b.byKey, k.key)
}
