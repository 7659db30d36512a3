package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/store"
)

func TestAdminMakesAndChangesAccounts(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ctx := t.Context()
		u, err := w.admin.Add(ctx, Registration{Email: " Ann@Example.com ", Password: newPassword, Name: "Ann"}, []string{"b", " a", "b", ""})
		if err != nil || u.Email != "Ann@Example.com" || u.EmailKey != "ann@example.com" || strings.Join(u.Groups, ",") != "a,b" {
			t.Fatalf("%+v, %v", u, err)
		}
		for what, in := range map[string]Registration{
			"taken": {Email: "ANN@example.com", Password: newPassword}, "no address": {Email: "x", Password: newPassword}, "weak": {Email: "b@example.com", Password: "x"},
			"empty": {Email: "b@example.com"}, "name": {Email: "b@example.com", Password: newPassword, Name: "a\nb"},
		} {
			if _, err := w.admin.Add(ctx, in, nil); !errors.Is(err, ErrInput) || strings.Contains(err.Error(), newPassword) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := w.admin.Add(ctx, Registration{Email: "b@example.com", Password: newPassword}, []string{"a,b"}); !errors.Is(err, ErrInput) {
			t.Error(err)
		}
		for what, c := range map[string][3]string{"address": {"x", "", annsHash()}, "hash": {"c@example.com", "", "MD5"}, "name": {"c@example.com", strings.Repeat("x", 101), annsHash()}} {
			if _, err := w.admin.Import(ctx, c[0], c[1], c[2], nil); !errors.Is(err, ErrInput) {
				t.Errorf("import, bad %s: %v", what, err)
			}
		}
		if _, err := w.admin.Import(ctx, "c@example.com", "", annsHash(), []string{"x;y"}); !errors.Is(err, ErrInput) {
			t.Error(err)
		}
		if _, err := w.admin.SetPassword(ctx, "ann@example.com", "short"); !errors.Is(err, ErrInput) {
			t.Error(err)
		}
		if _, err := w.admin.SetGroups(ctx, "ann@example.com", []string{"a;b"}); !errors.Is(err, ErrInput) {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"find": second(w.admin.Find(ctx, "nobody@example.com")), "find x": second(w.admin.Find(ctx, "x")), "disable": second(w.admin.SetDisabled(ctx, "nobody@example.com", true)),
			"groups": second(w.admin.SetGroups(ctx, "nobody@example.com", nil)), "password": second(w.admin.SetPassword(ctx, "nobody@example.com", newPassword)), "delete": second(w.admin.Delete(ctx, "nobody@example.com")),
		} {
			if !errors.Is(err, ErrInput) {
				t.Errorf("%s of nobody: %v", what, err)
			}
		}
		for i := range 5 {
			w.user(fmt.Sprintf("u%d@example.com", i))
		}
		if all, err := w.admin.List(ctx); err != nil || len(all) != 6 || all[0].EmailKey != "ann@example.com" {
			t.Errorf("%d accounts, %v", len(all), err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestT008_GroupsCanBeToldApart(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"a,b", "a;b", "a\nb", "a\x00", "\u202eevil", "x\x7f", strings.Repeat("g", 101), "\ufffd"} {
		if _, err := CleanGroups([]string{"ok", bad}); !errors.Is(err, ErrInput) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got, err := CleanGroups([]string{"Ä", "b b", "", " a ", "a"}); err != nil || strings.Join(got, "|") != "a|b b|Ä" {
		t.Errorf("%q, %v", got, err)
	}
}

// What the operator does on the store counts here as soon as it is read.
func TestAdminEndsSessionsAndKeys(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ctx := t.Context()
		ann, bob := w.user("ann@example.com"), w.user("bob@example.com")
		a, a2, b := w.session(ann), w.session(ann), w.session(bob)
		if list, err := w.admin.Sessions(ctx, ""); err != nil || len(list) != 3 {
			t.Fatal(len(list), err)
		}
		w.events.take()
		ended, err := w.admin.EndSessions(ctx, store.SessionEnd{UserID: ann.ID, ExceptID: a2.Identity.Session})
		if err != nil || len(ended) != 1 || ended[0] != a.Identity.Session {
			t.Fatal(ended, err)
		}
		sync := func() {
			t.Helper()
			if err := w.Mirror.Sync(ctx); err != nil {
				t.Fatal(err)
			}
		}
		sync()
		w.dead("ended", a)
		w.result("kept", false, nil, bearerOf(a2.Access))
		if got := w.events.take(); names(got) != "session.revoke" || got[0]["actor"] != "admin" || got[0]["session"] != a.Identity.Session {
			t.Errorf("audited %v", got)
		}

		first, err := w.admin.Keys(ctx)
		if err != nil || len(first) != 2 {
			t.Fatal(len(first), err)
		}
		kid, err := w.admin.RotateKey(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.result("after a rotation", false, nil, bearerOf(b.Access))
		rotated := w.session(bob)
		if err := w.admin.RevokeKey(ctx, kid); err != nil { // the one in use: another is made first
			t.Fatal(err)
		}
		sync()
		w.result("of the revoked key", false, identity.ErrRejected, bearerOf(rotated.Access))
		w.result("of the key before", false, nil, bearerOf(b.Access))
		if err := w.Ring.Load(ctx); err != nil {
			t.Fatal(err)
		}
		w.result("of a new key", false, nil, bearerOf(w.session(bob).Access))
		if err := w.admin.RevokeKey(ctx, "nokey"); !errors.Is(err, ErrInput) {
			t.Error(err)
		}
		if got := names(w.events.take()); got != "key.rotate key.rotate key.revoke" {
			t.Errorf("audited %q", got)
		}
	})
}

func TestAdminReportsADeadStore(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ctx := t.Context()
		w.user("ann@example.com")
		if err := w.db.Close(); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"find": second(w.admin.Find(ctx, "ann@example.com")), "list": second(w.admin.List(ctx)), "keys": second(w.admin.Keys(ctx)), "rotate": second(w.admin.RotateKey(ctx)),
			"revoke": w.admin.RevokeKey(ctx, "x"), "end": second(w.admin.EndSessions(ctx, store.SessionEnd{Everyone: true})), "purge": w.Purge(ctx),
			"add": second(w.admin.Add(ctx, Registration{Email: "b@example.com", Password: newPassword}, nil)),
		} {
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrInput) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestAServiceNeedsAllItsParts(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		if s, err := NewService(Deps{Users: w.Users}, w.cfg); err == nil || s != nil {
			t.Fatal("made of one part")
		}
	})
}

func TestRunPurgesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		if _, err := w.Limiter.Take(t.Context(), w.clock(), store.Claim{Key: "k", Count: 1, Per: time.Second}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		time.Sleep(11 * time.Minute) // of the bubble
		cancel()
		<-done
		if n, err := w.Limiter.Purge(t.Context(), w.clock()); err != nil || n != 0 {
			t.Errorf("%d counters left, %v", n, err)
		}
	})
}

