package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/password"
	"gatehouse/store"
)

func (w *world) register(email, pass, name string) answer {
	w.t.Helper()
	return w.post("/_auth/register", map[string]string{"email": email, "password": pass, "name": name})
}

func TestRegistrationIsForWhomTheFileSays(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		w.want("closed", w.register("new@example.com", newPassword, ""), 403, "registration_closed")
		w.want("closed page", w.send("GET", "/_auth/register", "", "Accept: text/html"), 403, "registration_closed")
		w.want("closed form", w.form("/_auth/register", "email=new@example.com&password="+newPassword), 403, "registration_closed")
		if page := w.send("GET", "/_auth/login", "", "Accept: text/html").Body.String(); strings.Contains(page, "/_auth/register") {
			t.Error("the sign-in page offers to register")
		}
	})
	inWorld(t, "accounts: {registration: domain, allowed_domains: [example.com]}\nlimits: {register_ip: 100/1h}", func(t *testing.T, w *world) {
		for _, email := range []string{"a@evil.test", "a@sub.example.com", "a@example.com.evil.test", "a@notexample.com", "a@example.co"} {
			w.want(email, w.register(email, newPassword, ""), 422, "registration_refused")
		}
		for _, email := range []string{"a@example.com", "b@EXAMPLE.com", "c@example.com."} {
			w.want(email, w.register(email, newPassword, ""), 201, "registered")
		}
	})
	inWorld(t, "accounts: {registration: open}", func(t *testing.T, w *world) {
		tok := w.granted(w.register(" New@Example.com ", newPassword, " Nea "), 201)
		if tok.User.Email != "New@Example.com" || tok.User.Name != "Nea" || tok.User.EmailVerified || len(tok.User.Groups) != 0 {
			t.Errorf("got %+v", tok.User)
		}
		w.granted(w.login("new@example.com", newPassword), 200)
		a := w.form("/_auth/register", "email=two@example.com&rd=%2Fx&password="+newPassword)
		if a.Code != 303 || a.Header().Get("Location") != "/x" || len(a.cookies()) != 2 {
			t.Errorf("a form: %d to %q, %v", a.Code, a.Header().Get("Location"), a.cookies())
		}
		if got := names(w.events.take()); got != "register.success login.success register.success" {
			t.Errorf("audited %q", got)
		}
	})
}

// Everything that is wrong is told at once, before anything is counted: it
// tells nothing about accounts, and who mends a password need not wait.
func TestT111_RegistrationSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}", func(t *testing.T, w *world) {
		for range 10 {
			a := w.register("no address", "short", "bad\x00name")
			w.want("all wrong", a, 422, "invalid_input")
			var got struct{ Errors []struct{ Field string } }
			if err := json.Unmarshal(a.Body.Bytes(), &got); err != nil || len(got.Errors) < 3 {
				t.Errorf("%v: %s", err, a.Body)
			}
		}
		for _, pass := range []string{"password1234", "new.person2024", "a\ufffd-lone-surrogate-became-this"} {
			w.want(pass, w.register("new.person@example.com", pass, ""), 422, "invalid_input")
		}
		a := w.send("POST", "/_auth/register", `{"email":"s@example.com","password":"\ud800 is half a letter"}`, "Content-Type: application/json")
		w.want("half a surrogate pair", a, 422, "invalid_input")
		a = w.form("/_auth/register", "email=x&name=n&password=y")
		if a.Code != 422 || !strings.Contains(a.Body.String(), `value="x"`) || strings.Contains(a.Body.String(), `value="y"`) {
			t.Errorf("the form: %d", a.Code)
		}
		w.want("a good one", w.register("new@example.com", newPassword, ""), 201, "registered")
	})
}

