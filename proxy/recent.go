package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/identity"
)

// revokedBy says what a revocation names.
type revokedBy uint8

const (
	ofSession revokedBy = iota
	ofUser
	ofToken
	ofKey
)

// revocation is one call of CloseSession, CloseUser, CloseToken or CloseKey.
type revocation struct {
	kind       revokedBy
	key        string
	generation int64 // of a user: the first that is good again
}

// hits reports whether the revocation means a stream of id.
func (r revocation) hits(id *identity.Identity) bool {
	switch {
	case id == nil:
		return false
	case r.kind == ofUser:
		return r.key == id.Subject && id.Generation < r.generation
	case r.kind == ofToken:
		return r.key == id.TokenID
	case r.kind == ofKey:
		return r.key == id.KeyID
	default:
		return r.key == id.Session
	}
}

// recentFor is how long a revocation is remembered at least; twice as long at
// the most.
const recentFor = 10 * time.Second

// recent remembers the last revocations. One may fall between a request's check
// and its registration, and has to end it all the same. A million of them cost a
// request no more than one.
type recent struct {
	now   func() time.Time
	some  atomic.Bool // false spares a request the lock
	mu    sync.Mutex
	began time.Time // of the current period
	known [2]map[named]int64
}

type named struct {
	kind revokedBy
	key  string
}

func (r *recent) add(v revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	if r.known[0] == nil {
		r.known[0] = map[named]int64{}
		r.began = r.now()
		r.some.Store(true)
	}
	name := named{v.kind, v.key}
	r.known[0][name] = max(r.known[0][name], v.generation)
}

func (r *recent) hits(id *identity.Identity) bool {
	if id == nil || !r.some.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	for _, name := range [...]named{{ofSession, id.Session}, {ofUser, id.Subject}, {ofToken, id.TokenID}, {ofKey, id.KeyID}} {
		for _, known := range r.known {
			if generation, ok := known[name]; ok && (name.kind != ofUser || id.Generation < generation) {
				return true
			}
		}
	}
	return false
}

// turn begins another period and forgets the one before the last; the caller
// holds mu.
func (r *recent) turn() {
	switch age := r.now().Sub(r.began); {
	case age < recentFor:
	case age < 2*recentFor:
		r.known[1], r.known[0] = r.known[0], nil
		r.began = r.began.Add(recentFor)
	default:
		r.known = [2]map[named]int64{}
	}
	r.some.Store(r.known[0] != nil || r.known[1] != nil)
}
