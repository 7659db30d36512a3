package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// strict is a gate whose limits are those of a new installation.
func strict(upstream string) string {
	return "accounts: {registration: open}\nroutes: [{name: app, host: app.test, upstream: \"" + upstream + "\"}]\n"
}

func failedLogin(c *gatetest.Client, email string) int {
	return c.JSON("/_auth/login", map[string]string{"email": email, "password": "wrong"}, nil).StatusCode
}

func TestT068_T070_ABrowserElsewhereChangesNothing(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	c.Jar = nil
	tok := c.Login("ann@example.com", password)
	mine := "Cookie: __Host-gatehouse=" + tok.AccessToken + "; __Host-gatehouse-refresh=" + tok.RefreshToken
	for _, from := range [][]string{{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Origin: https://evil.test"}, {"Origin: null"}, {"Origin: http://app.test"}, {"Sec-Fetch-Site: same-origin", "Origin: https://evil.test"}} {
		for _, ep := range []string{"POST /login", "POST /register", "POST /logout", "POST /logout?all=true", "POST /password", "POST /refresh", "DELETE /sessions/" + tok.User.Sid, "POST /sessions/" + tok.User.Sid} {
			method, path, _ := strings.Cut(ep, " ")
			a := c.Must(method, "/_auth"+path, "email=ann@example.com&password="+password+"&_method=DELETE", append(from, mine, "Content-Type: application/x-www-form-urlencoded")...)
			if a.StatusCode != 403 || len(a.Cookies()) != 0 {
				t.Errorf("%s from %q: %d", ep, from, a.StatusCode)
			}
		}
	}
	for _, path := range []string{"/logout", "/logout?all=true", "/sessions/" + tok.User.Sid, "/refresh", "/password"} {
		for _, how := range []string{"Sec-Purpose: prefetch", "Sec-Fetch-Dest: image", "X-HTTP-Method-Override: POST"} {
			c.Must(http.MethodGet, "/_auth"+path, "", mine, how)
		}
	}
	if got := c.Status("/", tok.AccessToken); got != 200 {
		t.Errorf("the session afterwards: %d", got)
	}
}

func TestT065_T067_T073_T074_T078_SigningInAsABrowser(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	c.Jar = nil
	planted := c.Login("ann@example.com", password)
	for rd, want := range map[string]string{"/deep?x=1#y": "/deep?x=1#y", "//evil.test": "/", `/\evil.test`: "/", "https://evil.test/": "/", "/\t/evil.test": "/", "javascript:alert(1)": "/", "/%2f/evil.test": "/", "evil.test": "/", "": "/"} {
		form := url.Values{"email": {"ann@example.com"}, "password": {password}, "rd": {rd}}.Encode()
		a := c.Must(http.MethodPost, "/_auth/login", form, "Content-Type: application/x-www-form-urlencoded", "Origin: https://app.test", "Accept: text/html",
			"Cookie: __Host-gatehouse="+planted.AccessToken+"; __Host-gatehouse-refresh="+planted.RefreshToken)
		if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != want || len(a.Cookies()) != 2 {
			t.Fatalf("rd=%q: %d to %q", rd, a.StatusCode, a.Header.Get("Location"))
		}
		for i, name := range []string{"__Host-gatehouse", "__Host-gatehouse-refresh"} {
			line := a.Header["Set-Cookie"][i]
			if !strings.HasPrefix(line, name+"=") || !strings.HasSuffix(line, "; Secure; HttpOnly; SameSite=Lax") || !strings.Contains(line, "; Path=/; Max-Age=") || strings.Contains(strings.ToLower(line), "domain") || len(line) > 4096 {
				t.Errorf("cookie %s", line)
			}
		}
		if got := c.Status("/", planted.AccessToken); got != 401 {
			t.Errorf("the session that came along: %d", got)
		}
		if value := a.Cookies()[0].Value; value == planted.AccessToken || c.Must(http.MethodGet, "/", "", "Cookie: __Host-gatehouse="+value+"; __Host-gatehouse=x").StatusCode != 401 {
			t.Error("a tossed copy was passed over")
		}
	}
}

// Nothing is accepted before the revocations are known: from the first moment
// that the port answers, a revoked token is refused.
func TestT096_RevocationsAreKnownBeforeTheFirstAccept(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", false)
	tok := c.Login("ann@example.com", password)
	if a := c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken)); a.StatusCode != 204 {
		t.Fatal(a.StatusCode)
	}
	before := len(up.Seen())
	for range gatetest.Scale(3, 30) {
		g.Kill()
		stop, done := make(chan struct{}), make(chan map[int]int)
		go func() {
			got := map[int]int{}
			for {
				select {
				case <-stop:
					done <- got
					return
				default:
				}
				fresh := g.Client("app.test", false)
				if a, err := fresh.Send(http.MethodGet, "/", "", gatetest.Bearer(tok.AccessToken)); err == nil {
					got[a.StatusCode]++
				}
				fresh.CloseIdleConnections()
			}
		}()
		g.Run()
		for deadline := time.Now().Add(10 * time.Second); ; {
			if a, err := c.Send(http.MethodGet, "/", "", gatetest.Bearer(tok.AccessToken)); err == nil && a.StatusCode == 401 {
				break
			} else if time.Now().After(deadline) {
				t.Fatal("no answer after the restart")
			}
		}
		close(stop)
		got := <-done
		for status := range got {
			if status != 401 && status != 503 {
				t.Errorf("while starting: %v", got)
			}
		}
	}
	if after := len(up.Seen()); after != before {
		t.Errorf("%d requests with a revoked token reached the app", after-before)
	}
}

