package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

const password = "correct-horse-battery-9"

func appRoute(upstream string) string {
	return `
accounts: {registration: open}
limits: {register_ip: 1000/1h, login_ip: 1000/1m, refresh_session: 1000/1m}
routes:
  - {name: app, host: app.test, upstream: "` + upstream + `"}
  - {name: open, host: open.test, upstream: "` + upstream + `", access: public}
  - name: ruled
    host: ruled.test
    upstream: "` + upstream + `"
    rules:
      - {path: /static, access: public}
      - {path: /admin, access: {groups: [admins]}}
`
}

func TestRegisterSignInAndOutAsAProgram(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	c := g.Client("app.test", true)

	refused := c.Must(http.MethodGet, "/", "")
	if refused.StatusCode != http.StatusUnauthorized || refused.Header.Get("WWW-Authenticate") == "" {
		t.Fatalf("without a token: %d, WWW-Authenticate %q", refused.StatusCode, refused.Header.Get("WWW-Authenticate"))
	}
	if up.Last() != "" {
		t.Fatalf("the app saw an unauthenticated request: %q", up.Last())
	}

	var tok gatetest.Tokens
	if a := c.JSON("/_auth/register", map[string]string{"email": "Ann@Example.com", "password": password, "name": "Ann"}, &tok); a.StatusCode != http.StatusCreated {
		t.Fatalf("register: %d %s", a.StatusCode, a.Text)
	}
	if tok.TokenType != "Bearer" || tok.ExpiresIn != 300 || !strings.HasPrefix(tok.RefreshToken, "ghr_") {
		t.Fatalf("register answered %+v", tok)
	}
	if got := c.Status("/hello?x=1", tok.AccessToken); got != http.StatusOK {
		t.Fatalf("with a token: %d", got)
	}
	seen := up.Last()
	for _, want := range []string{"GET /hello?x=1 HTTP/1.1\r\n", "\r\nX-Forwarded-Email: Ann@Example.com\r\n", "\r\nX-Forwarded-Preferred-Username: Ann\r\n"} {
		if !strings.Contains(seen, want) {
			t.Errorf("the app did not see %q in:\n%s", want, seen)
		}
	}
	if strings.Contains(seen, tok.AccessToken) {
		t.Error("the app saw our bearer token")
	}

	var next gatetest.Tokens
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}, &next); a.StatusCode != http.StatusOK {
		t.Fatalf("refresh: %d %s", a.StatusCode, a.Text)
	}
	if a := c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(next.AccessToken), "Content-Type: application/json"); a.StatusCode != http.StatusNoContent {
		t.Fatalf("logout: %d %s", a.StatusCode, a.Text)
	}
	for name, token := range map[string]string{"first": tok.AccessToken, "refreshed": next.AccessToken} {
		if got := c.Status("/", token); got != http.StatusUnauthorized {
			t.Errorf("%s access token after logout: %d", name, got)
		}
	}
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": next.RefreshToken}, nil); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("refresh after logout: %d", a.StatusCode)
	}
}

func TestSignInAndOutAsABrowser(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("bob@example.com", password, "readers", "admins")
	c := g.Client("ruled.test", true)

	nav := []string{"Accept: text/html", "Sec-Fetch-Mode: navigate"}
	a := c.Must(http.MethodGet, "/deep/link?a=1&b=2", "", nav...)
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/_auth/login?rd=") {
		t.Fatalf("a navigation got %d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	if a := c.Form("/_auth/login", "email", "bob@example.com", "password", "wrong-wrong-wrong", "rd", "/deep"); a.StatusCode != http.StatusUnauthorized || len(a.Cookies()) > 0 {
		t.Fatalf("wrong password: %d, cookies %v", a.StatusCode, a.Cookies())
	}
	a = c.Form("/_auth/login", "email", " BOB@example.com ", "password", password, "rd", "/deep/link?a=1&b=2")
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/deep/link?a=1&b=2" {
		t.Fatalf("sign-in: %d to %q: %s", a.StatusCode, a.Header.Get("Location"), a.Text)
	}
	for _, ck := range a.Cookies() {
		if !ck.Secure || !ck.HttpOnly || ck.Path != "/" || ck.Domain != "" || ck.SameSite != http.SameSiteLaxMode {
			t.Errorf("cookie %s is not locked down: %v", ck.Name, ck)
		}
	}
	if a := c.Must(http.MethodGet, "/admin/x", "", append(nav, "Cookie: theme=dark")...); a.StatusCode != http.StatusOK {
		t.Fatalf("an admin at /admin: %d %s", a.StatusCode, a.Text)
	}
	seen := up.Last()
	if !strings.Contains(seen, "\r\nX-Forwarded-Groups: admins,readers\r\n") || !strings.Contains(seen, "theme=dark") || strings.Contains(seen, "__Host-gatehouse") {
		t.Errorf("the app saw:\n%s", seen)
	}
	if a := c.Form("/_auth/logout"); a.StatusCode != http.StatusSeeOther && a.StatusCode != http.StatusOK {
		t.Fatalf("sign-out: %d %s", a.StatusCode, a.Text)
	}
	if a := c.Must(http.MethodGet, "/", "", nav...); a.StatusCode != http.StatusSeeOther {
		t.Errorf("after sign-out: %d", a.StatusCode)
	}
}

