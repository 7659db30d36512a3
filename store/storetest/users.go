package storetest

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/store"
)

func userCases() []testCase {
	return []testCase{
		{"every field comes back", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			byID, err := s.Users.ByID(t.Context(), "ada")
			must(t, err)
			equal(t, byID, u)
			byEmail, err := s.Users.ByEmail(t.Context(), "ada@example.com")
			must(t, err)
			equal(t, byEmail, u)
		}},
		{"bytes that mean something elsewhere come back", func(t *testing.T, s Stores) {
			u := user("x")
			u.Name, u.Groups, u.PasswordHash = "Robert'); DROP TABLE users;-- \u00e9\U0001F600", []string{`a"b,c`, "d\\e"}, ""
			u.Disabled, u.EmailVerified = true, false
			must(t, s.Users.Create(t.Context(), u))
			got, err := s.Users.ByID(t.Context(), "x")
			must(t, err)
			equal(t, got, u)
		}},
		{"no groups and no times", func(t *testing.T, s Stores) {
			must(t, s.Users.Create(t.Context(), store.User{ID: "n", EmailKey: "n@example.com"}))
			got, err := s.Users.ByID(t.Context(), "n")
			must(t, err)
			if len(got.Groups) != 0 || !got.CreatedAt.IsZero() || !got.PasswordChangedAt.IsZero() {
				t.Fatalf("got %+v", got)
			}
		}},
		{"absent", func(t *testing.T, s Stores) {
			addUser(t, s, "ada")
			_, err := s.Users.ByID(t.Context(), "Ada")
			wantErr(t, err, store.ErrNotFound)
			_, err = s.Users.ByEmail(t.Context(), "ADA@example.com") // the key is compared as it is
			wantErr(t, err, store.ErrNotFound)
			_, err = s.Users.ByEmail(t.Context(), "ada")
			wantErr(t, err, store.ErrNotFound)
		}},
		{"taken id", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			u.EmailKey = "other@example.com"
			wantErr(t, s.Users.Create(t.Context(), u), store.ErrExists)
		}},
		{"taken address leaves the first account alone", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			thief := user("eve")
			thief.EmailKey = u.EmailKey
			wantErr(t, s.Users.Create(t.Context(), thief), store.ErrExists)
			got, err := s.Users.ByEmail(t.Context(), u.EmailKey)
			must(t, err)
			equal(t, got, u)
		}},
		{"list pages in the order of addresses", listUsers},
		{"delete", deleteUser},
		{"delete of nobody", func(t *testing.T, s Stores) {
			wantErr(t, s.Users.Delete(t.Context(), "nobody", now(), now()), store.ErrNotFound)
			equal(t, len(entries(t, s)), 0)
		}},
	}
}

func listUsers(t *testing.T, s Stores) {
	// Byte order: upper case before lower case, ASCII before everything else.
	order := []string{"B", "a", "a-", "a0", "b", "\u00e9"}
	for i, key := range order {
		u := user(fmt.Sprint(i))
		u.EmailKey = key
		must(t, s.Users.Create(t.Context(), u))
	}
	var got []string
	for after := ""; ; {
		page, err := s.UserLister.List(t.Context(), after, 2)
		must(t, err)
		if len(page) == 0 {
			break
		}
		if len(page) > 2 {
			t.Fatalf("page of %d, asked for 2", len(page))
		}
		for _, u := range page {
			got = append(got, u.EmailKey)
		}
		after = page[len(page)-1].EmailKey
	}
	equal(t, got, order)
}

func deleteUser(t *testing.T, s Stores) {
	u := addUser(t, s, "ada")
	addUser(t, s, "bob")
	addSession(t, s, "s1", "ada")
	addSession(t, s, "s2", "bob")
	must(t, s.Users.Delete(t.Context(), "ada", now(), now().Add(time.Hour)))
	_, err := s.Users.ByID(t.Context(), "ada")
	wantErr(t, err, store.ErrNotFound)
	if living(t, s, "s1", now()) || !living(t, s, "s2", now()) {
		t.Fatal("want the sessions of the deleted user ended, and no others")
	}
	_, err = s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
	wantErr(t, err, store.ErrEnded)
	equal(t, revoked(t, s, store.KindSession, "s1"), 1)
	for _, e := range entries(t, s) {
		if e.Kind == store.KindUser && e.Key == "ada" {
			if e.Generation <= u.Generation || !e.Expires.Equal(now().Add(time.Hour)) {
				t.Fatalf("revocation %+v does not cover generation %d", e, u.Generation)
			}
			return
		}
	}
	t.Fatal("no revocation for the user")
}