func TestT102_RegistrationsAreLimited(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}", func(t *testing.T, w *world) {
		w.user("taken@example.com")
		for i := range 3 {
			email := []string{"a@example.com", "taken@example.com", "b@example.com"}[i]
			if a := w.register(email, newPassword, ""); a.Code == 429 {
				t.Fatalf("attempt %d: limited", i+1)
			}
		}
		for _, email := range []string{"c@example.com", "taken@example.com"} {
			a := w.register(email, newPassword, "")
			w.want(email, a, 429, "rate_limited")
			if a.Header().Get("Retry-After") != "1200" {
				t.Errorf("Retry-After %q", a.Header().Get("Retry-After"))
			}
		}
		if w.limited("register_ip") != 2 {
			t.Error("the limit was not counted")
		}
	})
}

func TestT108_OneAddressOneAccount(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}\nlimits: {register_ip: 1000/1h}", func(t *testing.T, w *world) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		got := map[int]int{}
		for i := range 8 {
			email := []string{"one@example.com", "ONE@example.com", " one@EXAMPLE.com.", "ｏne@example.com"}[i%4]
			wg.Go(func() {
				a := w.register(email, newPassword, "")
				mu.Lock()
				got[a.Code]++
				mu.Unlock()
			})
		}
		wg.Wait()
		all, err := w.admin.List(t.Context())
		if got[201] != 1 || got[422] != 7 || err != nil || len(all) != 1 {
			t.Errorf("%v, %d accounts, %v", got, len(all), err)
		}
	})
}

// Text that a query, a path or a header would act on stays text (threat T109).
func TestT109_InputIsNeverCode(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}\nlimits: {login_ip: 1000/1m}", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		g := w.session(u)
		for _, evil := range []string{"' OR '1'='1", "ann@example.com' --", "%' OR 1=1; DROP TABLE users; --", "ann@example.com\x00", "_nn@example.com", "../../$1?", "\r\nSet-Cookie: a=b"} {
			w.want("sign-in as "+evil, w.login(evil, annsPassword), 401, "invalid_credentials")
			w.want("password "+evil, w.login("ann@example.com", evil), 401, "invalid_credentials")
			w.want("refresh "+evil, w.post("/_auth/refresh", map[string]string{"refresh_token": "ghr_" + evil}), 401, "session_over")
			if err := w.RevokeSession(t.Context(), w.caller(), g.Identity, evil); err == nil {
				t.Errorf("session %q was ended", evil)
			}
			if err := w.Limiter.Reset(t.Context(), "login_account:ann@example.com|192.0.2.1", "login_account:-|192.0.2.1"); err != nil {
				t.Fatal(err)
			}
			a := w.send("GET", "/_auth/login?rd=/"+strings.NewReplacer(" ", "%20", "\r\n", "%0d%0a", "%", "%25", ";", "%3b", "\x00", "%00", "\"", "%22").Replace(evil), "", "Accept: text/html", cookiesOf(g.Access, ""))
			if len(a.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%q set a cookie", evil)
			}
		}
		w.granted(w.login("ann@example.com", annsPassword), 200)
	})
}

func TestSessionsAreListedAndEndedByTheirOwner(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ann, bob := w.user("ann@example.com"), w.user("bob@example.com")
		w.device = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
		g, other, his := w.session(ann), w.session(ann), w.session(bob)
		w.want("nobody", w.send("GET", "/_auth/sessions", ""), 401, "unauthorized")
		a := w.send("GET", "/_auth/sessions", "", bearerOf(g.Access))
		var got struct{ Sessions []sessionAnswer }
		if err := json.Unmarshal(a.Body.Bytes(), &got); err != nil || len(got.Sessions) != 2 {
			t.Fatalf("%v: %s", err, a.Body)
		}
		for _, s := range got.Sessions {
			if s.Current != (s.Sid == g.Identity.Session) || s.Device != "Firefox on Linux" || s.Address != "192.0.2.1" || s.Created == 0 || s.LastUsed == 0 {
				t.Errorf("%+v", s)
			}
		}
		for what, sid := range map[string]string{"somebody else's": his.Identity.Session, "none": "x"} {
			w.want(what, w.send("DELETE", "/_auth/sessions/"+sid, "", bearerOf(g.Access)), 404, "no_session")
		}
		w.want("one's own", w.send("DELETE", "/_auth/sessions/"+other.Identity.Session, "", bearerOf(g.Access)), 204, "session_revoked")
		w.want("again", w.send("DELETE", "/_auth/sessions/"+other.Identity.Session, "", bearerOf(g.Access)), 404, "no_session")
		w.dead("ended", other)
		w.result("the others", false, nil, bearerOf(g.Access))
		w.result("his", false, nil, bearerOf(his.Access))
	})
}

