package storetest

import (
	"testing"
	"time"

	"gatehouse/store"
)

func sessionCases() []testCase {
	end := func(e store.SessionEnd) store.SessionEnd {
		e.Now, e.RevokedUntil = now(), now().Add(48*time.Hour)
		return e
	}
	three := func(t *testing.T, s Stores) {
		addSession(t, s, "a1", "ada")
		addSession(t, s, "a2", "ada")
		addSession(t, s, "b1", "bob")
	}
	ends := func(e store.SessionEnd, want ...string) func(t *testing.T, s Stores) {
		return func(t *testing.T, s Stores) {
			three(t, s)
			got, err := s.Sessions.End(t.Context(), end(e))
			must(t, err)
			gone := map[string]bool{}
			for _, id := range got {
				gone[id] = true
			}
			equal(t, len(got), len(want))
			for _, id := range want {
				equal(t, gone[id], true)
			}
			for _, id := range []string{"a1", "a2", "b1"} {
				equal(t, living(t, s, id, now()), !gone[id])
				equal(t, revoked(t, s, store.KindSession, id) == 1, gone[id])
			}
		}
	}
	return []testCase{
		{"every field comes back", func(t *testing.T, s Stores) {
			v := addSession(t, s, "s1", "ada")
			got, err := s.Sessions.Find(t.Context(), selector("s1"), hash("s1-0"))
			must(t, err)
			equal(t, got, v)
			all, err := s.Sessions.List(t.Context(), "ada", now())
			must(t, err)
			equal(t, all, []store.Session{v})
		}},
		{"taken id", func(t *testing.T, s Stores) {
			v := addSession(t, s, "s1", "ada")
			wantErr(t, s.Sessions.Create(t.Context(), v, store.SessionHead{ID: "s1", Selector: selector("x"), Hash: hash("x")}), store.ErrExists)
		}},
		{"find knows head and parent only", findSession},
		{"list is of one user, living, latest use first", listSessions},
		{"end one", ends(store.SessionEnd{SessionID: "a1"}, "a1")},
		{"end one of its user", ends(store.SessionEnd{SessionID: "a1", UserID: "ada"}, "a1")},
		{"end one of another user", ends(store.SessionEnd{SessionID: "b1", UserID: "ada"})},
		{"end absent", ends(store.SessionEnd{SessionID: "absent"})},
		{"end all of one user", ends(store.SessionEnd{UserID: "ada"}, "a1", "a2")},
		{"end all but one", ends(store.SessionEnd{UserID: "ada", ExceptID: "a2"}, "a1")},
		{"end everyone", ends(store.SessionEnd{Everyone: true}, "a1", "a2", "b1")},
		{"end names nothing", ends(store.SessionEnd{ExceptID: "a1"})},
		{"end twice revokes once", func(t *testing.T, s Stores) {
			three(t, s)
			for range 2 {
				_, err := s.Sessions.End(t.Context(), end(store.SessionEnd{SessionID: "a1"}))
				must(t, err)
			}
			equal(t, revoked(t, s, store.KindSession, "a1"), 1)
		}},
		{"the revocation holds as long as asked", func(t *testing.T, s Stores) {
			three(t, s)
			_, err := s.Sessions.End(t.Context(), end(store.SessionEnd{SessionID: "a1"}))
			must(t, err)
			e := entries(t, s)[0]
			e.Seq = 0
			equal(t, e, store.Revocation{Kind: store.KindSession, Key: "a1", CreatedAt: now(), Expires: now().Add(48 * time.Hour)})
		}},
		{"end of an idle session is not reported as living", func(t *testing.T, s Stores) {
			three(t, s)
			e := end(store.SessionEnd{SessionID: "a1"})
			e.Now = now().Add(time.Hour)
			ids, err := s.Sessions.End(t.Context(), e)
			must(t, err)
			equal(t, len(ids), 0)
		}},
	}
}

