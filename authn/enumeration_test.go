package authn

import (
	"fmt"
	"net/http"
	"runtime"
	"sort"
	"strings"
	"testing"

	"gatehouse/store"
)

// dump is an answer as bytes, without what the request itself put in it.
func dump(a answer, email string) string {
	var lines []string
	for name, values := range a.Header() {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	sort.Strings(lines)
	body := strings.ReplaceAll(a.Body.String(), email, "EMAIL")
	for i, l := range lines {
		if strings.HasPrefix(l, "Content-Length: ") {
			lines[i] = fmt.Sprintf("Content-Length: %d", len(body))
		}
	}
	return fmt.Sprintf("%d\n%s\n\n%s", a.Code, strings.Join(lines, "\n"), body)
}

// accounts makes one account of each kind and returns their addresses, all of
// one length, with one nobody has.
func (w *world) accounts() []string {
	w.t.Helper()
	kinds := []string{"unknown-@example.com", "enabled-@example.com", "disabled@example.com", "imported@example.com", "nohash--@example.com", "unreadab@example.com"}
	for _, email := range kinds[1:] {
		u := w.user(email)
		var c store.UserChange
		switch {
		case strings.HasPrefix(email, "disabled"):
			c.Disabled = ptr(true)
		case strings.HasPrefix(email, "imported"):
			c.PasswordHash = ptr("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/")
		case strings.HasPrefix(email, "nohash"):
			c.PasswordHash = ptr("")
		case strings.HasPrefix(email, "unreadab"):
			c.PasswordHash = ptr("crypt$x")
		}
		c.Now = w.clock()
		if _, err := w.Users.Update(w.t.Context(), u.ID, c); err != nil {
			w.t.Fatal(err)
		}
	}
	return kinds
}

// A wrong password takes at least the memory of one hash of today, whatever
// becomes of it (threat T104). No other test runs at the same time.
func TestT104_EveryKindOfAccountCostsTheWork(t *testing.T) {
	inWorld(t, "", func(t *testing.T, w *world) {
		allocated := func() uint64 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.TotalAlloc
		}
		for _, email := range append(w.accounts(), "no address at all!!!") {
			before := allocated()
			w.want(email, w.login(email, "wrong"), 401, "invalid_credentials")
			if took := (allocated() - before) >> 20; took < 19 {
				t.Errorf("%s: %d MiB, want the 19 of a hash", email, took)
			}
		}
	})
}

// Whoever has no account, and whoever has one of any kind, get the same bytes
// for a wrong password, and for the right one of an account that is disabled;
// also when limited.
func TestT106_SignInAnswersTellNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, "limits: {login_account: 2/1m, login_ip: 1000/1m}", func(t *testing.T, w *world) {
		doors := map[string]func(email, pass string) answer{
			"JSON": w.login,
			"form": func(email, pass string) answer { return w.form("/_auth/login", "email="+email+"&password="+pass) },
			"curl": func(email, pass string) answer {
				return w.send("POST", "/_auth/login", "email="+email+"&password="+pass, "Content-Type: application/x-www-form-urlencoded", "Accept: */*")
			},
		}
		kinds := w.accounts()
		for name, door := range doors {
			for _, state := range []string{"refused", "limited"} {
				first := ""
				for _, email := range append(kinds, "no address at all!!!") {
					pass := "wrong"
					if strings.HasPrefix(email, "disabled") {
						pass = annsPassword
					}
					a := door(email, pass)
					if want := map[string]int{"refused": 401, "limited": 429}[state]; a.Code != want {
						t.Errorf("%s, %s, %s: %d", name, state, email, a.Code)
					}
					got := dump(a, email)
					if first == "" {
						first = got
					}
					if got != first {
						t.Errorf("%s, %s: %s is told apart:\n%s\n-- from --\n%s", name, state, email, got, first)
					}
					if state == "refused" {
						if key := email; strings.Contains(key, "@") {
							w.fail(key)
						} else {
							w.fail("-")
						}
					}
				}
			}
			if err := w.Limiter.Reset(t.Context(), resets(append(kinds, "-"))...); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func resets(kinds []string) []string {
	var out []string
	for _, k := range kinds {
		out = append(out, "login_account:"+k+"|192.0.2.1", "login_slow:"+k)
	}
	return out
}

// An address that is taken, by whatever account, and one that may not register
// are refused with the same bytes (threat T107).
func TestT107_RegistrationRefusesInOneWay(t *testing.T) {
	t.Parallel()
	inWorld(t, "accounts: {registration: domain, allowed_domains: [example.com]}\nlimits: {register_ip: 16/1h}", func(t *testing.T, w *world) {
		doors := map[string]func(email string) answer{
			"JSON": func(email string) answer { return w.register(email, newPassword, "N") },
			"form": func(email string) answer {
				return w.form("/_auth/register", "email="+email+"&password="+newPassword+"&name=N")
			},
		}
		kinds := append(w.accounts()[1:], "somebody@elsewhere.x", "somebody@localhost--")
		for _, status := range []int{http.StatusUnprocessableEntity, http.StatusTooManyRequests} {
			for name, door := range doors {
				first := ""
				for _, email := range kinds[:6] {
					a := door(email)
					if a.Code != status {
						t.Errorf("%s, %s: %d, want %d", name, email, a.Code, status)
					}
					got := dump(a, email)
					if first == "" {
						first = got
					}
					if got != first {
						t.Errorf("%s: %s is told apart:\n%s\n-- from --\n%s", name, email, got, first)
					}
				}
			}
			for range 16 - 12 {
				if status == 422 {
					w.register("enabled-@example.com", newPassword, "N")
				}
			}
		}
	})
}

// The refresh of a token that never was, was spent, or is of a session that is
// over: one answer.
func TestT106_RefreshAnswersTellNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		ended, spent := w.session(u), w.session(u)
		if err := w.Logout(t.Context(), w.caller(), ended.Identity, false); err != nil {
			t.Fatal(err)
		}
		w.pass(0)
		if _, err := w.Refresh(t.Context(), w.caller(), spent.Refresh); err != nil {
			t.Fatal(err)
		}
		w.pass(11 * 1e9)
		first := ""
		for what, tok := range map[string]string{"ended": ended.Refresh.Reveal(), "spent": spent.Refresh.Reveal(), "none": "ghr_" + strings.Repeat("A", 43), "malformed": "x", "empty": ""} {
			got := dump(w.post("/_auth/refresh", map[string]string{"refresh_token": tok}), "-")
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("%s is told apart:\n%s\n-- from --\n%s", what, got, first)
			}
		}
	})
}
