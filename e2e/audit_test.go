package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// T137: every security event is in the audit file with who, when, from where
// and about which request, and the chain proves that none is missing.
func TestT137_EverySecurityEventIsAudited(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, strings.Replace("log: {audit_file: audit.log}\n"+appRoute(up.URL()), "login_ip: 1000/1m", "login_ip: 3/1h", 1))
	g.Run()
	c := g.Client("app.test", true)
	login := func(pass string) (gatetest.Tokens, int) {
		return post(c, "/_auth/login", map[string]string{"email": "ann@example.com", "password": pass})
	}
	if a := signUp(c, "ann@example.com"); a.StatusCode != http.StatusCreated {
		t.Fatalf("register: %d", a.StatusCode)
	}
	tok, _ := login(password)
	second, _ := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
	post(c, "/_auth/refresh", map[string]string{"refresh_token": second.RefreshToken})
	post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}) // reuse
	tok, _ = login(password)
	changed, _ := post(c, "/_auth/password", map[string]string{"current_password": password, "new_password": "another-good-horse-8"}, gatetest.Bearer(tok.AccessToken))
	logout(c, changed.AccessToken)
	for range 5 {
		login("a wrong password")
	}
	g.Must("", "user", "disable", "ann@example.com")
	g.Must("", "key", "rotate")
	g.Configure("log: {audit_file: audit.log}\n" + appRoute(up.URL()))
	within(t, "the reload is audited", func() bool { return strings.Contains(auditFile(t, g), `"event":"config.reload"`) })
	if out := g.Must("", "audit", "verify", filepath.Join(g.Dir, "audit.log")); !strings.Contains(out, "fine") {
		t.Errorf("audit verify: %s", out)
	}
	text := auditFile(t, g)
	for _, event := range []string{"register", "login.success", "login.failure", "refresh", "refresh.reuse", "password.change", "logout", "limit.hit", "user.disable", "key.rotate", "config.reload"} {
		if !regexp.MustCompile(`"event":"` + regexp.QuoteMeta(event)).MatchString(text) {
			t.Errorf("no event %s in:\n%s", event, text)
		}
	}
	for line := range strings.Lines(text) {
		var e map[string]string
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if !strings.HasSuffix(e["time"], "Z") || e["outcome"] == "" || e["hash"] == "" {
			t.Errorf("an event without time in UTC, outcome or hash: %s", line)
		}
		if strings.HasPrefix(e["event"], "login") && (e["ip"] != "127.0.0.1" || e["request_id"] == "" || e["ua"] == "") {
			t.Errorf("a login without address, request or device: %s", line)
		}
	}
	if strings.Contains(text, password) || strings.Contains(text, "ghr_") {
		t.Error("a secret is in the audit file")
	}
}

func auditFile(t *testing.T, g *gatetest.Gate) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.Dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