func TestPasswordChange(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		g, other := w.session(u), w.session(u)
		change := func(current, next string) answer {
			return w.post("/_auth/password", map[string]string{"current_password": current, "new_password": next}, bearerOf(g.Access))
		}
		w.want("nobody", w.post("/_auth/password", map[string]string{"current_password": annsPassword, "new_password": newPassword}), 401, "unauthorized")
		w.want("a weak one", change(annsPassword, "password1234"), 422, "invalid_input")
		w.want("wrong", change("wrong", newPassword), 401, "invalid_credentials")
		w.events.take()
		tok := w.granted(change(annsPassword, newPassword), 200)
		if got := names(w.events.take()); got != "password.change" {
			t.Errorf("audited %q", got)
		}
		w.dead("another session", other)
		w.dead("the tokens of before", g)
		w.want("the new token", w.send("GET", "/_auth/me", "", bearerOf(tok.AccessToken)), 200, "userinfo")
		if tok.User.Sid != g.Identity.Session {
			t.Error("another session goes on")
		}
		w.granted(w.post("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}), 200)
		w.want("the old password", w.login("ann@example.com", annsPassword), 401, "invalid_credentials")
		w.granted(w.login("ann@example.com", newPassword), 200)
	})
}

// A wrong current password is a failed sign-in: it counts where one does.
func TestWrongCurrentPasswordCounts(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		for range 5 {
			w.want("wrong", w.form("/_auth/password", "current_password=x&new_password="+newPassword, cookiesOf(g.Access, "")), 401, "invalid_credentials")
		}
		w.want("the sixth", w.form("/_auth/password", "current_password="+annsPassword+"&new_password="+newPassword, cookiesOf(g.Access, "")), 429, "rate_limited")
		w.want("a sign-in", w.login("ann@example.com", annsPassword), 429, "rate_limited")
	})
}

func TestPasswordChangeRacesAreLost(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {login_account: 1000/1m, login_ip: 1000/1m}", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		g := w.session(u)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 4 {
			wg.Go(func() {
				_, err := w.ChangePassword(t.Context(), w.caller(), g.Identity, annsPassword, fmt.Sprintf("%s-%d", newPassword, i))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%d of 4 changes from one password won", won)
		}
		u, _ = w.Users.ByID(t.Context(), u.ID)
		u, err := w.Users.Update(t.Context(), u.ID, store.UserChange{PasswordHash: ptr(annsHash()), Now: w.clock()})
		if err != nil {
			t.Fatal(err)
		}
		ended := w.session(u)
		if err := w.Logout(t.Context(), w.caller(), ended.Identity, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.ChangePassword(t.Context(), w.caller(), ended.Identity, annsPassword, newPassword); !isOver(err) {
			t.Errorf("in a session that is over: %v", err)
		}
		w.granted(w.login("ann@example.com", annsPassword), 200)
	})
}

func ptr[T any](v T) *T { return &v }

