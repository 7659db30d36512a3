package sqlstore

import (
	"path/filepath"
	"testing"

	"gatehouse/store/storetest"
)

func TestContracts(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		s := open(t, filepath.Join(t.TempDir(), "gatehouse.db"), Options{})
		return storesOf(s.parts)
	})
}

func open(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	a := open(t, path, Options{})
	if err := a.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := open(t, path, Options{MustExist: true})
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Backup(t.Context(), path+".bak"); err != nil {
		t.Fatal(err)
	}
	c := open(t, path+".bak", Options{})
	_, e1, _ := a.Revocations().Since(t.Context(), 0, 10)
	_, e2, err := c.Revocations().Since(t.Context(), 0, 10)
	if err != nil || e1 == e2 || e1 == "" {
		t.Fatal(e1, e2, err)
	}
}