func TestT102_RegistrationsAreLimitedAcrossRestarts(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, strict(up.URL()))
	try := func(i int) int {
		return g.Client("app.test", true).JSON("/_auth/register", map[string]string{"email": fmt.Sprintf("u%d@example.com", i), "password": password}, nil).StatusCode
	}
	got := []int{try(0), try(1), try(2), try(3)}
	g.Kill()
	g.Run()
	if got = append(got, try(4)); fmt.Sprint(got) != "[201 201 201 429 429]" {
		t.Errorf("%v", got)
	}
}

// One account has one counter, however its address is spelled and whichever
// door a guess comes through (threats T103, T117).
func TestT103_T117_OneCounterForEverySpellingAndDoor(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, strict(up.URL()))
	g.AddUser("kiss@example.com", password)
	g.AddUser("bob@example.com", password)
	h1, h2 := g.Client("app.test", false), g.Client("app.test", true)
	bob := h2.Login("kiss@example.com", password)
	const form = "Content-Type: application/x-www-form-urlencoded"
	guesses := []func() int{
		func() int { return failedLogin(h1, "KISS@EXAMPLE.COM") },
		func() int {
			return h2.Must("POST", "/_auth/login", "email=kiss@example.com&password=x", form).StatusCode
		},
		func() int {
			return h2.JSON("/_auth/password", map[string]string{"current_password": "x", "new_password": "eleven-green-bottles"}, nil, gatetest.Bearer(bob.AccessToken)).StatusCode
		},
		func() int {
			return h1.Must("POST", "/_auth/%6cogin?x=1", "email=%EF%BC%AB%EF%BC%A9ss@example.com.&password=x", form, "X-Forwarded-For: 203.0.113.7").StatusCode
		},
		func() int { return failedLogin(h2, "\u212ai\u017fs\uff20example\uff0ecom") },
	}
	for i, guess := range guesses {
		if got := guess(); got != 401 {
			t.Errorf("guess %d: %d", i+1, got)
		}
	}
	for i, guess := range guesses {
		if got := guess(); got != 429 {
			t.Errorf("guess %d, limited: %d", i+1, got)
		}
	}
	for _, s := range []string{"kiss@example.com", "Kiss@Example.com", " kiss@example.com", "kiss@example.com\n", "kiss@example.com.", "kiss@EXAMPLE.com.", "kiss\uff20example.com", "\uff4b\uff49\uff53\uff53@example.com", "kiss@example\u3002com", "ki\u017fs@example.com"} {
		a := h2.JSON("/_auth/login", map[string]string{"email": s, "password": password}, nil)
		if a.StatusCode != 429 || a.Header.Get("Retry-After") == "" {
			t.Errorf("%q with the right password: %d", s, a.StatusCode)
		}
	}
	if got := h2.JSON("/_auth/login", map[string]string{"email": "bob@example.com", "password": password}, nil).StatusCode; got != 200 {
		t.Errorf("another account: %d", got)
	}
}

