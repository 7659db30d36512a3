package token

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"
	"gatehouse/store"
)

// Ring holds the keys. It is safe for concurrent use; readers never wait.
type Ring struct {
	store       store.Keys
	cfg         config.Tokens
	sessionLife time.Duration
	log         *slog.Logger
	now         func() time.Time
	delay       time.Duration // see Share
	rotated     func(context.Context, string)

	load  sync.Mutex // one load or rotation at a time
	keys  atomic.Pointer[keySet]
	cache *cache
	stale chan struct{} // asks Run to load now
}

// keySet is one consistent view of the keys; it is replaced, never changed.
type keySet struct {
	signer  *key
	newest  time.Time       // when the key was made that signs, or will soon
	verify  map[string]*key // by kid
	refresh []byte          // derives successors of refresh tokens
	jwks    []byte
}

// NewRing makes an empty ring; Load fills it. maxLifetime is the absolute
// lifetime of a session, from which identity.Identity.SessionEnds is computed.
func NewRing(keys store.Keys, cfg config.Tokens, maxLifetime time.Duration, log *slog.Logger, now func() time.Time) (*Ring, error) {
	if _, err := method(cfg.Algorithm); err != nil {
		return nil, err
	}
	if cfg.Issuer == "" {
		return nil, errors.New("tokens.issuer is empty")
	}
	return &Ring{store: keys, cfg: cfg, sessionLife: maxLifetime, log: log, now: now, cache: newCache(), stale: make(chan struct{}, 1),
		rotated: func(context.Context, string) {}}, nil
}

// Share tells the ring that other instances use the same keys: a new one signs
// only after all have had the time to read it. Call it before Load.
func (r *Ring) Share() { r.delay = 5 * time.Second }

// OnRotate has f told of every signing key the ring makes of its own accord in
// place of another. Call it before Load.
func (r *Ring) OnRotate(f func(ctx context.Context, kid string)) { r.rotated = f }

// window is how long a replaced key goes on verifying: until the last token it
// signed has expired everywhere.
func (r *Ring) window() time.Duration { return maxLifetime + r.cfg.Leeway + time.Minute }

// Load reads the keys, and makes them on the first start. Several instances
// that start together agree on the same ones.
func (r *Ring) Load(ctx context.Context) error {
	r.load.Lock()
	defer r.load.Unlock()
	return r.reload(ctx)
}

func (r *Ring) reload(ctx context.Context) error {
	set, err := r.read(ctx)
	if err == nil && (set.signer == nil || set.refresh == nil) {
		if err = r.complete(ctx, set); err == nil {
			set, err = r.read(ctx)
		}
	}
	if err != nil {
		return err
	}
	if set.signer == nil || set.refresh == nil {
		return errors.New("load keys: the store returned no key that can sign")
	}
	if old := r.keys.Swap(set); old != nil && lost(old, set) {
		r.cache.clear() // a key that verifies no more must not live on in the cache
	}
	return nil
}

func (r *Ring) read(ctx context.Context) (*keySet, error) {
	stored, err := r.store.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	set, err := r.assemble(stored)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	return set, nil
}

// complete makes what is missing: everything on the first start, a signing key
// after one was revoked or tokens.algorithm was changed.
func (r *Ring) complete(ctx context.Context, set *keySet) error {
	if set.refresh == nil {
		if _, err := r.bootstrap(ctx, store.PurposeRefresh); err != nil {
			return fmt.Errorf("make the refresh key: %w", err)
		}
	}
	if set.signer != nil {
		return nil
	}
	stands, err := r.bootstrap(ctx, store.PurposeSign)
	if err != nil {
		return fmt.Errorf("make the signing key: %w", err)
	}
	if stands.Algorithm == r.cfg.Algorithm {
		return nil
	}
	kid, err := r.add(ctx)
	if err == nil {
		r.rotated(ctx, kid)
	}
	return err
}

// lost reports whether a key of old no longer verifies.
func lost(old, next *keySet) bool {
	for id := range old.verify {
		if next.verify[id] == nil {
			return true
		}
	}
	return false
}

func (r *Ring) bootstrap(ctx context.Context, purpose store.Purpose) (store.Key, error) {
	k, err := r.newKey(purpose)
	if err != nil {
		return store.Key{}, err
	}
	return r.store.Bootstrap(ctx, k)
}