func updateCases() []testCase {
	at, until := now(), now().Add(48*time.Hour)
	return []testCase{
		{"nil fields stay", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			got, err := s.Users.Update(t.Context(), "ada", store.UserChange{Now: at, RevokedUntil: until})
			must(t, err)
			u.UpdatedAt = at
			equal(t, got, u)
			equal(t, len(entries(t, s)), 0)
		}},
		{"each field", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			got, err := s.Users.Update(t.Context(), "ada", store.UserChange{
				Name: ptr("New"), Groups: ptr([]string{"ops"}), EmailVerified: ptr(false), Disabled: ptr(true), Now: at,
			})
			must(t, err)
			u.Name, u.Groups, u.EmailVerified, u.Disabled, u.UpdatedAt = "New", []string{"ops"}, false, true, at
			equal(t, got, u)
			stored, err := s.Users.ByID(t.Context(), "ada")
			must(t, err)
			equal(t, stored, u)
		}},
		{"the same password hashed anew revokes nothing", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			addSession(t, s, "s1", "ada")
			got, err := s.Users.Update(t.Context(), "ada", store.UserChange{PasswordHash: ptr("new"), ExpectHash: ptr(u.PasswordHash), Now: at})
			must(t, err)
			equal(t, got.PasswordHash, "new")
			equal(t, got.PasswordChangedAt, u.PasswordChangedAt)
			equal(t, got.Generation, u.Generation)
			equal(t, len(entries(t, s)), 0)
			equal(t, living(t, s, "s1", at), true)
		}},
		{"compare and swap", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			addSession(t, s, "s1", "ada")
			_, err := s.Users.Update(t.Context(), "ada", store.UserChange{
				PasswordHash: ptr("new"), ExpectHash: ptr("stale"), Revoke: true, EndSessions: true, Now: at, RevokedUntil: until,
			})
			wantErr(t, err, store.ErrConflict)
			unchanged(t, s, u, "s1")
		}},
		{"absent", func(t *testing.T, s Stores) {
			_, err := s.Users.Update(t.Context(), "nobody", store.UserChange{Revoke: true, Now: at, RevokedUntil: until})
			wantErr(t, err, store.ErrNotFound)
			equal(t, len(entries(t, s)), 0)
		}},
		{"revoke grows the generation by one", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			got, err := s.Users.Update(t.Context(), "ada", store.UserChange{Groups: ptr([]string(nil)), Revoke: true, Now: at, RevokedUntil: until})
			must(t, err)
			equal(t, got.Generation, u.Generation+1)
			list := entries(t, s)
			equal(t, len(list), 1)
			list[0].Seq = 0
			equal(t, list[0], store.Revocation{Kind: store.KindUser, Key: "ada", Generation: u.Generation + 1, CreatedAt: at, Expires: until})
		}},
		{"end all sessions", func(t *testing.T, s Stores) {
			addUser(t, s, "ada")
			addSession(t, s, "s1", "ada")
			addSession(t, s, "s2", "ada")
			addSession(t, s, "s3", "bob")
			_, err := s.Users.Update(t.Context(), "ada", store.UserChange{Disabled: ptr(true), EndSessions: true, Now: at, RevokedUntil: until})
			must(t, err)
			all, err := s.Sessions.List(t.Context(), "", at)
			must(t, err)
			equal(t, len(all), 1)
			equal(t, all[0].ID, "s3")
			equal(t, revoked(t, s, store.KindSession, "s1")+revoked(t, s, store.KindSession, "s2"), 2)
		}},
		{"password change keeps one session under a new head", keepHead},
	}
}

// keepCases: the session that shall go on must be there to go on.
func keepCases() []testCase {
	at, until := now(), now().Add(48*time.Hour)
	return []testCase{
		{"keep of a session that is over changes nothing", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			addSession(t, s, "s1", "ada")
			addSession(t, s, "s2", "ada")
			_, err := s.Sessions.End(t.Context(), store.SessionEnd{SessionID: "s2", Now: at, RevokedUntil: until})
			must(t, err)
			for _, id := range []string{"s2", "absent"} {
				_, err = s.Users.Update(t.Context(), "ada", store.UserChange{
					PasswordHash: ptr("new"), EndSessions: true, Keep: &store.SessionHead{ID: id, Selector: selector("k"), Hash: hash("k")}, Now: at, RevokedUntil: until,
				})
				wantErr(t, err, store.ErrEnded)
				stored, err := s.Users.ByID(t.Context(), "ada")
				must(t, err)
				equal(t, stored, u)
				equal(t, living(t, s, "s1", at), true)
			}
		}},
		{"keep of an idle session or of somebody else's", func(t *testing.T, s Stores) {
			u := addUser(t, s, "ada")
			addSession(t, s, "s1", "ada")
			addSession(t, s, "s2", "bob")
			for id, when := range map[string]time.Time{"s1": at.Add(time.Hour), "s2": at} {
				_, err := s.Users.Update(t.Context(), "ada", store.UserChange{
					PasswordHash: ptr("new"), Keep: &store.SessionHead{ID: id, Selector: selector("k"), Hash: hash("k")}, Now: when,
				})
				wantErr(t, err, store.ErrEnded)
			}
			unchanged(t, s, u, "s2")
		}},
	}
}

func unchanged(t *testing.T, s Stores, u store.User, sid string) {
	t.Helper()
	got, err := s.Users.ByID(t.Context(), u.ID)
	must(t, err)
	equal(t, got, u)
	equal(t, living(t, s, sid, now()), true)
	equal(t, len(entries(t, s)), 0)
}

func keepHead(t *testing.T, s Stores) {
	u := addUser(t, s, "ada")
	addSession(t, s, "s1", "ada")
	addSession(t, s, "s2", "ada")
	got, err := s.Users.Update(t.Context(), "ada", store.UserChange{
		PasswordHash: ptr("new"), ExpectHash: ptr(u.PasswordHash), Revoke: true, EndSessions: true,
		Keep: &store.SessionHead{ID: "s1", Selector: selector("new"), Hash: hash("new-0")}, Now: now(), RevokedUntil: now().Add(time.Hour),
	})
	must(t, err)
	equal(t, got.PasswordChangedAt, now())
	equal(t, living(t, s, "s1", now()), true)
	equal(t, living(t, s, "s2", now()), false)
	equal(t, revoked(t, s, store.KindSession, "s1"), 0)
	equal(t, revoked(t, s, store.KindSession, "s2"), 1)
	_, err = s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
	wantErr(t, err, store.ErrNotFound) // the old family is gone, and its tokens with it
	_, err = s.Sessions.Find(t.Context(), selector("s1"), hash("s1-0"))
	wantErr(t, err, store.ErrNotFound)
	out, err := s.Sessions.Rotate(t.Context(), rotation("new", "new-0", "new-1"))
	must(t, err)
	equal(t, out.Session.ID, "s1")
}
