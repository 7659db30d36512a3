// Package password proves and judges passwords: it hashes them, verifies hashes
// of its own and of older systems, and says what is wrong with a new one. It
// knows no user, no store and no limit; it bounds only its own work.
package password

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"
)

// MaxBytes bounds a password before any work is done with it (threat T112).
const MaxBytes = 4096

var (
	// ErrBusy says that too many hashes are waiting; nothing was verified.
	ErrBusy = errors.New("too many password checks are waiting")
	// ErrTooLong says that the password is over MaxBytes.
	ErrTooLong = errors.New("password is too long")
	// ErrUnknownHash says that a stored hash is of no known form, or asks for
	// absurd work. It verifies nothing.
	ErrUnknownHash = errors.New("stored password hash is not understood")
)

// Options tunes a Hasher; the zero value is what short-lived commands use.
type Options struct {
	Parallel int           // hashes at a time; 0 means half the cores, at least one
	Queue    int           // callers that may wait; 0 means 64 for each at a time
	Wait     time.Duration // longest wait; 0 means 1 s

	// Command starts a process that calls Serve, with the number of hashes at a
	// time as its last argument; none means that this process does the work.
	Command []string
	Log     *slog.Logger // goes with Command
}

// Hasher hashes and verifies behind a semaphore, so that a flood of sign-ins
// costs at most Parallel cores and Parallel x 19 MiB, and the proxied traffic
// does not feel it (threat T113). It is safe for concurrent use.
type Hasher struct {
	slots   chan struct{}
	queue   int64
	wait    time.Duration
	waiting atomic.Int64
	none    string // a hash nobody's password has
	here    work
	there   *process // nil when all work is done here
}

// NewHasher makes a Hasher, which has to be closed.
func NewHasher(o Options) (*Hasher, error) {
	if o.Parallel <= 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.Queue <= 0 {
		o.Queue = 64 * o.Parallel
	}
	if o.Wait <= 0 {
		o.Wait = time.Second
	}
	h := &Hasher{slots: make(chan struct{}, o.Parallel), queue: int64(o.Queue), wait: o.Wait, here: newWork()}
	// Random bytes are nobody's hash; to derive them would make every start wait.
	h.none = phc(random(saltSize), random(hashSize))
	if len(o.Command) > 0 {
		h.there = newProcess(o.Command, o.Parallel, o.Log)
	}
	return h, nil
}

// Close ends the process that does the work; nothing is hashed afterwards.
func (h *Hasher) Close() {
	if h.there != nil {
		h.there.close()
	}
}

// Queue is the number of callers waiting now.
func (h *Hasher) Queue() int { return int(h.waiting.Load()) }

// Full reports whether a caller would be turned away at once: reason enough
// not to begin with the rest of the work.
func (h *Hasher) Full() bool { return h.waiting.Load() >= h.queue }

// acquire waits for a slot, in bounded company and for a bounded time.
func (h *Hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.queue {
		return ErrBusy
	}
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hasher) release() { <-h.slots }

// Hash returns the PHC string of a password under a fresh salt.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	var hash string
	err := h.do(ctx, password, func() {
		if h.there == nil || !h.there.call("Hash", password, &hash) {
			hash = h.here.hash(password)
		}
	})
	return hash, err
}

// Verify reports whether the password is the one behind the hash, and whether
// the hash should be replaced by a new one because its form or cost is old.
// A hash that is not of today's form and cost, ErrUnknownHash included, costs
// the work of one that is on top of its own, so that such accounts are not
// answered faster than unknown ones (threat T104).
func (h *Hasher) Verify(ctx context.Context, hash, password string) (ok, rehash bool, err error) {
	claim, v := Claim{Hash: hash, Password: password}, Verdict{}
	err = h.do(ctx, password, func() {
		if h.there == nil || !h.there.call("Verify", claim, &v) {
			v = h.here.verify(claim)
		}
	})
	if err == nil && v.Unknown {
		err = ErrUnknownHash
	}
	return v.OK, v.Rehash, err
}

// VerifyNone does the work of Verify for a user who does not exist, is disabled
// or has no password (threat T104).
func (h *Hasher) VerifyNone(ctx context.Context, password string) error {
	_, _, err := h.Verify(ctx, h.none, password)
	return err
}

// do has work with a password done in a slot.
func (h *Hasher) do(ctx context.Context, password string, piece func()) error {
	if len(password) > MaxBytes {
		return ErrTooLong
	}
	if err := h.acquire(ctx); err != nil {
		return err
	}
	defer h.release()
	piece()
	return nil
}