// A key that is replaced by itself leaves the trail that one replaced by an
// operator does (threat T137).
func TestT137_KeysThatRotateByThemselvesAreAudited(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		audited := func() []map[string]string {
			w.events.take()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // of the bubble
			defer cancel()
			w.Ring.Run(ctx)
			return w.events.take()
		}
		if got := audited(); len(got) != 0 {
			t.Errorf("before its time: %v", got)
		}
		w.pass(w.cfg.Tokens.RotateKeysEvery)
		got := audited()
		if len(got) != 1 || got[0]["event"] != "key.rotate" || got[0]["actor"] != "gatehouse" || got[0]["outcome"] != "success" {
			t.Fatalf("audited %v", got)
		}
		if kid := got[0]["subject"]; kid == "" || !strings.Contains(string(w.Ring.JWKS()), kid) {
			t.Errorf("the event names the key %q", kid)
		}
	})
}

// A user whose token would not fit requests is told whom to ask, and the
// operator who and why; no session is left behind.
func TestT066_TooManyGroupsHaveAnAnswer(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		var log strings.Builder
		w.Log = slog.New(slog.NewTextHandler(&log, nil))
		var many []string
		for i := range 60 {
			many = append(many, fmt.Sprintf("a group with a rather long name and the number %d", i))
		}
		u := w.user("ann@example.com", "few")
		tok := w.granted(w.login("ann@example.com", annsPassword), 200)
		if _, err := w.admin.SetGroups(t.Context(), "ann@example.com", many); err != nil {
			t.Fatal(err)
		}
		w.want("sign-in", w.login("ann@example.com", annsPassword), 403, "too_many_groups")
		sessions := func(want int) {
			t.Helper()
			if list, err := w.admin.Sessions(t.Context(), u.ID); err != nil || len(list) != want {
				t.Errorf("%d sessions, want %d: %v", len(list), want, err)
			}
		}
		sessions(1)
		refresh := func() answer { return w.post("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}) }
		w.want("refresh", refresh(), 403, "too_many_groups")
		sessions(0)
		w.pass(time.Minute)
		w.want("the same again", refresh(), 401, "session_over")
		if events := names(w.events.take()); strings.Contains(events, "refresh.reuse") {
			t.Errorf("taken for theft: %s", events)
		}
		for _, part := range []string{"level=ERROR", "account=ann@example.com", "subject=" + u.ID, "fewer groups", "60 groups"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("no %q in the log:\n%s", part, log.String())
			}
		}
		if _, err := w.admin.SetGroups(t.Context(), "ann@example.com", many[:1]); err != nil {
			t.Fatal(err)
		}
		w.granted(w.login("ann@example.com", annsPassword), 200)
	})
}

