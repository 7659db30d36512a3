package sqlstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/servertest"
	"gatehouse/store"
)

// A copy has every row, goes on where it broke off, and notices a difference.
func pgCopy(t *testing.T, server *servertest.Postgres) {
	from, to, at := open(t, fileIn(t), Options{}), openPostgres(t, server.Schema(t)), time.Now().UTC().Truncate(time.Microsecond)
	const n = 450 // more than two pages
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		id := fmt.Sprintf("%c%d", "aA_zé"[i%4], i)
		u := store.User{ID: id, Email: id + "@Example.com", EmailKey: id + "@example.com", EmailVerified: i%2 == 0, Groups: []string{"ü"}, Generation: int64(i), CreatedAt: at}
		must(from.Users().Create(t.Context(), u))
		v := store.Session{ID: id, UserID: id, CreatedAt: at, IdleEnds: at.Add(time.Hour), Ends: at.Add(time.Hour), AMR: []string{"pwd"}, UserAgent: "\xff"}
		must(from.Sessions().Create(t.Context(), v, store.SessionHead{ID: id, Selector: [12]byte{byte(i), byte(i >> 8)}, Hash: [32]byte{1}}))
		must(from.Revocations().Revoke(t.Context(), store.Revocation{Kind: store.KindToken, Key: id, CreatedAt: at, Expires: at}))
	}
	must(from.Keys().Add(t.Context(), store.Key{ID: "k", Purpose: store.PurposeSign, Secret: []byte("secret"), CreatedAt: at}, time.Time{}))
	_, err := from.Limiter().Take(t.Context(), at, store.Claim{Key: "k", Count: 1, Per: time.Hour})
	must(err)
	seal := func(k store.Key) store.Key { k.Secret = []byte("sealed"); return k }
	quiet := func(string, int) {}

	must(Copy(t.Context(), from, to, seal, quiet))
	_, err = to.db.Exec("DELETE FROM sessions WHERE id LIKE 'a%'; DELETE FROM revocations WHERE seq > 17")
	must(err)
	rows := map[string]int{}
	must(Copy(t.Context(), from, to, seal, func(table string, n int) { rows[table] = n }))
	if diff := cmp.Diff(map[string]int{"users": n, "sessions": n, "revocations": n, "limits": 1, "keys": 1}, rows); diff != "" {
		t.Error(diff)
	}
	want, err1 := from.Users().List(t.Context(), "", 2*n)
	got, err2 := to.Users().List(t.Context(), "", 2*n)
	if diff := cmp.Diff(want, got); diff != "" || errors.Join(err1, err2) != nil {
		t.Error(diff, err1, err2)
	}
	must(to.Revocations().Revoke(t.Context(), store.Revocation{Kind: store.KindToken, Key: "next", CreatedAt: at, Expires: at}))
	list, _, err := to.Revocations().Since(t.Context(), n, 10)
	if err != nil || len(list) != 1 || list[0].Key != "next" {
		t.Errorf("the next revocation: %+v, %v", list, err)
	}
	_, err = to.db.Exec("DELETE FROM revocations WHERE subject = 'next'; UPDATE users SET name = 'Mallory' WHERE id = 'a0'")
	must(err)
	if err := Copy(t.Context(), from, to, seal, quiet); !errors.Is(err, ErrDiffers) {
		t.Errorf("a changed row: %v", err)
	}
	_, err = to.db.Exec("UPDATE users SET name = '' WHERE id = 'a0'")
	must(err)
	must(to.Users().Create(t.Context(), account("zz more")))
	if err := Copy(t.Context(), from, to, seal, quiet); !errors.Is(err, ErrDiffers) {
		t.Errorf("a row too many: %v", err)
	}
}