// A change that ended all sessions while the password was being checked ends
// the session that was about to begin.
func TestT094_SignInLosesToAChangeMeanwhile(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		proven := w.user("ann@example.com")
		for _, change := range []struct {
			name string
			make func() error
		}{
			{"new password", func() error { _, err := w.admin.SetPassword(t.Context(), "ann@example.com", newPassword); return err }},
			{"disabled", func() error { _, err := w.admin.SetDisabled(t.Context(), "ann@example.com", true); return err }},
			{"deleted", func() error { _, err := w.admin.Delete(t.Context(), "ann@example.com"); return err }},
		} {
			name := change.name
			if err := change.make(); err != nil {
				t.Fatal(err)
			}
			var refused interface{ Error() string }
			g, err := w.begin(t.Context(), proven, w.caller(), []string{"pwd"})
			if g != nil || !errors.As(err, &refused) || refused.Error() != "invalid_credentials" {
				t.Errorf("%s: %v, %v", name, g, err)
			}
			if list, err := w.Sessions.List(t.Context(), proven.ID, w.clock()); err != nil || len(list) != 0 {
				t.Errorf("%s: sessions %v, %v", name, list, err)
			}
			if _, err := w.admin.Find(t.Context(), "ann@example.com"); err == nil {
				if _, err := w.admin.SetDisabled(t.Context(), "ann@example.com", false); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// An address that was deleted and registered again is somebody new (T154).
func TestT154_TheSameAddressAgainIsSomebodyNew(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: open}", func(t *testing.T, w *world) {
		old := w.user("ann@example.com", "admins")
		g := w.session(old)
		if _, err := w.admin.Delete(t.Context(), "ann@example.com"); err != nil {
			t.Fatal(err)
		}
		tok := w.granted(w.register("ANN@example.com", newPassword, "New"), 201)
		if err := w.Mirror.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if tok.User.Sub == old.ID || len(tok.User.Groups) != 0 || tok.User.Name != "New" {
			t.Errorf("got %+v", tok.User)
		}
		w.dead("the account of before", g)
		if list, err := w.Sessions.List(t.Context(), tok.User.Sub, w.clock()); err != nil || len(list) != 1 {
			t.Errorf("%d sessions, %v", len(list), err)
		}
		w.want("the password of before", w.login("ann@example.com", annsPassword), 401, "invalid_credentials")
		if _, err := w.ChangePassword(t.Context(), w.caller(), g.Identity, newPassword, annsPassword); err == nil {
			t.Error("the old identity changed the new account's password")
		}
	})
}

// An imported hash is replaced at the first sign-in and stays good.
func TestT110_ImportedHashesAreUpgraded(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		ctx := t.Context()
		if _, err := w.admin.Import(ctx, "old@example.com", "", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", nil); err != nil { // "password"
			t.Fatal(err)
		}
		first := w.granted(w.login("old@example.com", "password"), 200)
		u, _ := w.admin.Find(ctx, "old@example.com")
		if !strings.HasPrefix(u.PasswordHash, "$argon2id$") || u.Generation != 1 {
			t.Errorf("hash %.12s, generation %d", u.PasswordHash, u.Generation)
		}
		w.granted(w.login("old@example.com", "password"), 200)
		w.want("the session of the upgrade", w.send("GET", "/_auth/me", "", bearerOf(first.AccessToken)), 200, "userinfo")
		if _, err := w.Users.Update(ctx, u.ID, store.UserChange{PasswordHash: ptr("crypt$unknown"), Now: w.clock()}); err != nil {
			t.Fatal(err)
		}
		w.want("a hash nobody understands", w.login("old@example.com", "password"), 401, "invalid_credentials")
		w.want("longer than any", w.login("old@example.com", strings.Repeat("x", password.MaxBytes+1)), 401, "invalid_credentials")
	})
}

// What is revoked stays revoked for longer than any token it is for, and not
// for ever (threat T089).
func TestT089_RevocationsOutliveTheirTokens(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		if err := w.Logout(t.Context(), w.caller(), g.Identity, false); err != nil {
			t.Fatal(err)
		}
		living := w.session(w.user("bob@example.com"))
		for _, d := range []time.Duration{0, 15 * time.Minute, 24 * time.Hour} {
			w.pass(d)
			if err := w.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			list, _, err := w.Revocations.Since(t.Context(), 0, 10)
			if err != nil || len(list) != 1 {
				t.Fatalf("after %v: %d revocations, %v", d, len(list), err)
			}
		}
		w.pass(48 * time.Hour)
		if err := w.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list, _, _ := w.Revocations.Since(t.Context(), 0, 10); len(list) != 0 {
			t.Error("kept for ever")
		}
		_ = living
		if err := w.Mirror.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.dead("long ago", g)
	})
}
