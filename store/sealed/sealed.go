// Package sealed encrypts the key ring on its way to a store that others can
// read: a copy of the database alone signs no token. It decides how a secret is
// sealed; it refuses to know what the keys are for.
package sealed

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/store"
)

// mark starts every sealed secret; no PKCS #8 key starts so.
const mark = "ghk1"

// ErrKey says that a stored key cannot be read with the encryption keys given.
var ErrKey = errors.New("a stored key cannot be decrypted: tokens.encryption_key is not the one it was encrypted with")

// ErrPlain says that a stored key is not encrypted although it should be.
var ErrPlain = errors.New("a stored key is not encrypted; run gatehouse key seal once to encrypt it")

// Keys is a key ring whose secrets are sealed with AES-256-GCM, bound to the id,
// purpose and algorithm of their key.
type Keys struct {
	store.Keys
	box Box
}

var _ store.Keys = (*Keys)(nil)

// Box seals and opens.
type Box struct {
	first cipher.AEAD
	all   []cipher.AEAD
}

// NewBox reads encryption keys, one per line: the first seals, all open.
func NewBox(text string) (Box, error) {
	var b Box
	for _, line := range strings.Fields(text) {
		key, err := hkdf.Key(sha256.New, []byte(line), nil, "gatehouse key ring", 32)
		if err != nil {
			return Box{}, fmt.Errorf("derive the encryption key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return Box{}, fmt.Errorf("derive the encryption key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return Box{}, fmt.Errorf("derive the encryption key: %w", err)
		}
		b.all = append(b.all, aead)
	}
	if len(b.all) == 0 {
		return Box{}, errors.New("tokens.encryption_key is empty")
	}
	b.first = b.all[0]
	return b, nil
}

// New seals what goes to keys and opens what comes back.
func New(keys store.Keys, box Box) *Keys { return &Keys{keys, box} }

// about is what a sealed secret is bound to.
func about(k store.Key) []byte {
	return []byte(fmt.Sprintf("%q %q %q", k.ID, k.Purpose, k.Algorithm))
}

// Seal returns the key with its secret encrypted.
func (b Box) Seal(k store.Key) store.Key {
	nonce := make([]byte, b.first.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	k.Secret = b.first.Seal(append([]byte(mark), nonce...), nonce, k.Secret, about(k))
	return k
}

// Open returns the key with its secret in clear.
func (b Box) Open(k store.Key) (store.Key, error) {
	sealed, ok := bytes.CutPrefix(k.Secret, []byte(mark))
	if !ok || len(sealed) < b.first.NonceSize() {
		return store.Key{}, fmt.Errorf("key %s: %w", k.ID, ErrPlain)
	}
	nonce, rest := sealed[:b.first.NonceSize()], sealed[b.first.NonceSize():]
	for _, aead := range b.all {
		if secret, err := aead.Open(nil, nonce, rest, about(k)); err == nil {
			k.Secret = secret
			return k, nil
		}
	}
	return store.Key{}, fmt.Errorf("key %s: %w", k.ID, ErrKey)
}

// All returns every key that is still stored, oldest first. One that cannot be
// opened is an error, unless it verifies nothing any more.
func (s *Keys) All(ctx context.Context) ([]store.Key, error) {
	stored, err := s.Keys.All(ctx)
	if err != nil {
		return nil, err
	}
	opened := make([]store.Key, 0, len(stored))
	for _, k := range stored {
		if !k.RevokedAt.IsZero() {
			k.Secret = nil
			opened = append(opened, k)
			continue
		}
		k, err := s.box.Open(k)
		if err != nil {
			return nil, fmt.Errorf("read keys: %w: %w", store.ErrUnavailable, err)
		}
		opened = append(opened, k)
	}
	return opened, nil
}

// Add stores a new key, sealed.
func (s *Keys) Add(ctx context.Context, k store.Key, retireOthersAt time.Time) error {
	return s.Keys.Add(ctx, s.box.Seal(k), retireOthersAt)
}

// Bootstrap stores the key, sealed, if none of its purpose stands.
func (s *Keys) Bootstrap(ctx context.Context, k store.Key) (store.Key, error) {
	stands, err := s.Keys.Bootstrap(ctx, s.box.Seal(k))
	if err != nil {
		return store.Key{}, err
	}
	opened, err := s.box.Open(stands)
	if err != nil {
		return store.Key{}, fmt.Errorf("bootstrap key: %w: %w", store.ErrUnavailable, err)
	}
	return opened, nil
}
