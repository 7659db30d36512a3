package proxy

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/identity"
)

// WebSocket close codes (RFC 6455 section 7.4.1).
const (
	closeGoingAway = 1001
	closePolicy    = 1008
)

// Causes for which the gateway itself ends an exchange.
var (
	errRevoked   = errors.New("session revoked")
	errDraining  = errors.New("gateway is stopping")
	errIdle      = errors.New("no progress")
	errSessionUp = errors.New("session reached its end")
)

const streamShards = 64

// Streams knows every exchange that is still running, by the session, the
// user's generation, the token and the key that token was signed with, so that
// a revocation ends WebSockets, event streams, uploads and downloads too
// (threats T132 to T134).
type Streams struct {
	seed   maphash.Seed
	shards [streamShards]streamShard
	recent recent
	spread atomic.Uint64 // gives those without a session a shard
	looks  atomic.Bool   // somebody looks at what runs, or will
}

// Each exchange is asked this often whether it is over time, but one of so many
// parts of the time is enough for all that.
const (
	lookEvery = 100 * time.Millisecond
	lookPart  = 20
)

type streamShard struct {
	mu   sync.Mutex
	head *stream
	_    [48]byte // keeps neighbours off one cache line
}

// stream is one exchange.
type stream struct {
	id         *identity.Identity // nil for an anonymous caller
	exchange   watched
	endless    atomic.Bool // a WebSocket or an event stream: nobody can wait for its end
	shard      *streamShard
	prev, next *stream
}

// watched is an exchange as Streams knows it, from add to done. Both methods
// are called from any goroutine, and must not block.
type watched interface {
	stop(code int, cause error) // ends it; called at most a few times
	look(clock, now time.Time)  // stops it if it is over time; now is by the proxy's clock
}

func newStreams(now func() time.Time) *Streams {
	return &Streams{seed: maphash.MakeSeed(), recent: recent{now: now}}
}

// add registers a stream; done must be called once.
func (s *Streams) add(st *stream) {
	if st.id != nil && st.id.Session != "" {
		st.shard = s.shardOf(st.id.Session)
	} else {
		st.shard = &s.shards[s.spread.Add(1)%streamShards]
	}
	sh := st.shard
	sh.mu.Lock()
	st.next = sh.head
	if sh.head != nil {
		sh.head.prev = st
	}
	sh.head = st
	sh.mu.Unlock()
	if s.recent.hits(st.id) {
		st.exchange.stop(closePolicy, errRevoked)
	}
	s.lookLater()
}

// lookLater has all exchanges looked at in a while, unless that is so already.
// A timer for each would cost a hundredth of a short request.
func (s *Streams) lookLater() {
	if !s.looks.Load() && !s.looks.Swap(true) {
		time.AfterFunc(lookEvery, s.look)
	}
}

// look asks every exchange, and comes again while there are any.
func (s *Streams) look() {
	began, now := time.Now(), s.recent.now()
	some := false
	for i := range s.shards {
		some = s.shards[i].look(began, now) || some
	}
	if some {
		time.AfterFunc(max(lookEvery, lookPart*time.Since(began)), s.look)
		return
	}
	s.looks.Store(false)
	if s.Len() > 0 { // added meanwhile, when somebody still looked
		s.lookLater()
	}
}

// look reports whether there are any.
func (sh *streamShard) look(clock, now time.Time) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for st := sh.head; st != nil; st = st.next {
		st.exchange.look(clock, now)
	}
	return sh.head != nil
}

func (s *Streams) shardOf(session string) *streamShard {
	return &s.shards[maphash.String(s.seed, session)%streamShards]
}

// done forgets a stream: nobody calls it any more.
func (s *Streams) done(st *stream) {
	sh := st.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if st.prev != nil {
		st.prev.next = st.next
	} else {
		sh.head = st.next
	}
	if st.next != nil {
		st.next.prev = st.prev
	}
	st.prev, st.next = nil, nil
}

func (s *Streams) close(r revocation) {
	if r.key == "" {
		return
	}
	s.recent.add(r)
	if r.kind == ofSession {
		closeIn(s.shardOf(r.key), closePolicy, errRevoked, func(st *stream) bool { return r.hits(st.id) })
		return
	}
	for i := range s.shards {
		closeIn(&s.shards[i], closePolicy, errRevoked, func(st *stream) bool { return r.hits(st.id) })
	}
}

func closeIn(sh *streamShard, code int, cause error, hit func(*stream) bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for st := sh.head; st != nil; st = st.next {
		if hit(st) {
			st.exchange.stop(code, cause)
		}
	}
}

// CloseSession ends everything that runs under a session.
func (s *Streams) CloseSession(sid string) { s.close(revocation{kind: ofSession, key: sid}) }

// CloseUser ends everything of a user that began under a generation older
// than the given one, the first that is good again.
func (s *Streams) CloseUser(sub string, generation int64) {
	s.close(revocation{kind: ofUser, key: sub, generation: generation})
}

// CloseToken ends everything that one access token began.
func (s *Streams) CloseToken(jti string) { s.close(revocation{kind: ofToken, key: jti}) }

// CloseKey ends everything that began with a token this key had signed.
func (s *Streams) CloseKey(kid string) { s.close(revocation{kind: ofKey, key: kid}) }

// CloseAll ends every stream; WebSockets get the close code.
func (s *Streams) CloseAll(code int) {
	for i := range s.shards {
		closeIn(&s.shards[i], code, errDraining, func(*stream) bool { return true })
	}
}

// Len counts the streams.
func (s *Streams) Len() int { return s.count(func(*stream) bool { return true }) }

func (s *Streams) count(hit func(*stream) bool) int {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for st := sh.head; st != nil; st = st.next {
			if hit(st) {
				n++
			}
		}
		sh.mu.Unlock()
	}
	return n
}

// drain ends WebSockets, with 1001, and event streams, whose clients connect
// again by themselves, and waits until they are gone or ctx ends. Other
// exchanges are left to finish: the server waits for them.
func (s *Streams) drain(ctx context.Context) {
	endless := func(st *stream) bool { return st.endless.Load() }
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for i := range s.shards {
			closeIn(&s.shards[i], closeGoingAway, errDraining, endless)
		}
		if s.count(endless) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
