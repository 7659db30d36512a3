package revoked

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/store"
)

// wire connects mirrors as a stream would; while it is cut it loses everything.
type wire struct {
	mu     sync.Mutex
	cut    bool
	rung   int
	listen []func([]byte)
}

func (w *wire) Ring(_ context.Context, text []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rung++
	if w.cut {
		return errors.New("cut")
	}
	for _, hear := range w.listen {
		hear(text)
	}
	return nil
}

func (w *wire) Follow(ctx context.Context, heard func([]byte), _ func()) {
	w.mu.Lock()
	w.listen = append(w.listen, heard)
	w.mu.Unlock()
	<-ctx.Done()
}

func session(key string) store.Revocation {
	return store.Revocation{Kind: store.KindSession, Key: key, Expires: time.Now().Add(time.Hour)}
}

func TestBellBringsEntriesBeforeThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := &source{epoch: "a"}, &wire{}
		_ = s.Revoke(t.Context(), session("old"))
		here, there := mirror(s, time.Now), mirror(s, time.Now)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, m := range []*Mirror{here, there} {
			m.SetBell(w)
			poll(t, m)
			wg.Go(func() { m.Listen(ctx) })
		}
		synctest.Wait()
		if w.rung != 0 {
			t.Error("what was there at the start is told as news")
		}
		_ = s.Revoke(t.Context(), session("s"))
		poll(t, here)
		if !there.Revoked(&ann, "") {
			t.Error("the bell rang and nobody heard")
		}
		poll(t, there)
		if w.rung != 1 {
			t.Errorf("rung %d times for one entry", w.rung)
		}
		w.cut = true
		_ = s.Revoke(t.Context(), store.Revocation{Kind: store.KindUser, Key: "u", Generation: 9, Expires: time.Now().Add(time.Hour)})
		poll(t, here)
		poll(t, there)
		if g, _ := there.lists[store.KindUser].generation("u"); g != 9 {
			t.Error("lost with the bell")
		}
		stop()
		wg.Wait()
	})
}

// An entry that the bell brought must not hide the ones before it from the poll.
func TestBellHidesNothingFromThePoll(t *testing.T) {
	s := &source{epoch: "a"}
	m := mirror(s, time.Now)
	poll(t, m)
	for i := range 3 * window {
		_ = s.Revoke(t.Context(), session(string(rune('a'+i%26))+time.Duration(i).String()))
	}
	_ = s.Revoke(t.Context(), session("s"))
	m.hear([]byte(`{"epoch":"a","entries":[{"seq":601,"kind":2,"key":"s","expires":99999999999999}]}`))
	if !m.Revoked(&ann, "") {
		t.Fatal("not heard")
	}
	poll(t, m)
	if m.Len() != 3*window+1 {
		t.Errorf("%d of %d entries", m.Len(), 3*window+1)
	}
}

func TestStrangeMessagesAreAReasonToPoll(t *testing.T) {
	for _, text := range []string{"", "{", `{"epoch":"a"}`, `{"epoch":"b","entries":[{"seq":1,"kind":2,"key":"s"}]}`} {
		m := mirror(&source{epoch: "a"}, time.Now)
		poll(t, m)
		m.hear([]byte(text))
		if len(m.wake) != 1 {
			t.Errorf("%q is ignored", text)
		}
	}
	m := mirror(&source{epoch: "a"}, time.Now)
	poll(t, m)
	m.hear([]byte(`{"epoch":"a","entries":[{"seq":1,"kind":200,"key":"s"}]}`)) // a kind of a later release
}

// F-R6 for the database: what a failover lost is written again by those who
// know it, once, and stays in force.
func TestFR6_LostEntriesAreWrittenAgain(t *testing.T) {
	s := &source{epoch: "a"}
	_ = s.Revoke(t.Context(), session("kept"), session("s"), store.Revocation{Kind: store.KindSession, Key: "expired", Expires: time.Now().Add(-time.Hour)})
	m := mirror(s, time.Now)
	poll(t, m)
	s.mu.Lock()
	s.entries = s.entries[:1]
	s.mu.Unlock()
	poll(t, m)
	poll(t, m)
	fresh := mirror(s, time.Now)
	poll(t, fresh)
	if !fresh.Revoked(&ann, "") || len(s.entries) != 2 {
		t.Errorf("the list holds %d entries, want 2", len(s.entries))
	}
	if !m.Revoked(&ann, "") {
		t.Error("a revoked token came back")
	}
}
