package upstream

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// When an address is set aside, and for how long.
const (
	tolerated = 3 // connects that may fail in a row when there is no other address
	firstWait = 100 * time.Millisecond
	maxWait   = time.Second
)

// failed counts a connect that failed. After enough of them the address is set
// aside, for longer each time: requests fail at once instead of queueing for
// what does not answer (fault F-U1).
func (g *Group) failed(a *address) {
	n := a.failures.Add(1)
	if n >= tolerated || len(g.addrs) > 1 {
		wait := min(firstWait<<min(n-1, 8), maxWait)
		a.retryAt.Store(g.o.Now().Add(wait).UnixNano())
	}
	if n == 1 {
		g.tell(a, false)
	}
}

// connected ends the time aside.
func (g *Group) connected(a *address) {
	if a.failures.Load() != 0 && a.failures.Swap(0) != 0 {
		a.retryAt.Store(0)
		g.tell(a, !a.sick.Load())
	}
}

func (g *Group) tell(a *address, up bool) {
	if g.o.OnHealth != nil {
		g.o.OnHealth(a.url.Raw, up)
	}
}

// claim reports whether an address may be used. The first request after its
// time aside is its trial; the others have to wait for how that ends.
func (a *address) claim(now time.Time, trial time.Duration) bool {
	at := a.retryAt.Load()
	return at == 0 || at <= now.UnixNano() && a.retryAt.CompareAndSwap(at, now.Add(trial).UnixNano())
}

// choose picks an address that is up and was not tried for this request.
func (g *Group) choose(affinity string, tried []*address) (*address, error) {
	if a := g.addrs[0]; len(g.addrs) == 1 && len(tried) == 0 && !a.sick.Load() && a.retryAt.Load() == 0 {
		return a, nil
	}
	now := g.o.Now()
	var up []*address
	err := ErrNoUpstream
	for _, a := range g.addrs {
		if slices.Contains(tried, a) || a.sick.Load() {
			continue
		}
		if a.retryAt.Load() > now.UnixNano() {
			err = fmt.Errorf("%w: set aside after failed attempts", ErrConnect)
			continue
		}
		up = append(up, a)
	}
	for len(up) > 0 {
		a := g.pick(affinity, up)
		if a.claim(now, g.o.Timeout.Connect) {
			return a, nil
		}
		err = fmt.Errorf("%w: set aside after failed attempts", ErrConnect)
		up = slices.DeleteFunc(up, func(b *address) bool { return a == b })
	}
	return nil, err
}

func (g *Group) pick(affinity string, up []*address) *address {
	switch {
	case affinity != "" && (g.o.Sticky || g.o.Balance == "hash_user"):
		return rendezvous(up, affinity)
	case g.o.Balance == "round_robin":
		return up[g.next.Add(1)%uint64(len(up))]
	}
	best := up[g.next.Add(1)%uint64(len(up))] // ties go round
	for _, a := range up {
		if a.inFlight.Load() < best.inFlight.Load() {
			best = a
		}
	}
	return best
}

// rendezvous gives a key the same address as long as it is up, and moves only
// the keys of an address that is not (highest random weight).
func rendezvous(up []*address, key string) *address {
	var best *address
	var top uint64
	for _, a := range up {
		h := fnv.New64a()
		_, _ = h.Write([]byte(key + "\x00" + a.url.Raw)) // never fails
		if sum := h.Sum64(); best == nil || sum > top {
			best, top = a, sum
		}
	}
	return best
}
