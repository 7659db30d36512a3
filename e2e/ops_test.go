package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

func get(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestSIGTERMEndsInOrder(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	if got := g.Client("open.test", false).Status("/", ""); got != 200 {
		t.Fatalf("before: %d", got)
	}
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d after SIGTERM, want 0:\n%s", code, g.Log())
	}
}

func TestT136_NoSecretInAnyLog(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, "log: {level: debug}\n"+appRoute(up.URL()))
	g.AddUser("hal@example.com", password)
	c := g.Client("app.test", true)
	tok := c.Login("hal@example.com", password)
	c.Status("/?access_token="+tok.AccessToken, tok.AccessToken)
	c.JSON("/_auth/login", map[string]string{"email": "hal@example.com", "password": "a-very-wrong-password"}, nil)
	c.Form("/_auth/login", "email", "hal@example.com", "password", password)
	var cookies []string
	for _, ck := range c.Jar.Cookies(c.Must(http.MethodGet, "/", "").Request.URL) {
		cookies = append(cookies, ck.Value)
	}
	if len(cookies) != 2 {
		t.Fatalf("%d cookies after signing in", len(cookies))
	}
	c.JSON("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}, nil)
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, secret := range append(cookies, tok.AccessToken, tok.RefreshToken, password, "a-very-wrong-password") {
		if strings.Contains(g.Log(), secret) {
			t.Errorf("the log holds %.12s...", secret)
		}
	}
	for _, event := range []string{"login.success", "login.failure"} {
		if !strings.Contains(g.Log(), event) {
			t.Errorf("the log has no %s", event)
		}
	}
}

func TestMetricsByTheNamesUsersScriptAgainst(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ida@example.com", password)
	c := g.Client("app.test", true)
	c.Status("/", c.Login("ida@example.com", password).AccessToken)
	c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(c.Login("ida@example.com", password).AccessToken), "Content-Type: application/json")
	text := metrics(t, g)
	for _, name := range []string{
		`gatehouse_requests_total{code="200",method="GET",route="app"}`, "gatehouse_request_duration_seconds_count{route=\"app\"}",
		"gatehouse_upstream_duration_seconds_count{route=\"app\"}", "gatehouse_authn_total{", "gatehouse_authz_total{",
		"gatehouse_revocations_total{kind=\"session\"}", "gatehouse_revocation_feed_age_seconds", "gatehouse_password_hash_queue",
		"gatehouse_config_last_reload_success 1", "gatehouse_open_connections{", "gatehouse_upstream_up{",
	} {
		if !strings.Contains(text, name) {
			t.Errorf("no metric %s", name)
		}
	}
	if strings.Contains(text, "ida@example.com") {
		t.Error("a label holds a user")
	}
}
