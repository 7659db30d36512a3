package sealed

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/store"
	"gatehouse/store/sqlstore"
	"gatehouse/store/storetest"
)

func box(t *testing.T, text string) Box {
	t.Helper()
	b, err := NewBox(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), filepath.Join(t.TempDir(), "gate.db"), sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestKeepsTheContract(t *testing.T) {
	storetest.RunKeys(t, func(t *testing.T) storetest.Stores {
		s := open(t)
		return storetest.Stores{Keys: New(s.Keys(), box(t, "one")), Revocations: s.Revocations()}
	})
}

func TestSecretsAreSealedAndBound(t *testing.T) {
	s, at := open(t), time.Now()
	key := store.Key{ID: "k", Purpose: store.PurposeSign, Algorithm: "EdDSA", Secret: []byte("a very secret secret"), CreatedAt: at}
	ring := New(s.Keys(), box(t, "new\nold"))
	if err := New(s.Keys(), box(t, "old")).Add(t.Context(), key, time.Time{}); err != nil {
		t.Fatal(err)
	}
	raw, err := s.Keys().All(t.Context())
	if err != nil || bytes.Contains(raw[0].Secret, key.Secret) {
		t.Fatalf("stored in clear: %v", err)
	}
	got, err := ring.All(t.Context())
	if err != nil || !bytes.Equal(got[0].Secret, key.Secret) {
		t.Fatalf("an older encryption key does not open: %v", err)
	}
	if _, err := New(s.Keys(), box(t, "new")).All(t.Context()); !errors.Is(err, ErrKey) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a wrong encryption key: %v", err)
	}
	other := raw[0]
	other.ID = "k2"
	if _, err := box(t, "old").Open(other); !errors.Is(err, ErrKey) {
		t.Errorf("a secret moved to another key: %v", err)
	}
	plain := key
	plain.ID = "plain"
	if err := s.Keys().Add(t.Context(), plain, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.All(t.Context()); !errors.Is(err, ErrPlain) {
		t.Errorf("a key put in from outside is taken: %v", err)
	}
	if _, err := NewBox(" \n"); err == nil {
		t.Error("no key at all is accepted")
	}
}