func findSession(t *testing.T, s Stores) {
	addSession(t, s, "s1", "ada")
	for _, step := range [][2]string{{"s1-0", "s1-1"}, {"s1-1", "s1-2"}} {
		_, err := s.Sessions.Rotate(t.Context(), rotation("s1", step[0], step[1]))
		must(t, err)
	}
	for token, want := range map[string]error{"s1-2": nil, "s1-1": nil, "s1-0": store.ErrNotFound, "other": store.ErrNotFound} {
		v, err := s.Sessions.Find(t.Context(), selector("s1"), hash(token))
		wantErr(t, err, want)
		if want == nil {
			equal(t, v.ID, "s1")
		}
	}
	_, err := s.Sessions.Find(t.Context(), selector("absent"), hash("s1-2"))
	wantErr(t, err, store.ErrNotFound)
	_, err = s.Sessions.End(t.Context(), store.SessionEnd{SessionID: "s1", Now: now(), RevokedUntil: now()})
	must(t, err)
	v, err := s.Sessions.Find(t.Context(), selector("s1"), hash("s1-2"))
	must(t, err)
	equal(t, v.EndedAt, now())
}

func listSessions(t *testing.T, s Stores) {
	for id, age := range map[string]time.Duration{"old": 3, "new": 1, "mid": 2} {
		v := session(id, "ada")
		v.LastUsedAt = now().Add(-age * time.Minute)
		must(t, s.Sessions.Create(t.Context(), v, head(id)))
	}
	idle, over, ended := session("idle", "ada"), session("over", "ada"), session("ended", "ada")
	idle.IdleEnds = now()
	over.Ends = now()
	ended.EndedAt = now().Add(-time.Second)
	for _, v := range []store.Session{idle, over, ended} {
		must(t, s.Sessions.Create(t.Context(), v, head(v.ID)))
	}
	addSession(t, s, "bob", "bob")
	ids := func(userID string) (ids []string) {
		all, err := s.Sessions.List(t.Context(), userID, now())
		must(t, err)
		for _, v := range all {
			ids = append(ids, v.ID)
		}
		return ids
	}
	equal(t, ids("ada"), []string{"new", "mid", "old"})
	equal(t, len(ids("")), 4)
	equal(t, ids("nobody"), []string(nil))
}

func rotateCases() []testCase {
	return []testCase{
		{"the head moves", func(t *testing.T, s Stores) {
			v := addSession(t, s, "s1", "ada")
			out, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
			must(t, err)
			v.LastUsedAt, v.IdleEnds, v.Address, v.UserAgent = now(), now().Add(2*time.Hour), "192.0.2.9", "agent/2"
			equal(t, out, store.Rotated{Session: v})
			stored, err := s.Sessions.Find(t.Context(), selector("s1"), hash("s1-1"))
			must(t, err)
			equal(t, stored, v)
			_, err = s.Sessions.Rotate(t.Context(), rotation("s1", "s1-1", "s1-2"))
			must(t, err)
		}},
		{"an empty address stays", func(t *testing.T, s Stores) {
			v := addSession(t, s, "s1", "ada")
			r := rotation("s1", "s1-0", "s1-1")
			r.Address = ""
			out, err := s.Sessions.Rotate(t.Context(), r)
			must(t, err)
			equal(t, out.Session.Address, v.Address)
		}},
		{"the idle end stops at the absolute end", func(t *testing.T, s Stores) {
			v := addSession(t, s, "s1", "ada")
			r := rotation("s1", "s1-0", "s1-1")
			r.IdleEnds = v.Ends.Add(time.Hour)
			out, err := s.Sessions.Rotate(t.Context(), r)
			must(t, err)
			equal(t, out.Session.IdleEnds, v.Ends)
		}},
		{"no such family", func(t *testing.T, s Stores) {
			_, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
			wantErr(t, err, store.ErrNotFound)
		}},
		{"ended", func(t *testing.T, s Stores) {
			addSession(t, s, "s1", "ada")
			_, err := s.Sessions.End(t.Context(), store.SessionEnd{SessionID: "s1", Now: now(), RevokedUntil: now()})
			must(t, err)
			out, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
			wantErr(t, err, store.ErrEnded)
			equal(t, out.Session.ID, "s1")
			equal(t, revoked(t, s, store.KindSession, "s1"), 1)
		}},
		{"idle", over(func(v store.Session) time.Time { return v.IdleEnds })},
		{"past its end", over(func(v store.Session) time.Time { return v.Ends })},
		{"a parent without grace is reuse", func(t *testing.T, s Stores) {
			addSession(t, s, "s1", "ada")
			_, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
			must(t, err)
			reused(t, s, rotation("s1", "s1-0", "s1-1"), "s1-1")
		}},
		{"T091 a parent within its grace repeats", graceRepeats},
		{"T091 a parent after its grace is reuse", func(t *testing.T, s Stores) {
			addSession(t, s, "s1", "ada")
			_, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
			must(t, err)
			r := rotation("s1", "s1-0", "s1-1")
			r.Grace, r.Now = 10*time.Second, now().Add(10*time.Second+time.Microsecond)
			reused(t, s, r, "s1-1")
		}},
		{"T092 grace never reaches the grandparent", func(t *testing.T, s Stores) {
			addSession(t, s, "s1", "ada")
			for _, step := range [][2]string{{"s1-0", "s1-1"}, {"s1-1", "s1-2"}} {
				_, err := s.Sessions.Rotate(t.Context(), rotation("s1", step[0], step[1]))
				must(t, err)
			}
			r := rotation("s1", "s1-0", "s1-1")
			r.Grace = time.Hour
			reused(t, s, r, "s1-2")
		}},
		{"T092 repeating does not renew the grace", func(t *testing.T, s Stores) {
			addSession(t, s, "s1", "ada")
			_, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
			must(t, err)
			r := rotation("s1", "s1-0", "s1-1")
			r.Grace = 10 * time.Second
			for _, after := range []time.Duration{4, 8} {
				r.Now = now().Add(after * time.Second)
				_, err = s.Sessions.Rotate(t.Context(), r)
				must(t, err)
			}
			r.Now = now().Add(12 * time.Second)
			reused(t, s, r, "s1-1")
		}},
		{"a secret that never was is reuse", func(t *testing.T, s Stores) {
			addSession(t, s, "s1", "ada")
			reused(t, s, rotation("s1", "made up", "s1-1"), "s1-0")
		}},
	}
}

