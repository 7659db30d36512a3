package revoked

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/identity"
	"gatehouse/store"
)

type source struct {
	mu      sync.Mutex
	entries []store.Revocation
	epoch   string
	fail    error
}

func (s *source) Revoke(_ context.Context, e ...store.Revocation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range e {
		if r.Seq == 0 {
			r.Seq = int64(len(s.entries)) + 1
		}
		s.entries = append(s.entries, r)
	}
	return nil
}

func (s *source) Since(_ context.Context, after int64, limit int) ([]store.Revocation, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []store.Revocation
	for _, e := range s.entries {
		if e.Seq > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, s.epoch, s.fail
}

func (s *source) Purge(context.Context, time.Time) (int64, error) { return 0, nil }

func (s *source) set(err error) {
	s.mu.Lock()
	s.fail = err
	s.mu.Unlock()
}

// counted counts what it hands out, and fails after so many entries.
type counted struct {
	source
	handed, failAfter int
}

func (c *counted) Since(ctx context.Context, after int64, limit int) ([]store.Revocation, string, error) {
	if c.failAfter > 0 && c.handed >= c.failAfter {
		return nil, "", store.ErrUnavailable
	}
	entries, epoch, err := c.source.Since(ctx, after, limit)
	c.handed += len(entries)
	return entries, epoch, err
}

func mirror(s store.Revocations, now func() time.Time) *Mirror {
	return New(s, 24*time.Hour, slog.New(slog.DiscardHandler), now)
}

func poll(t testing.TB, m *Mirror) {
	t.Helper()
	if err := m.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var ann = identity.Identity{Subject: "u", Session: "s", TokenID: "j", Generation: 4}

func TestT089_EachKindRefusesItsOwn(t *testing.T) {
	for _, c := range []struct {
		e    store.Revocation
		want bool
	}{
		{store.Revocation{Kind: store.KindToken, Key: "j"}, true}, {store.Revocation{Kind: store.KindSession, Key: "s"}, true},
		{store.Revocation{Kind: store.KindKey, Key: "k"}, true}, {store.Revocation{Kind: store.KindUser, Key: "u", Generation: 5}, true},
		{store.Revocation{Kind: store.KindUser, Key: "u", Generation: 4}, false}, {store.Revocation{Kind: store.KindToken, Key: "s"}, false},
		{store.Revocation{Kind: 9, Key: "s"}, false},
	} {
		s := &source{epoch: "a"}
		_ = s.Revoke(t.Context(), c.e)
		m := mirror(s, time.Now)
		poll(t, m)
		if got := m.Revoked(&ann, "k"); got != c.want {
			t.Errorf("%+v: revoked = %v", c.e, got)
		}
	}
}

func TestT096_LoadReadsEveryPageAndFailsClosed(t *testing.T) {
	s := &source{epoch: "a", fail: fmt.Errorf("disk: %w", store.ErrUnavailable)}
	m := mirror(s, time.Now)
	if err := m.Load(t.Context()); !errors.Is(err, store.ErrUnavailable) || !m.Stale() {
		t.Fatal("a failed load vouches", err)
	}
	s.fail = nil
	for i := range 2*page + 1 {
		_ = s.Revoke(t.Context(), store.Revocation{Kind: store.KindSession, Key: fmt.Sprint(i)})
	}
	if err := m.Load(t.Context()); err != nil || m.Len() != 2*page+1 || m.Stale() {
		t.Fatal(err, m.Len())
	}
	if len(m.recent) > window {
		t.Fatalf("%d numbers kept", len(m.recent))
	}
}

func TestT090_NewEpochStartsOverAndKeepsWhatIsKnown(t *testing.T) {
	s := &source{epoch: "a"}
	for i := range 500 {
		_ = s.Revoke(t.Context(), store.Revocation{Kind: store.KindSession, Key: fmt.Sprint(i)})
	}
	m, told := mirror(s, time.Now), 0
	m.OnRevoke(func(store.Revocation) { told++ })
	poll(t, m)
	s.epoch, s.entries = "b", []store.Revocation{{Seq: 1, Kind: store.KindSession, Key: "s"}, {Seq: 2, Kind: store.KindSession, Key: "7"}}
	poll(t, m)
	if !m.Revoked(&ann, "") || m.Len() != 501 || told != 501 {
		t.Fatal("lost or told twice", m.Len(), told)
	}
}

func TestLateNumberIsStillRead(t *testing.T) {
	s := &source{epoch: "a", entries: []store.Revocation{{Seq: 300, Kind: store.KindToken, Key: "x"}}}
	m := mirror(s, time.Now)
	poll(t, m)
	s.entries = []store.Revocation{{Seq: 299, Kind: store.KindToken, Key: "j"}, s.entries[0]}
	poll(t, m)
	if !m.Revoked(&ann, "") {
		t.Fatal("an entry published late was missed")
	}
}

func TestClockJumpRevivesNothing(t *testing.T) { // fault F-C1
	synctest.Test(t, func(t *testing.T) {
		shift := time.Duration(0)
		now := func() time.Time { return time.Now().Add(shift) }
		s := &source{epoch: "a"}
		_ = s.Revoke(t.Context(), store.Revocation{Kind: store.KindSession, Key: "s", Expires: now().Add(time.Hour)})
		m := mirror(s, now)
		poll(t, m)
		for _, shift = range []time.Duration{time.Hour, -time.Hour, 48 * time.Hour, 0} {
			m.drop()
			m.drop()
			if !m.Revoked(&ann, "") {
				t.Fatal("dropped after a jump of", shift)
			}
		}
		time.Sleep(25*time.Hour + 2*time.Second)
		m.drop()
		if m.Len() != 0 {
			t.Fatal("kept for ever")
		}
	})
}

func TestRunPollsAndGoesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{epoch: "a"}
		m := mirror(s, time.Now)
		if err := m.Register(prometheus.NewRegistry()); err != nil {
			t.Fatal(err)
		}
		poll(t, m)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		_ = s.Revoke(ctx, store.Revocation{Kind: store.KindSession, Key: "s", CreatedAt: time.Now().Add(time.Millisecond), Expires: time.Now().Add(time.Hour)})
		time.Sleep(1100 * time.Millisecond)
		if !m.Revoked(&ann, "") || m.Stale() {
			t.Fatal("not taken within a second")
		}
		s.set(store.ErrUnavailable)
		time.Sleep(2500 * time.Millisecond)
		if !m.Stale() || !m.Revoked(&ann, "") {
			t.Fatal("vouches without a feed")
		}
		s.set(nil)
		time.Sleep(61 * time.Second)
		if m.Stale() {
			t.Fatal("did not recover")
		}
		cancel()
		<-done
	})
}

func TestRevokedDoesNotAllocate(t *testing.T) {
	m := mirror(&source{epoch: "a"}, time.Now)
	if n := testing.AllocsPerRun(100, func() { m.Revoked(&ann, "k") }); n != 0 {
		t.Fatal(n)
	}
}

func BenchmarkRevoked(b *testing.B) {
	m := mirror(&source{epoch: "a"}, time.Now)
	b.ReportAllocs()
	for b.Loop() {
		m.Revoked(&ann, "k")
	}
}

// BenchmarkMemory reports the bytes one entry costs among 10^6.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		m := mirror(&source{epoch: "a"}, time.Now)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 1_000_000 {
			m.lists[store.KindSession].add(store.Revocation{Kind: store.KindSession, Key: fmt.Sprintf("%022d", i)})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(m.Len()), "B/entry")
	}
}