func (r *Ring) newKey(purpose store.Purpose) (store.Key, error) {
	now := r.now().UTC()
	k := store.Key{ID: newKeyID(), Purpose: purpose, CreatedAt: now, ActiveAt: now}
	if purpose == store.PurposeRefresh {
		k.Algorithm, k.Secret = "HMAC-SHA256", make([]byte, 32)
		_, _ = rand.Read(k.Secret) // never fails (crypto/rand)
		return k, nil
	}
	var err error
	k.Algorithm = r.cfg.Algorithm
	k.Secret, err = generate(k.Algorithm)
	return k, err
}

// newKeyID is 130 random bits in letters and digits: people give it to
// commands, where a leading dash would be an option.
func newKeyID() string { return strings.ToLower(rand.Text()) }

// newID is 128 random bits.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (r *Ring) assemble(stored []store.Key) (*keySet, error) {
	now := r.now()
	set := &keySet{verify: map[string]*key{}}
	var public []json.RawMessage
	for _, k := range stored {
		if !k.RevokedAt.IsZero() {
			continue
		}
		if k.Purpose == store.PurposeRefresh {
			set.refresh = k.Secret
			continue
		}
		if !k.RetireAt.IsZero() && !now.Before(k.RetireAt) {
			continue
		}
		if k.Algorithm == "HS256" && r.cfg.Algorithm != "HS256" {
			continue // its secret is no longer configured
		}
		opened, err := open(k, r.cfg)
		if err != nil {
			return nil, err
		}
		set.verify[k.ID] = opened
		if opened.public != nil {
			public = append(public, opened.public)
		}
		if k.Algorithm == r.cfg.Algorithm {
			set.consider(opened, now, r.window())
		}
	}
	var err error
	set.jwks, err = json.Marshal(map[string]any{"keys": append([]json.RawMessage{}, public...)})
	return set, err
}

// consider makes k the signer when it may sign now; keys come oldest first, and
// the youngest that may wins. One that is being replaced may, until its
// successor is active. One that is not active yet signs only when no other can.
func (s *keySet) consider(k *key, now time.Time, window time.Duration) {
	standing := k.retires.IsZero()
	if standing {
		s.newest = k.created
	}
	switch active := !now.Before(k.active); {
	case standing && active, !standing && k.retires.Sub(now) > window:
		s.signer = k
	case standing && s.signer == nil:
		s.signer = k
	}
}

// JWKS returns the public keys that verify now (RFC 7517). HS256 has none.
func (r *Ring) JWKS() []byte {
	if set := r.keys.Load(); set != nil {
		return set.jwks
	}
	return []byte(`{"keys":[]}`)
}

// Rotate makes a new signing key and returns its kid. The old one goes on
// verifying until the last token it signed has expired.
func (r *Ring) Rotate(ctx context.Context) (string, error) {
	r.load.Lock()
	defer r.load.Unlock()
	kid, err := r.add(ctx)
	if err != nil {
		return "", err
	}
	return kid, r.reload(ctx)
}

func (r *Ring) add(ctx context.Context) (string, error) {
	k, err := r.newKey(store.PurposeSign)
	if err != nil {
		return "", fmt.Errorf("rotate signing key: %w", err)
	}
	k.ActiveAt = k.ActiveAt.Add(r.delay)
	if err := r.store.Add(ctx, k, k.ActiveAt.Add(r.window())); err != nil {
		return "", fmt.Errorf("rotate signing key: %w", err)
	}
	return k.ID, nil
}

// Run keeps the ring as the store has it, once a second, and rotates the
// signing key when it is due, until ctx ends.
func (r *Ring) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.stale:
		}
		if err := r.keep(ctx); err != nil && ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelWarn, "keys could not be refreshed; the ones in memory stay", slog.Any("error", err))
		}
	}
}

// Reload asks Run to read the keys now, as after one was revoked. It does not
// wait.
func (r *Ring) Reload() {
	select {
	case r.stale <- struct{}{}:
	default:
	}
}

func (r *Ring) keep(ctx context.Context) error {
	if err := r.Load(ctx); err != nil {
		return err
	}
	set := r.keys.Load()
	if r.now().Sub(set.newest) < r.cfg.RotateKeysEvery {
		return nil
	}
	kid, err := r.Rotate(ctx)
	if err == nil {
		r.log.LogAttrs(ctx, slog.LevelInfo, "signing key rotated", slog.String("kid", kid))
		r.rotated(ctx, kid)
	}
	return err
}

// Healthy reports whether tokens can be signed and verified, for readiness.
func (r *Ring) Healthy() error {
	if set := r.keys.Load(); set == nil || set.signer == nil {
		return errors.New("no signing key")
	}
	return nil
}
