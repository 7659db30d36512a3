package revoked

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse/store"
)

// sessions are n entries nobody holds.
func sessions(t *testing.T, s *source, n int) {
	t.Helper()
	for i := range n {
		_ = s.Revoke(t.Context(), session(fmt.Sprint(s.epoch, i)))
	}
}

func TestT096_PreloadVouchesForNothing(t *testing.T) {
	s := &source{epoch: "a"}
	sessions(t, s, page+1)
	m := mirror(nil, time.Now)
	m.Preload(t.Context(), s)
	if m.Len() != page+1 || !m.Stale() {
		t.Fatalf("%d of %d entries, stale: %v", m.Len(), page+1, m.Stale())
	}
	_ = s.Revoke(t.Context(), session("s"))
	m.SetSource(s)
	s.set(store.ErrUnavailable)
	if err := m.Load(t.Context()); !errors.Is(err, store.ErrUnavailable) || !m.Stale() {
		t.Fatal("what was preloaded vouches", err)
	}
	s.set(nil)
	if err := m.Load(t.Context()); err != nil || m.Stale() {
		t.Fatal(err)
	}
	if !m.Revoked(&ann, "") || m.Len() != page+2 {
		t.Error("what came after the preload is unknown")
	}
}

func TestPreloadSparesLoadTheList(t *testing.T) {
	s := &counted{source: source{epoch: "a"}}
	sessions(t, &s.source, page+1)
	m := mirror(nil, time.Now)
	m.Preload(t.Context(), s)
	m.SetSource(s)
	s.handed = 0
	if err := m.Load(t.Context()); err != nil || s.handed > window {
		t.Fatalf("Load read %d entries, %v", s.handed, err)
	}
}

// Another list than the one preloaded is read from its start, and one that was
// read in part as well: an entry between would be overlooked.
func TestT096_LoadTrustsNoOtherPreload(t *testing.T) {
	for name, preload := range map[string]func(t *testing.T, m *Mirror){
		"of another list": func(t *testing.T, m *Mirror) {
			other := &source{epoch: "b"}
			sessions(t, other, 3*page)
			m.Preload(t.Context(), other)
		},
		"that broke off": func(t *testing.T, m *Mirror) {
			half := &counted{source: source{epoch: "a"}, failAfter: page}
			for i := range 3 * page {
				_ = half.source.Revoke(t.Context(), store.Revocation{Seq: int64(i) + 10*page, Kind: store.KindSession, Key: fmt.Sprint(i)})
			}
			m.Preload(t.Context(), half)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &source{epoch: "a"}
			_ = s.Revoke(t.Context(), session("s"))
			sessions(t, s, 2*page)
			m := mirror(nil, time.Now)
			preload(t, m)
			m.SetSource(s)
			if err := m.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !m.Revoked(&ann, "") {
				t.Error("the start of the list was not read")
			}
		})
	}
}
