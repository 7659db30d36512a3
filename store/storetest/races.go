package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/store"
)

func raceCases() []testCase {
	return []testCase{
		{"T091 100 writers rotate one token", func(t *testing.T, s Stores) { rotateRace(t, s, 100, 0) }},
		{"T091 64 refreshes within the grace", func(t *testing.T, s Stores) { rotateRace(t, s, 64, 10*time.Second) }},
		{"T093 logout races refresh", logoutRace},
		{"T108 500 registrations of one address", registerRace},
		{"T099 60 takes against 5 per minute", takeRace},
		{"T094 password changes from one old hash", passwordRace},
		{"T147 every row is the one asked for, also among cancelled queries", mixUp},
		{"one key is bootstrapped", bootstrapRace},
		{"sequence grows in the order of visibility", sequenceRace},
	}
}

// rotateRace lets many callers present one token. Exactly one moves the head;
// without grace the next one ends the session, with it all get the same answer.
func rotateRace(t *testing.T, s Stores, n int, grace time.Duration) {
	addSession(t, s, "s1", "ada")
	var moved, repeated, reused, ended atomic.Int32
	var winner atomic.Int32
	together(n, func(ctx context.Context, i int) {
		r := rotation("s1", "s1-0", fmt.Sprintf("successor %d", i))
		r.Grace = grace
		out, err := s.Sessions.Rotate(ctx, r)
		switch {
		case err == nil && out.Repeated:
			repeated.Add(1)
		case err == nil:
			moved.Add(1)
			winner.Store(int32(i))
		case errors.Is(err, store.ErrReused):
			reused.Add(1)
		case errors.Is(err, store.ErrEnded):
			ended.Add(1)
		default:
			t.Errorf("rotate: %v", err)
		}
	})
	got := []int32{moved.Load(), repeated.Load(), reused.Load(), ended.Load()}
	want := []int32{1, 0, 1, int32(n) - 2}
	if grace > 0 {
		want = []int32{1, int32(n) - 1, 0, 0}
	}
	equal(t, got, want)
	equal(t, living(t, s, "s1", now()), grace > 0)
	v, err := s.Sessions.Find(t.Context(), selector("s1"), hash(fmt.Sprintf("successor %d", winner.Load())))
	must(t, err)
	equal(t, v.ID, "s1")
}

// logoutRace: whichever comes first, when both are back no token is good.
func logoutRace(t *testing.T, s Stores) {
	for i := range 40 {
		id := fmt.Sprint("s", i)
		addSession(t, s, id, "ada")
		together(2, func(ctx context.Context, side int) {
			var err error
			if side == 0 {
				_, err = s.Sessions.Rotate(ctx, rotation(id, id+"-0", id+"-1"))
				if errors.Is(err, store.ErrEnded) {
					err = nil
				}
			} else {
				_, err = s.Sessions.End(ctx, store.SessionEnd{SessionID: id, Now: now(), RevokedUntil: now().Add(time.Hour)})
			}
			if err != nil {
				t.Errorf("side %d: %v", side, err)
			}
		})
		equal(t, living(t, s, id, now()), false)
		for _, token := range []string{id + "-0", id + "-1"} {
			_, err := s.Sessions.Rotate(t.Context(), rotation(id, token, id+"-2"))
			wantErr(t, err, store.ErrEnded)
		}
		equal(t, revoked(t, s, store.KindSession, id), 1)
	}
}

func registerRace(t *testing.T, s Stores) {
	var won atomic.Int32
	together(500, func(ctx context.Context, i int) {
		u := user(fmt.Sprint("u", i))
		u.EmailKey = "ada@example.com" // what the caller makes of every spelling
		switch err := s.Users.Create(ctx, u); {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, store.ErrExists):
			t.Errorf("create: %v", err)
		}
	})
	equal(t, won.Load(), int32(1))
	all, err := s.UserLister.List(t.Context(), "", 1000)
	must(t, err)
	equal(t, len(all), 1)
}

func takeRace(t *testing.T, s Stores) {
	var allowed atomic.Int32
	together(60, func(ctx context.Context, _ int) {
		d, err := s.Limiter.Take(ctx, now(), store.Claim{Key: "login", Count: 5, Per: time.Minute})
		if err != nil {
			t.Errorf("take: %v", err)
		}
		if d.Allowed {
			allowed.Add(1)
		}
	})
	equal(t, allowed.Load(), int32(5))
}

func passwordRace(t *testing.T, s Stores) {
	u := addUser(t, s, "ada")
	var won atomic.Int32
	together(32, func(ctx context.Context, i int) {
		_, err := s.Users.Update(ctx, "ada", store.UserChange{
			PasswordHash: ptr(fmt.Sprint("new ", i)), ExpectHash: ptr(u.PasswordHash), Revoke: true, Now: now(), RevokedUntil: now(),
		})
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, store.ErrConflict):
			t.Errorf("update: %v", err)
		}
	})
	equal(t, won.Load(), int32(1))
	after, err := s.Users.ByID(t.Context(), "ada")
	must(t, err)
	equal(t, after.Generation, u.Generation+1)
}

// mixUp reads many accounts while callers go away in the middle of it.
func mixUp(t *testing.T, s Stores) {
	const n = 16
	for i := range n {
		addUser(t, s, fmt.Sprint("u", i))
	}
	together(n, func(ctx context.Context, i int) {
		id := fmt.Sprint("u", i)
		for round := range 60 {
			ctx, cancel := context.WithCancel(ctx)
			if round%3 == 0 {
				go cancel()
			}
			u, err := s.Users.ByID(ctx, id)
			if err == nil && (u.ID != id || u.Name != "Name of "+id) {
				t.Errorf("asked for %s, got %+v", id, u)
			}
			if err != nil && (!errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound)) {
				t.Errorf("a query that was cut off says %v", err)
			}
			cancel()
		}
	})
}

func bootstrapRace(t *testing.T, s Stores) {
	var mu sync.Mutex
	seen := map[string]bool{}
	together(24, func(ctx context.Context, i int) {
		k, err := s.Keys.Bootstrap(ctx, store.Key{ID: fmt.Sprint("k", i), Purpose: store.PurposeSign, Algorithm: "EdDSA", Secret: []byte("s"), CreatedAt: now(), ActiveAt: now()})
		if err != nil {
			t.Errorf("bootstrap: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[k.ID] = true
	})
	equal(t, len(seen), 1)
}

// sequenceRace follows the list while many write: a mirror that asks for what
// comes after the last number it saw must miss nothing.
func sequenceRace(t *testing.T, s Stores) {
	const writers, each = 8, 20
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(writers, func(ctx context.Context, i int) {
			for j := range each {
				if err := s.Revocations.Revoke(ctx, store.Revocation{Kind: store.KindToken, Key: fmt.Sprint(i, "-", j), CreatedAt: now(), Expires: now()}); err != nil {
					t.Errorf("revoke: %v", err)
				}
			}
		})
	}()
	seen := map[string]bool{}
	var after int64
	for finished := false; ; {
		page, _, err := s.Revocations.Since(t.Context(), after, 7)
		must(t, err)
		for _, e := range page {
			seen[e.Key], after = true, e.Seq
		}
		if len(page) > 0 {
			continue
		}
		if finished {
			break
		}
		select {
		case <-done:
			finished = true
		default:
		}
	}
	equal(t, len(seen), writers*each)
}
