package server

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
)

// requestIDSize is 128 bits.
const requestIDSize = 16

// entropy are random bytes for the next identifiers: asking the system for
// each costs more than the rest of it.
type entropy struct {
	bytes [32 * requestIDSize]byte
	left  int
}

var entropies = sync.Pool{New: func() any { return new(entropy) }}

// newRequestID returns 128 random bits in hexadecimal.
func newRequestID() string {
	e := entropies.Get().(*entropy)
	defer entropies.Put(e)
	if e.left == 0 {
		_, _ = rand.Read(e.bytes[:]) // never fails (crypto/rand)
		e.left = len(e.bytes)
	}
	e.left -= requestIDSize
	var text [2 * requestIDSize]byte
	hex.Encode(text[:], e.bytes[e.left:e.left+requestIDSize])
	return string(text[:])
}
