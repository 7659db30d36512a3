package sqlstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"gatehouse/store"
)

// crashed returns the files of a database as a crash leaves them: n accounts,
// each a transaction of its own, all in the write-ahead log.
func crashed(t *testing.T, n int) (db, wal []byte) {
	t.Helper()
	path := fileIn(t)
	s := open(t, path, Options{})
	for i := range n {
		id := fmt.Sprintf("u%d", i)
		if err := s.Users().Create(t.Context(), store.User{ID: id, EmailKey: id}); err != nil {
			t.Fatal(err)
		}
	}
	for at, file := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at == 0 {
			db = b
		} else {
			wal = b
		}
	}
	return db, wal
}

// F-S5: a write-ahead log that is damaged is refused as long as a crash cannot
// have left it so; nothing is changed. One that a crash left is read.
func TestDamagedLogIsRefused(t *testing.T) {
	db, wal := crashed(t, 12)
	const frame = walFrame + 4096
	flip := func(at int) []byte {
		b := append([]byte(nil), wal...)
		b[at] ^= 0x40
		return b
	}
	for name, c := range map[string]struct {
		wal  []byte
		want string // "" = opens
	}{
		"whole":                      {wal, ""},
		"none":                       {nil, ""},
		"a torn end":                 {wal[:len(wal)-100], ""},
		"a last frame that is zeros": {append(append([]byte(nil), wal[:len(wal)-frame]...), make([]byte, frame)...), ""},
		"a header alone":             {wal[:walHeader], ""},
		"garbage":                    {[]byte(strings.Repeat("not a log at all ", 4000)), "header"},
		"zeros":                      {make([]byte, len(wal)), "header"},
		"its header":                 {flip(17), "header"},
		"its first page":             {flip(walHeader + walFrame + 9), "frame 1)"},
		"the head of its first":      {flip(walHeader + 10), "frame 1)"},
		"a page in the middle":       {flip(walHeader + 2*frame + walFrame + 4000), "frame 3)"},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileIn(t)
			if err := errors.Join(os.WriteFile(path, db, 0o600), os.WriteFile(path+"-wal", c.wal, 0o600)); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), path, Options{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				_ = s.Close()
				return
			}
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "-wal file is damaged") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			for file, before := range map[string][]byte{path: db, path + "-wal": c.wal} {
				if after, _ := os.ReadFile(file); string(after) != string(before) {
					t.Errorf("%s was changed", file)
				}
			}
		})
	}
}

// A command opens the database beside a gateway that writes.
func TestOpenBesideAWriter(t *testing.T) {
	path := fileIn(t)
	s := open(t, path, Options{})
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			id := fmt.Sprintf("u%d", i)
			if err := s.Users().Create(t.Context(), store.User{ID: id, EmailKey: id}); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 30 {
		if err := checkLog(path + "-wal"); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
