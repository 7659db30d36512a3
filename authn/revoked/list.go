package revoked

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"gatehouse/store"
)

const shards = 32

// list holds the entries of one kind, sharded so that a reader seldom meets
// the writer. Of a key it keeps 128 bits of hash under seeds of this process:
// should two keys ever share them, one is refused too much, and none too
// little.
type list struct {
	seeds [2]maphash.Seed
	n     atomic.Int64 // entries; most lists are empty most of the time
	parts [shards]part
}

type part struct {
	mu      sync.RWMutex
	entries map[digest]value
}

type digest [2]uint64

// value is what is kept of an entry, in 32 bits each: a million of them live in
// memory. A number too large for that is kept as the largest, which refuses
// more, and longer.
type value struct{ generation, expires uint32 }

func narrow(n int64) uint32 { return uint32(max(0, min(n, math.MaxUint32))) } //#nosec G115 -- bounded here

func (l *list) init() {
	for i := range l.seeds {
		l.seeds[i] = maphash.MakeSeed()
	}
	for i := range l.parts {
		l.parts[i].entries = map[digest]value{}
	}
}

func (l *list) find(key string) (*part, digest) {
	d := digest{maphash.String(l.seeds[0], key), maphash.String(l.seeds[1], key)}
	return &l.parts[d[0]%shards], d
}

// add keeps the strictest of what is known of a key, and reports whether it
// refuses more than before.
func (l *list) add(e store.Revocation) bool {
	p, d := l.find(e.Key)
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.entries[d]
	generation := narrow(e.Generation)
	p.entries[d] = value{max(old.generation, generation), max(old.expires, narrow(e.Expires.Unix()))}
	if !known {
		l.n.Add(1)
	}
	return !known || generation > old.generation
}

func (l *list) has(key string) bool {
	_, ok := l.generation(key)
	return ok
}

// generation is the first one of a user that is good again.
func (l *list) generation(key string) (int64, bool) {
	if l.n.Load() == 0 {
		return 0, false
	}
	p, d := l.find(key)
	p.mu.RLock()
	v, ok := p.entries[d]
	p.mu.RUnlock()
	return int64(v.generation), ok
}

// drop forgets what expired before a Unix time. What expires never, or later
// than 32 bits can say, stays.
func (l *list) drop(before int64) {
	for i := range l.parts {
		p := &l.parts[i]
		p.mu.Lock()
		for k, v := range p.entries {
			if int64(v.expires) < before && v.expires != math.MaxUint32 {
				delete(p.entries, k)
				l.n.Add(-1)
			}
		}
		p.mu.Unlock()
	}
}

func (l *list) len() int { return int(l.n.Load()) }