// Each event names who, where and what came of it (threat T137).
func TestT137_EventsNameWhoAndWhere(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}", func(t *testing.T, w *world) {
		tok := w.granted(w.register("ann@example.com", annsPassword, ""), 201)
		w.register("ann@example.com", annsPassword, "")
		w.login("ann@example.com", "wrong")
		w.login("nobody@example.com", "wrong")
		w.login("not an address, perhaps a password", "wrong")
		next := w.granted(w.post("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}), 200)
		w.pass(11 * time.Second)
		w.post("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
		in := w.granted(w.login("ann@example.com", annsPassword), 200)
		changed := w.granted(w.post("/_auth/password", map[string]string{"current_password": annsPassword, "new_password": newPassword}, bearerOf(in.AccessToken)), 200)
		w.send("POST", "/_auth/logout", "", bearerOf(changed.AccessToken))
		got := w.events.take()
		if want := "register.success register.failure login.failure login.failure login.failure refresh.success refresh.reuse login.success password.change logout"; names(got) != want {
			t.Fatalf("got  %s\nwant %s", names(got), want)
		}
		for i, e := range got {
			if e["ip"] != "192.0.2.1" || e["ua"] != "test/1" || e["request_id"] != "r" || e["outcome"] == "" {
				t.Errorf("%v", e)
			}
			known := i != 1 && i != 3 && i != 4
			if known != (e["subject"] == tok.User.Sub) {
				t.Errorf("%s %d: subject %q", e["event"], i, e["subject"])
			}
			for _, secret := range []string{annsPassword, newPassword, "perhaps a password", tok.RefreshToken, next.AccessToken, "wrong"} {
				if strings.Contains(fmt.Sprint(e), secret) {
					t.Errorf("%s holds %q", e["event"], secret)
				}
			}
		}
		if got[2]["account"] != "ann@example.com" || got[4]["account"] != "-" || got[6]["outcome"] != "revoked" || got[6]["session"] != tok.User.Sid {
			t.Errorf("%v\n%v\n%v", got[2], got[4], got[6])
		}
	})
}
