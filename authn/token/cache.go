package token

import (
	"hash/maphash"
	"sync"
	"time"
)

// entry is one verified token. It is immutable.
type entry struct {
	token    string
	from     time.Time
	until    time.Time
	verified Verified
}

const (
	cacheShards = 64
	shardSize   = 1024 // entries, so 65,536 in all: about 100 MiB at the most
)

// cache remembers tokens that verified. It is bounded; dropping an entry costs
// one signature check, so a full shard is simply emptied by half. Tokens are
// compared in full: a collision of hashes is not an identity.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]shard
}

type shard struct {
	mu      sync.RWMutex
	entries map[uint64]*entry
}

func newCache() *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = map[uint64]*entry{}
	}
	return c
}

func (c *cache) get(token string) *entry {
	h := maphash.String(c.seed, token)
	s := &c.shards[h%cacheShards]
	s.mu.RLock()
	e := s.entries[h]
	s.mu.RUnlock()
	if e == nil || e.token != token {
		return nil
	}
	return e
}

func (c *cache) put(e *entry) {
	h := maphash.String(c.seed, e.token)
	s := &c.shards[h%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= shardSize {
		drop := shardSize / 2
		for k := range s.entries { // map order is random enough
			delete(s.entries, k)
			if drop--; drop == 0 {
				break
			}
		}
	}
	s.entries[h] = e
}

func (c *cache) clear() {
	for i := range c.shards {
		c.shards[i].mu.Lock()
		clear(c.shards[i].entries)
		c.shards[i].mu.Unlock()
	}
}
