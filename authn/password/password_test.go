package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/config"
)

func hasher(t *testing.T, o Options) (*Hasher, *atomic.Int64) {
	t.Helper()
	h, err := NewHasher(o)
	if err != nil {
		t.Fatal(err)
	}
	n, real := new(atomic.Int64), h.here.derive
	h.here.derive = func(p, s []byte, time, memory uint32, threads uint8, size uint32) []byte {
		if time == passes && memory == memoryKiB && threads == lanes {
			n.Add(1)
		}
		return real(p, s, time, memory, threads, size)
	}
	return h, n
}

func TestT104_SameWorkWhoeverIsAsked(t *testing.T) {
	h, n := hasher(t, Options{})
	good, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{good, "", "nonsense", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="} {
		n.Store(0)
		if ok, _, _ := h.Verify(t.Context(), hash, "wrong"); ok || n.Load() != 1 {
			t.Errorf("%q: ok=%v, %d hashes", hash, ok, n.Load())
		}
	}
	n.Store(0)
	if err := h.VerifyNone(t.Context(), "wrong"); err != nil || n.Load() != 1 {
		t.Fatal(err, n.Load())
	}
}

func TestT110_OldHashesAreReplacedAndNothingIsCut(t *testing.T) {
	h, _ := hasher(t, Options{})
	for _, hash := range []string{"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"} {
		want := map[bool]string{true: "password", false: "myPassword"}[hash[0] == '{']
		if ok, rehash, err := h.Verify(t.Context(), hash, want); !ok || !rehash || err != nil {
			t.Errorf("%s: %v %v %v", hash, ok, rehash, err)
		}
	}
	long := strings.Repeat("x", 80)
	hash, _ := h.Hash(t.Context(), long)
	if ok, rehash, _ := h.Verify(t.Context(), hash, long); !ok || rehash {
		t.Fatal("own hash")
	}
	if ok, _, _ := h.Verify(t.Context(), hash, long[:79]); ok {
		t.Fatal("cut")
	}
	of72, err := bcrypt.GenerateFromPassword([]byte(long[:72]), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{72, 73, 80} { // bcrypt itself sees no more than 72
		if ok, _, err := h.Verify(t.Context(), string(of72), long[:n]); ok != (n == 72) || err != nil {
			t.Errorf("bcrypt of 72 bytes, asked about %d: %v %v", n, ok, err)
		}
	}
	for _, bad := range []string{"$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=19456,t=2,p=1x$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "pbkdf2_sha256$99999999$s$AA==", "$2a$31$x"} {
		if Known(bad) {
			t.Errorf("%s understood", bad)
		}
	}
}

func TestT112_TooLongIsRefusedBeforeHashing(t *testing.T) {
	h, n := hasher(t, Options{})
	_, err := h.Hash(t.Context(), strings.Repeat("x", MaxBytes+1))
	if err2 := h.VerifyNone(t.Context(), strings.Repeat("x", MaxBytes+1)); !errors.Is(err, ErrTooLong) || !errors.Is(err2, ErrTooLong) || n.Load() != 0 {
		t.Fatal(err, err2, n.Load())
	}
}

func TestT113_FullQueueIsBusy(t *testing.T) {
	h, n := hasher(t, Options{Parallel: 1, Queue: 1, Wait: time.Millisecond})
	h.slots <- struct{}{}
	if err := h.VerifyNone(t.Context(), "x"); !errors.Is(err, ErrBusy) || n.Load() != 0 || h.Queue() != 0 {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.wait = time.Hour
	if err := h.VerifyNone(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if h.Full() {
		t.Error("full while nobody waits")
	}
	h.waiting.Store(1)
	if err := h.VerifyNone(t.Context(), "x"); !errors.Is(err, ErrBusy) || !h.Full() {
		t.Fatal(err)
	}
}

func TestT111_Rules(t *testing.T) {
	r, err := NewRules(config.Password{MinLength: 8, MaxLength: 1024, Blocklist: true}, []string{"wiki.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for w := range r.blocked {
		if !r.common(w) || !r.common(strings.ToUpper(w)) {
			t.Fatalf("%q accepted", w)
		}
		n++
	}
	if n < 10_000 {
		t.Fatal(n)
	}
	for _, bad := range []string{"P@ssw0rd2024!!", "password123456", "gatehouse-2024", "annabelle1234", "aaaaaaaaaaaa", "short", strings.Repeat("x", 1025)} {
		if len(r.Check(bad, "annabelle@mail.example")) == 0 {
			t.Errorf("%q accepted", bad)
		}
	}
	for _, good := range []string{"correct horse battery staple", strings.Repeat("vier Worte, ", 5) + "ende", "żółw pije mleko o świcie"} {
		if wrong := r.Check(good, "annabelle@mail.example"); len(wrong) != 0 {
			t.Errorf("%q: %v", good, wrong)
		}
	}
	all, _ := NewRules(config.Password{MinLength: 12, MaxLength: 64, RequireUpper: true, RequireDigit: true, RequireSpecial: true}, nil)
	if got := all.Check("abc"); len(got) != 4 {
		t.Fatal(got)
	}
}

// Checks that run at once are never merged into one, not even of one hash and
// one password: who waits for whom would tell whose is whose (threat T105).
func TestT105_NoCheckIsSharedByTwo(t *testing.T) {
	h, n := hasher(t, Options{Parallel: 2, Queue: 100, Wait: time.Minute})
	hash, err := h.Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	n.Store(0)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			switch i % 3 {
			case 0:
				_ = h.VerifyNone(t.Context(), "the same")
			case 1:
				if ok, _, err := h.Verify(t.Context(), hash, "the same"); ok || err != nil {
					t.Error(ok, err)
				}
			case 2:
				if ok, _, err := h.Verify(t.Context(), hash, "correct horse battery"); !ok || err != nil {
					t.Error(ok, err)
				}
			}
		})
	}
	wg.Wait()
	if n.Load() != 12 {
		t.Errorf("%d hashes for 12 checks", n.Load())
	}
}
