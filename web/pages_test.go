package web

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Whatever a client, a store or a configuration puts into a page stays text.
func TestT077_HostileTextStaysText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>' javascript:alert(1)`
	u, err := New(Options{Prefix: "/_auth", Title: evil})
	if err != nil {
		t.Fatal(err)
	}
	bad := &Error{Status: 422, Code: "x", Detail: evil, Fields: []Field{{"email", evil}, {evil, evil}, {"new_password", evil}}}
	r := navigation("/_auth/x")
	r.Host = evil
	row := SessionRow{ID: evil, Device: evil, Address: evil}
	for name, serve := range map[string]func(http.ResponseWriter){
		"login":    func(w http.ResponseWriter) { u.Login(w, r, 422, LoginPage{evil, evil, bad, true, evil, evil}) },
		"register": func(w http.ResponseWriter) { u.Register(w, r, 422, RegisterPage{evil, evil, evil, bad, 12}) },
		"logout":   func(w http.ResponseWriter) { u.Logout(w, r, LogoutPage{evil}) },
		"account": func(w http.ResponseWriter) {
			u.Account(w, r, 422, AccountPage{evil, evil, []string{evil}, []SessionRow{row}, 12, evil, bad})
		},
		"notice": func(w http.ResponseWriter) { u.Notice(w, r, 200, "x", NoticePage{evil, evil, evil, evil}) },
		"error":  func(w http.ResponseWriter) { u.Fail(w, r, bad) },
	} {
		_, body, _ := answerOf(serve)
		if !strings.Contains(body, "alert(1)") {
			t.Errorf("%s does not show the text at all", name)
		}
		for _, sign := range []string{evil, "<script", "<img src=x"} {
			if strings.Contains(body, sign) {
				t.Errorf("%s contains %s", name, sign)
			}
		}
	}
	_, body, _ := answerOf(func(w http.ResponseWriter) {
		u.Notice(w, navigation("/"), 200, "x", NoticePage{Heading: "h", Link: "l", Href: "javascript:alert(1)"})
	})
	if strings.Contains(body, "javascript:") {
		t.Error("a link runs a script")
	}
}

func page(t *testing.T, serve func(http.ResponseWriter)) string {
	t.Helper()
	resp, body, _ := answerOf(serve)
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("no page but %s: %s", resp.Header.Get("Content-Type"), body)
	}
	return body
}

