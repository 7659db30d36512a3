// Package storetest decides whether a back end keeps the contracts of package
// store: one case for each sentence of them, and races where many callers want
// the same thing. It knows nothing of how a back end works.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/store"
)

// Stores are the contracts of one freshly made, empty back end.
type Stores struct {
	Users       store.Users
	UserLister  store.UserLister
	Sessions    store.Sessions
	Revocations store.Revocations
	Limiter     store.Limiter
	Keys        store.Keys
	Instances   store.Instances

	forgets bool // see Limiter
}

// Run holds a back end to the contracts. open returns an empty one for each
// case and cleans up through t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	t.Helper()
	for _, part := range []struct {
		name  string
		cases []testCase
	}{
		{"Users", userCases()},
		{"Update", updateCases()},
		{"Keep", keepCases()},
		{"Sessions", sessionCases()},
		{"Rotate", rotateCases()},
		{"Revocations", revocationCases()},
		{"Limiter", limiterCases()},
		{"Keys", keyCases()},
		{"Instances", instanceCases()},
		{"Races", raceCases()},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, c := range part.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
			}
		})
	}
}

// Limiter is a back end of limits alone.
type Limiter struct {
	store.Limiter
	Forgets bool // its keys expire by themselves, and Purge finds nothing
}

// RunLimiter holds a back end that keeps nothing but limits to its contract.
func RunLimiter(t *testing.T, open func(t *testing.T) Limiter) {
	t.Helper()
	cases := append(limiterCases(), testCase{"T099 60 takes against 5 per minute", takeRace})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := open(t)
			c.run(t, Stores{Limiter: l.Limiter, forgets: l.Forgets})
		})
	}
}

// RunKeys holds a back end of keys, with the revocations they write, to its
// contract.
func RunKeys(t *testing.T, open func(t *testing.T) Stores) {
	t.Helper()
	for _, c := range append(keyCases(), testCase{"one key is bootstrapped", bootstrapRace}) {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

type testCase struct {
	name string
	run  func(t *testing.T, s Stores)
}

// now is the moment the cases play at; a microsecond is all that must survive.
func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC) }

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error = %v, want %v", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("differs (-want +got):\n%s", diff)
	}
}

// user returns a complete account.
func user(id string) store.User {
	return store.User{
		ID: id, Email: id + "@Example.com", EmailKey: id + "@example.com", EmailVerified: true, Name: "Name of " + id,
		Groups: []string{"admins", "staff"}, PasswordHash: "$hash$" + id, Generation: 3,
		CreatedAt: now().Add(-time.Hour), UpdatedAt: now().Add(-time.Minute), PasswordChangedAt: now().Add(-2 * time.Minute),
	}
}

func addUser(t *testing.T, s Stores, id string) store.User {
	t.Helper()
	u := user(id)
	must(t, s.Users.Create(t.Context(), u))
	return u
}

// session returns a complete session that lives at now.
func session(id, userID string) store.Session {
	return store.Session{
		ID: id, UserID: userID, CreatedAt: now().Add(-time.Minute), AuthTime: now().Add(-2 * time.Minute), LastUsedAt: now().Add(-time.Minute),
		IdleEnds: now().Add(time.Hour), Ends: now().Add(24 * time.Hour), AMR: []string{"pwd"}, UserAgent: "agent/1", Address: "192.0.2.1",
	}
}

func hash(name string) [32]byte { return sha256.Sum256([]byte(name)) }

func selector(name string) (s [12]byte) {
	h := hash("selector " + name)
	copy(s[:], h[:])
	return s
}

// head is the first head of a session: token "<id>-0".
func head(id string) store.SessionHead {
	return store.SessionHead{ID: id, Selector: selector(id), Hash: hash(id + "-0")}
}

func addSession(t *testing.T, s Stores, id, userID string) store.Session {
	t.Helper()
	v := session(id, userID)
	must(t, s.Sessions.Create(t.Context(), v, head(id)))
	return v
}

// rotation asks to replace token from by token to, at now, without grace.
func rotation(id, from, to string) store.Rotation {
	return store.Rotation{
		Selector: selector(id), Presented: hash(from), Successor: hash(to), Now: now(), IdleEnds: now().Add(2 * time.Hour),
		Address: "192.0.2.9", UserAgent: "agent/2", RevokedUntil: now().Add(48 * time.Hour),
	}
}

func entries(t *testing.T, s Stores) []store.Revocation {
	t.Helper()
	all, _, err := s.Revocations.Since(t.Context(), 0, 100_000)
	must(t, err)
	return all
}

// revoked counts the entries of one kind and key.
func revoked(t *testing.T, s Stores, k store.Kind, key string) (n int) {
	t.Helper()
	for _, e := range entries(t, s) {
		if e.Kind == k && e.Key == key {
			n++
		}
	}
	return n
}

// living tells whether List shows the session.
func living(t *testing.T, s Stores, id string, at time.Time) bool {
	t.Helper()
	all, err := s.Sessions.List(t.Context(), "", at)
	must(t, err)
	for _, v := range all {
		if v.ID == id {
			return true
		}
	}
	return false
}

// together runs n calls that start at the same moment and waits for all.
func together(n int, call func(ctx context.Context, i int)) {
	ctx := context.Background()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			call(ctx, i)
		})
	}
	close(start)
	wg.Wait()
}

func ptr[T any](v T) *T { return &v }