// raw returns a whole answer without date and request id.
func raw(t *testing.T, c *gatetest.Client, method, path, kind, body, email string) string {
	t.Helper()
	headers := []string{"Content-Type: " + kind}
	if kind != "application/json" {
		headers = append(headers, "Accept: text/html", "Origin: https://"+c.Host)
	}
	a := c.Must(method, path, body, headers...)
	id := ""
	if _, rest, ok := strings.Cut(a.Text, `"request_id":"`); ok {
		id, _, _ = strings.Cut(rest, `"`)
	}
	var lines []string
	for name, values := range a.Header {
		if name != "Date" && name != "X-Request-Id" {
			lines = append(lines, name+": "+strings.Join(values, " | "))
		}
	}
	sort.Strings(lines)
	text := a.Text
	if id != "" {
		text = strings.ReplaceAll(text, id, "ID")
	}
	whole := fmt.Sprintf("%s %s\n%s\n\n%s", a.Proto, a.Status, strings.Join(lines, "\n"), strings.ReplaceAll(text, email, "EMAIL"))
	// the time to wait is shorter for who asks later
	return regexp.MustCompile(`(Retry-After: |Try again in )[0-9]+`).ReplaceAllString(whole, "${1}N")
}

// Unknown, known, disabled and limited: the same bytes, modulo date and request
// id, for programs and for people.
func TestT106_T107_AnswersTellNothingAboutAccounts(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, "accounts: {registration: open}\nlimits: {login_account: 2/1h, login_ip: 1000/1m, register_ip: 5/1h}\nroutes: [{name: app, host: app.test, upstream: \""+up.URL()+"\"}]\n")
	g.AddUser("known---@example.com", password)
	g.AddUser("disabled@example.com", password)
	g.Must("", "user", "disable", "disabled@example.com")
	c := g.Client("app.test", false)
	kinds := map[string]string{"unknown-@example.com": "wrong", "known---@example.com": "wrong", "disabled@example.com": password}
	same := func(what string, status string, ask func(email string) string) {
		t.Helper()
		first := ""
		for email := range kinds {
			got := ask(email)
			if !strings.Contains(got, status) {
				t.Errorf("%s, %s: %s", what, email, got)
			}
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("%s: %s is told apart:\n%s\n-- from --\n%s", what, email, got, first)
			}
		}
	}
	asJSON := func(email string) string {
		return raw(t, c, "POST", "/_auth/login", "application/json", `{"email":"`+email+`","password":"`+kinds[email]+`"}`, email)
	}
	asForm := func(email string) string {
		return raw(t, c, "POST", "/_auth/login", "application/x-www-form-urlencoded", "email="+email+"&password="+kinds[email], email)
	}
	same("sign-in, JSON", " 401 ", asJSON)
	same("sign-in, form", " 401 ", asForm)
	same("sign-in, JSON, limited", " 429 ", asJSON)
	same("sign-in, form, limited", " 429 ", asForm)
	delete(kinds, "unknown-@example.com") // a free address is visible without mail, by design
	register := func(email string) string {
		return raw(t, c, "POST", "/_auth/register", "application/json", `{"email":"`+email+`","password":"eleven-green-bottles"}`, email)
	}
	same("registration", " 422 ", register)
	same("registration, again", " 422 ", register)
	if got := register("spare---@example.com"); !strings.Contains(got, " 201 ") {
		t.Errorf("a free address: %s", got)
	}
	kinds["unknown-@example.com"] = ""
	same("registration, limited", " 429 ", register)
}

// No address is asked for twice: what is in Host and X-Forwarded-Host never
// gets into a Location or a page (threat T075).
func TestT075_NoAnswerFollowsAPoisonedHost(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, strict(up.URL()))
	c := g.Client("app.test", false)
	for _, poison := range []string{"X-Forwarded-Host: evil.test", "Forwarded: host=evil.test;proto=http", "X-Host: evil.test", "X-Original-URL: https://evil.test/", "X-Forwarded-Proto: http"} {
		for _, path := range []string{"/x", "/_auth", "/_auth/", "/_auth/login", "/_auth/register", "/_auth/sessions"} {
			a := c.Must(http.MethodGet, path, "", "Accept: text/html", poison)
			if to := a.Header.Get("Location"); strings.Contains(to+a.Text, "evil") || to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")) {
				t.Errorf("%s with %s: %d to %q", path, poison, a.StatusCode, to)
			}
		}
	}
	conn, err := net.Dial("tcp", g.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "GET /_auth/login HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _ := conn.Read(buf)
	if head := string(buf[:n]); !strings.HasPrefix(head, "HTTP/1.1 421 ") || strings.Contains(head, "Location") {
		t.Errorf("an unknown host in clear:\n%s", head)
	}
}