// over checks that a session is over from the given moment on, and not before.
func over(end func(store.Session) time.Time) func(t *testing.T, s Stores) {
	return func(t *testing.T, s Stores) {
		v := session("s1", "ada")
		v.IdleEnds, v.Ends = now().Add(time.Hour), now().Add(time.Hour)
		must(t, s.Sessions.Create(t.Context(), v, head("s1")))
		r := rotation("s1", "s1-0", "s1-1")
		r.Now = end(v)
		out, err := s.Sessions.Rotate(t.Context(), r)
		wantErr(t, err, store.ErrEnded)
		equal(t, out.Session, v)
		equal(t, len(entries(t, s)), 0)
		r.Now = end(v).Add(-time.Microsecond)
		_, err = s.Sessions.Rotate(t.Context(), r)
		must(t, err)
	}
}

func graceRepeats(t *testing.T, s Stores) {
	addSession(t, s, "s1", "ada")
	first, err := s.Sessions.Rotate(t.Context(), rotation("s1", "s1-0", "s1-1"))
	must(t, err)
	for _, after := range []time.Duration{0, 10 * time.Second, -time.Second} { // the last: a caller that read its clock early
		r := rotation("s1", "s1-0", "s1-1")
		r.Grace, r.Now, r.Address = 10*time.Second, now().Add(after), "198.51.100.7"
		out, err := s.Sessions.Rotate(t.Context(), r)
		must(t, err)
		equal(t, out, store.Rotated{Session: first.Session, Repeated: true})
	}
	equal(t, len(entries(t, s)), 0)
	_, err = s.Sessions.Rotate(t.Context(), rotation("s1", "s1-1", "s1-2"))
	must(t, err)
}

// reused expects that the rotation ends and revokes the session, whose head
// was good until then.
func reused(t *testing.T, s Stores, r store.Rotation, headToken string) {
	t.Helper()
	out, err := s.Sessions.Rotate(t.Context(), r)
	wantErr(t, err, store.ErrReused)
	equal(t, out.Session.ID, "s1")
	equal(t, out.Session.EndedAt, r.Now)
	equal(t, living(t, s, "s1", r.Now), false)
	list := entries(t, s)
	equal(t, len(list), 1)
	list[0].Seq = 0
	equal(t, list[0], store.Revocation{Kind: store.KindSession, Key: "s1", CreatedAt: r.Now, Expires: r.RevokedUntil})
	next := r
	next.Presented = hash(headToken)
	_, err = s.Sessions.Rotate(t.Context(), next)
	wantErr(t, err, store.ErrEnded)
}