func mustContain(t *testing.T, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestFormsSayWhereTheyGoAndWhatTheyWant(t *testing.T) {
	u := newUI(t)
	login := page(t, func(w http.ResponseWriter) {
		u.Login(w, navigation("/"), 200, LoginPage{Return: "/deep?a=1&b=2", Email: "ann@example.com", CanRegister: true})
	})
	mustContain(t, login, `<html lang="en">`, `action="/_auth/login"`, `name="rd" value="/deep?a=1&amp;b=2"`, `autocomplete="username"`,
		`autocomplete="current-password"`, `value="ann@example.com"`, `href="/_auth/register?rd=%2fdeep%3fa%3d1%26b%3d2"`, `<label for="password">`)
	if strings.Contains(login, `role="alert"`) {
		t.Error("an alert without a problem")
	}
	closed := page(t, func(w http.ResponseWriter) { u.Login(w, navigation("/"), 200, LoginPage{}) })
	if strings.Contains(closed, "register") || strings.Contains(closed, `name="rd"`) {
		t.Error("closed registration is offered, or an empty return path sent")
	}
	mustContain(t, page(t, func(w http.ResponseWriter) { u.Register(w, navigation("/"), 200, RegisterPage{MinLength: 14}) }),
		`action="/_auth/register"`, `autocomplete="new-password"`, `name="name"`, "At least 14 characters")
	mustContain(t, page(t, func(w http.ResponseWriter) { u.Logout(w, navigation("/"), LogoutPage{"ann@example.com"}) }),
		`action="/_auth/logout"`, `name="all" value="true"`, "ann@example.com")
}

func TestProblemsAreAnnouncedAndTied(t *testing.T) {
	u := newUI(t)
	body := page(t, func(w http.ResponseWriter) {
		u.Register(w, navigation("/"), 422, RegisterPage{Error: &Error{Code: "invalid_input", Detail: "Please check the fields.",
			Fields: []Field{{"email", "Not an address."}, {"password", "Too short."}, {"password", "Too common."}, {"other", "Something else."}}}})
	})
	mustContain(t, body, "<title>Please check the fields. – Create an account", `role="alert"`, `<a href="#password">Too common.</a>`,
		`aria-describedby="email-problem" aria-invalid="true" autofocus`, `id="password-problem">Too short. Too common.<`, "<li>Something else.</li>")
	login := page(t, func(w http.ResponseWriter) {
		u.Login(w, navigation("/"), 401, LoginPage{Email: "a@b.c", Error: &Error{Code: "x", Detail: "They do not match.", RetryAfter: 1500 * time.Millisecond}})
	})
	mustContain(t, login, "They do not match. Try again in 2 seconds.", `type="password" autocomplete="current-password" required aria-describedby="problem" autofocus`)
	for _, text := range []string{body, login} {
		if n := strings.Count(text, "autofocus"); n != 1 {
			t.Errorf("%d fields want the focus", n)
		}
	}
}

func TestAccountPage(t *testing.T) {
	u := newUI(t)
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	body := page(t, func(w http.ResponseWriter) {
		u.Account(w, navigation("/"), 200, AccountPage{Email: "ann@example.com", Name: "änn", Groups: []string{"admins"}, Sessions: []SessionRow{
			{ID: "here", Device: "Firefox", Address: "192.0.2.1", Created: now.Add(-26 * time.Hour), LastUsed: now, Current: true},
			{ID: "there", Address: "192.0.2.2", Created: now.Add(-90 * 24 * time.Hour), LastUsed: now.Add(-90 * time.Minute)},
		}})
	})
	mustContain(t, body, "Ä", "<li>admins</li>", "this device", "1 day ago", "just now", "1 hour ago", "4 Dec 2025", `datetime="2026-03-04T05:06:07Z"`,
		`action="/_auth/sessions/there"`, `name="_method" value="DELETE"`, `aria-label="Sign out Unknown device at 192.0.2.2"`,
		`action="/_auth/password"`, `name="current_password"`, `name="new_password"`, `name="all" value="true"`)
	if strings.Contains(body, "/sessions/here") {
		t.Error("the current session has a button of its own next to Sign out")
	}
}

func TestErrorPageOffersAWayOn(t *testing.T) {
	u := newUI(t)
	for status, want := range map[int]string{401: `href="/_auth/login"`, 403: `href="/_auth/"`, 404: `href="/"`, 502: `href=""`, 429: `href=""`} {
		body := page(t, func(w http.ResponseWriter) {
			u.Fail(w, navigation("//evil.example/x"), &Error{Status: status, Code: "code_x"})
		})
		mustContain(t, body, want, "code_x", "req-1", "<title>"+heading(status))
		if strings.Contains(body, "evil.example") {
			t.Errorf("%d links to what was asked for", status)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for d, want := range map[time.Duration]string{-time.Hour: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		time.Hour: "1 hour ago", 47 * time.Hour: "1 day ago", 29 * 24 * time.Hour: "29 days ago", 30 * 24 * time.Hour: "2 Feb 2026"} {
		if got := ago(now, now.Add(-d)).Text; got != want {
			t.Errorf("%v ago: %q, want %q", d, got, want)
		}
	}
	if got := ago(now, time.Time{}).Text; got != "never" {
		t.Errorf("no time at all: %q", got)
	}
}

func TestInitial(t *testing.T) {
	for want, in := range map[string][2]string{"Ä": {"änn", "b@c"}, "B": {"  ", "b@c"}, "?": {"", ""}, "X": {"\xff", "x@c"}} {
		if got := initial(in[0], in[1]); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// WCAG 2.2 success criteria 1.4.3 (text) and 1.4.11 (edges of controls), in
// both colour schemes, computed from the style sheet itself.
func TestContrast(t *testing.T) {
	css, err := files.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("no dark colours")
	}
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colour := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6})`).FindAllStringSubmatch(text, -1) {
			colour[m[1]] = luminance(t, m[2])
		}
		for _, p := range []struct {
			front, back string
			least       float64
		}{
			{"ink", "card", 7}, {"soft", "card", 4.5}, {"accent", "card", 4.5}, {"accent-hover", "card", 4.5}, {"wrong", "card", 4.5},
			{"ink", "tint", 7}, {"accent", "tint", 4.5}, {"accent-hover", "tint", 4.5}, {"wrong", "wrong-tint", 4.5},
			{"on-accent", "accent", 4.5}, {"on-accent", "accent-hover", 4.5}, {"edge", "card", 3}, {"focus", "card", 3}, {"focus", "page", 3},
		} {
			a, okA := colour[p.front]
			b, okB := colour[p.back]
			if ratio := (math.Max(a, b) + .05) / (math.Min(a, b) + .05); !okA || !okB || ratio < p.least {
				t.Errorf("%s: %s on %s has %.2f:1, want %.1f:1", scheme, p.front, p.back, ratio, p.least)
			}
		}
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var sum float64
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= .04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// wrapped hides its recorder the way a middleware's writer does.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestRecordOf(t *testing.T) {
	rec := &Record{ID: "x"}
	if got := RecordOf(wrapped{wrapped{recorded{nil, rec}}}); got != rec {
		t.Errorf("got %v", got)
	}
	if got := RecordOf(struct{ http.ResponseWriter }{}); got == nil || got.ID != "-" || got.Start.IsZero() {
		t.Errorf("without a record: %v", got)
	}
}

func TestErrorSaysItsCauseToTheLog(t *testing.T) {
	cause := http.ErrAbortHandler
	e := &Error{Code: "unavailable", Cause: cause}
	if e.Error() != "unavailable: "+cause.Error() || e.Unwrap() != cause || (&Error{Code: "c"}).Error() != "c" {
		t.Errorf("%v", e)
	}
}
