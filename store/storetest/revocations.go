package storetest

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/store"
)

func revocationCases() []testCase {
	entry := func(key string, expires time.Time) store.Revocation {
		return store.Revocation{Kind: store.KindToken, Key: key, Generation: 7, CreatedAt: now(), Expires: expires}
	}
	return []testCase{
		{"entries come back in order", func(t *testing.T, s Stores) {
			a, b := entry("a", now().Add(time.Hour)), entry("b", now().Add(time.Minute))
			must(t, s.Revocations.Revoke(t.Context(), a, b))
			must(t, s.Revocations.Revoke(t.Context()))
			list := entries(t, s)
			equal(t, len(list), 2)
			if list[0].Seq <= 0 || list[1].Seq <= list[0].Seq {
				t.Fatalf("sequence %d, %d does not grow from above 0", list[0].Seq, list[1].Seq)
			}
			list[0].Seq, list[1].Seq = 0, 0
			equal(t, list, []store.Revocation{a, b})
		}},
		{"a key may hold anything", func(t *testing.T, s Stores) {
			odd := []string{"", " ", "a b", "1 2 3 4 5 6 7", "[1,2,3,4,5,6]7", "]", "line\nline", "\n", "ü 6", "'\"\\"}
			for _, key := range odd {
				must(t, s.Revocations.Revoke(t.Context(), entry(key, now().Add(time.Hour)), entry("after", time.UnixMicro(-1).UTC())))
			}
			list := entries(t, s)
			equal(t, len(list), 2*len(odd))
			for i, key := range odd {
				equal(t, list[2*i].Key, key)
				equal(t, list[2*i+1].Expires, time.UnixMicro(-1).UTC())
			}
		}},
		{"pages", func(t *testing.T, s Stores) {
			for i := range 5 {
				must(t, s.Revocations.Revoke(t.Context(), entry(fmt.Sprint(i), now())))
			}
			var after int64
			var got []string
			for _, want := range []int{2, 2, 1, 0} {
				page, _, err := s.Revocations.Since(t.Context(), after, 2)
				must(t, err)
				equal(t, len(page), want)
				for _, e := range page {
					got, after = append(got, e.Key), e.Seq
				}
			}
			equal(t, got, []string{"0", "1", "2", "3", "4"})
		}},
		{"the epoch is there from the start and stays", func(t *testing.T, s Stores) {
			_, first, err := s.Revocations.Since(t.Context(), 0, 10)
			must(t, err)
			must(t, s.Revocations.Revoke(t.Context(), entry("a", now())))
			_, second, err := s.Revocations.Since(t.Context(), 1_000_000, 10)
			must(t, err)
			if first == "" || first != second {
				t.Fatalf("epochs %q and %q", first, second)
			}
		}},
		{"purge forgets what expired, and numbers are not used again", func(t *testing.T, s Stores) {
			must(t, s.Revocations.Revoke(t.Context(), entry("keep", now()), entry("go", now().Add(-time.Microsecond))))
			last := entries(t, s)[1].Seq
			n, err := s.Revocations.Purge(t.Context(), now())
			must(t, err)
			equal(t, n, int64(1))
			equal(t, revoked(t, s, store.KindToken, "keep"), 1)
			equal(t, revoked(t, s, store.KindToken, "go"), 0)
			must(t, s.Revocations.Revoke(t.Context(), entry("next", now())))
			list := entries(t, s)
			if got := list[len(list)-1].Seq; got <= last {
				t.Fatalf("sequence %d after %d was given before", got, last)
			}
		}},
	}
}

