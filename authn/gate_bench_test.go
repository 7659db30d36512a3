package authn

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/authn/revoked"
	"gatehouse/authn/token"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/store"
	"gatehouse/store/sqlstore"
	"gatehouse/web"
)

// hotGate is a gate over a real database that knows its tokens already, and
// some thousand revocations of other people.
func hotGate(tb testing.TB, tokens int) (*Gate, []*http.Request) {
	tb.Helper()
	db, err := sqlstore.Open(context.Background(), filepath.Join(tb.TempDir(), "gatehouse.db"), sqlstore.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() }) // the directory goes with it
	quiet := slog.New(slog.DiscardHandler)
	ring, err := token.NewRing(db.Keys(), config.Tokens{Issuer: "https://gate.test", Algorithm: "EdDSA", AccessTTL: 15 * time.Minute, RotateKeysEvery: time.Hour}, time.Hour, quiet, time.Now)
	if err == nil {
		err = ring.Load(context.Background())
	}
	if err != nil {
		tb.Fatal(err)
	}
	var others []store.Revocation
	for i := range 5000 {
		kind := []store.Kind{store.KindToken, store.KindSession, store.KindUser}[i%3]
		others = append(others, store.Revocation{Kind: kind, Key: fmt.Sprintf("%022d", i), Generation: 1, CreatedAt: time.Now(), Expires: time.Now().Add(time.Hour)})
	}
	if err := db.Revocations().Revoke(context.Background(), others...); err != nil {
		tb.Fatal(err)
	}
	mirror := revoked.New(db.Revocations(), time.Hour, quiet, time.Now)
	if err := mirror.Load(context.Background()); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); mirror.Run(ctx) }()
	tb.Cleanup(func() { cancel(); <-done })
	g := NewGate(&Service{Deps: Deps{Ring: ring, Mirror: mirror, Now: time.Now}})
	requests := make([]*http.Request, tokens)
	for i := range requests {
		raw, err := ring.Access(identity.Identity{
			Subject: fmt.Sprintf("u%021d", i), Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace", Groups: []string{"admins", "readers", "staff"},
			Session: fmt.Sprintf("s%021d", i), AuthTime: time.Now(), AMR: []string{"pwd"}, SessionEnds: time.Now().Add(time.Hour),
		})
		if err != nil {
			tb.Fatal(err)
		}
		requests[i] = &http.Request{Method: http.MethodGet, Header: http.Header{"Authorization": {"Bearer " + raw}}}
	}
	return g, requests
}

func mustKnow(tb testing.TB, g *Gate, r *http.Request, rec *web.Record) {
	if res, err := g.Authenticate(r, rec, true); err != nil || res.Identity == nil {
		tb.Fatalf("not let in: %v", err)
	}
}

// The cost of an identity on every request but the first of a token: nothing
// for the garbage collector, whatever the credential travels in.
func TestAKnownTokenAllocatesNothing(t *testing.T) {
	g, requests := hotGate(t, 1)
	byBearer := requests[0]
	byCookie := &http.Request{Header: http.Header{"Cookie": {"theme=dark; __Host-gatehouse=" + byBearer.Header.Get("Authorization")[len("Bearer "):] + "; other=1"}}}
	rec := &web.Record{}
	for name, r := range map[string]*http.Request{"bearer": byBearer, "cookie": byCookie} {
		mustKnow(t, g, r, rec)
		if n := testing.AllocsPerRun(1000, func() { mustKnow(t, g, r, rec) }); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkGate(b *testing.B) {
	g, requests := hotGate(b, 1)
	rec := &web.Record{}
	b.ReportAllocs()
	for b.Loop() {
		mustKnow(b, g, requests[0], rec)
	}
}

func BenchmarkGateManyTokens(b *testing.B) {
	g, requests := hotGate(b, 10000)
	rec := &web.Record{}
	for _, r := range requests {
		mustKnow(b, g, r, rec)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		mustKnow(b, g, requests[i%len(requests)], rec)
		i++
	}
}