func TestT146_ThreeAnswersNeverMix(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("carl@example.com", password)
	c := g.Client("ruled.test", true)
	tok := c.Login("carl@example.com", password).AccessToken
	for _, want := range []struct {
		path, token string
		status      int
		code        string
	}{
		{"/", "", 401, ""},
		{"/admin", "", 401, ""},
		{"/admin", tok, 403, ""},
		{"/", tok, 200, ""},
		{"/static/a.css", "", 200, ""},
		{"/static/../admin", "", 400, ""},
		{"/static/%2e%2e/admin", "", 400, ""},
		{"/STATIC/a", "", 400, ""},
	} {
		var hdr []string
		if want.token != "" {
			hdr = append(hdr, gatetest.Bearer(want.token))
		}
		a := c.Must(http.MethodGet, want.path, "", hdr...)
		if a.StatusCode != want.status {
			t.Errorf("GET %s with token %v: %d, want %d", want.path, want.token != "", a.StatusCode, want.status)
		}
		if own := a.Header.Get("Gatehouse-Response") != ""; own == (want.status == 200) {
			t.Errorf("GET %s: Gatehouse-Response %q on a %d", want.path, a.Header.Get("Gatehouse-Response"), a.StatusCode)
		}
		if names := a.Header.Get("WWW-Authenticate") != ""; names != (want.status == 401) {
			t.Errorf("GET %s: WWW-Authenticate %q on a %d", want.path, a.Header.Get("WWW-Authenticate"), a.StatusCode)
		}
		if want.status >= 400 {
			var problem struct {
				Status    int    `json:"status"`
				Code      string `json:"code"`
				Detail    string `json:"detail"`
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(a.Text), &problem); err != nil || problem.Status != want.status || problem.Code == "" || problem.Detail == "" || problem.RequestID == "" {
				t.Errorf("GET %s: problem %+v, %v", want.path, problem, err)
			}
		}
	}
}

func TestUserCommandsReachARunningGateway(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("dora@example.com", password)
	c := g.Client("ruled.test", true)
	first := c.Login("dora@example.com", password)
	if got := c.Status("/admin", first.AccessToken); got != 403 {
		t.Fatalf("before the group change: %d", got)
	}
	g.Must("", "user", "set-groups", "dora@example.com", "admins")
	within(t, "the old token is refused", func() bool { return c.Refused("/", first.AccessToken) })
	var next gatetest.Tokens
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": first.RefreshToken}, &next); a.StatusCode != 200 {
		t.Fatalf("refresh after a group change: %d %s", a.StatusCode, a.Text)
	}
	if got := c.Status("/admin", next.AccessToken); got != 200 {
		t.Errorf("after the group change: %d", got)
	}
	g.Must("", "user", "disable", "DORA@example.com")
	within(t, "the disabled user is refused", func() bool { return c.Refused("/", next.AccessToken) })
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": next.RefreshToken}, nil); a.StatusCode != 401 {
		t.Errorf("refresh of a disabled user: %d", a.StatusCode)
	}
}