func keyCases() []testCase {
	key := func(id string, purpose store.Purpose, age time.Duration) store.Key {
		return store.Key{ID: id, Purpose: purpose, Algorithm: "EdDSA", Secret: []byte{0, 1, 255, byte(len(id))}, CreatedAt: now().Add(-age), ActiveAt: now()}
	}
	all := func(t *testing.T, s Stores) map[string]store.Key {
		t.Helper()
		list, err := s.Keys.All(t.Context())
		must(t, err)
		m := map[string]store.Key{}
		for _, k := range list {
			m[k.ID] = k
		}
		return m
	}
	return []testCase{
		{"oldest first, every field", func(t *testing.T, s Stores) {
			young, old := key("young", store.PurposeSign, 0), key("old", store.PurposeRefresh, time.Hour)
			must(t, s.Keys.Add(t.Context(), young, time.Time{}))
			must(t, s.Keys.Add(t.Context(), old, time.Time{}))
			list, err := s.Keys.All(t.Context())
			must(t, err)
			equal(t, list, []store.Key{old, young})
		}},
		{"taken id retires nobody", func(t *testing.T, s Stores) {
			k := key("k", store.PurposeSign, 0)
			must(t, s.Keys.Add(t.Context(), k, time.Time{}))
			wantErr(t, s.Keys.Add(t.Context(), k, now()), store.ErrExists)
			equal(t, all(t, s)["k"], k)
		}},
		{"add retires the others of its purpose once", func(t *testing.T, s Stores) {
			must(t, s.Keys.Add(t.Context(), key("k1", store.PurposeSign, 3), time.Time{}))
			must(t, s.Keys.Add(t.Context(), key("r1", store.PurposeRefresh, 3), time.Time{}))
			must(t, s.Keys.Add(t.Context(), key("k2", store.PurposeSign, 2), now().Add(time.Hour)))
			must(t, s.Keys.Add(t.Context(), key("k3", store.PurposeSign, 1), now().Add(2*time.Hour)))
			m := all(t, s)
			equal(t, m["k1"].RetireAt, now().Add(time.Hour))
			equal(t, m["k2"].RetireAt, now().Add(2*time.Hour))
			equal(t, m["k3"].RetireAt, time.Time{})
			equal(t, m["r1"].RetireAt, time.Time{})
		}},
		{"bootstrap keeps the one that stands", func(t *testing.T, s Stores) {
			k1, k2 := key("k1", store.PurposeSign, 0), key("k2", store.PurposeSign, 0)
			for _, k := range []store.Key{k1, k2} {
				got, err := s.Keys.Bootstrap(t.Context(), k)
				must(t, err)
				equal(t, got, k1)
			}
			r1 := key("r1", store.PurposeRefresh, 0)
			got, err := s.Keys.Bootstrap(t.Context(), r1)
			must(t, err)
			equal(t, got, r1)
			must(t, s.Keys.Revoke(t.Context(), "k1", now(), now()))
			got, err = s.Keys.Bootstrap(t.Context(), k2)
			must(t, err)
			equal(t, got, k2)
			equal(t, len(all(t, s)), 3)
		}},
		{"revoke marks and lists", func(t *testing.T, s Stores) {
			must(t, s.Keys.Add(t.Context(), key("k", store.PurposeSign, 0), time.Time{}))
			must(t, s.Keys.Revoke(t.Context(), "k", now(), now().Add(time.Hour)))
			equal(t, all(t, s)["k"].RevokedAt, now())
			list := entries(t, s)
			equal(t, len(list), 1)
			list[0].Seq = 0
			equal(t, list[0], store.Revocation{Kind: store.KindKey, Key: "k", CreatedAt: now(), Expires: now().Add(time.Hour)})
			wantErr(t, s.Keys.Revoke(t.Context(), "absent", now(), now()), store.ErrNotFound)
			equal(t, len(entries(t, s)), 1)
		}},
		{"purge removes retired and revoked", func(t *testing.T, s Stores) {
			must(t, s.Keys.Add(t.Context(), key("retired", store.PurposeSign, 3), time.Time{}))
			must(t, s.Keys.Add(t.Context(), key("later", store.PurposeSign, 2), now().Add(-time.Second)))
			must(t, s.Keys.Add(t.Context(), key("stands", store.PurposeSign, 1), now()))
			must(t, s.Keys.Add(t.Context(), key("revoked", store.PurposeSign, 1), time.Time{}))
			must(t, s.Keys.Revoke(t.Context(), "revoked", now().Add(-time.Second), now()))
			n, err := s.Keys.Purge(t.Context(), now())
			must(t, err)
			equal(t, n, int64(2))
			m := all(t, s)
			if _, ok := m["retired"]; ok || len(m) != 2 {
				t.Fatalf("left: %v", m)
			}
		}},
	}
}
