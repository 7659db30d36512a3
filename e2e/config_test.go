package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/gatetest"
)

// Eight mistakes, each on a line of its own that ends in "# mistake".
const mistakes = `listen: {https: "127.0.0.1:0"}
tls: {self_signed: true}
tokens:
  issuer: https://gate.test
  acess_ttl: 5m                      # mistake
  leeway: 5                          # mistake
sessions:
  refresh_grace: 10m                 # mistake
accounts:
  registration: everybody            # mistake
limits:
  login_ip: thirty                   # mistake
routes:
  - name: app
    host: app.test
    upstraem: http://127.0.0.1:1     # mistake
    upstream: http://127.0.0.1:1
    access: signed-in                # mistake
    max_body: 5 bananas              # mistake
`

func TestCheckFindsEightMistakesAtTheirPlaces(t *testing.T) {
	g := gatetest.New(t, "routes: []\n")
	if err := os.WriteFile(g.File(), []byte(mistakes), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := g.Command("", "check")
	if code != 2 {
		t.Errorf("exit %d, want 2", code)
	}
	var want []string
	for i, line := range strings.Split(mistakes, "\n") {
		if strings.Contains(line, "# mistake") {
			want = append(want, strconv.Itoa(i+1))
		}
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\S*gatehouse\.yaml:(\d+):\d+: `).FindAllStringSubmatch(out+errs, -1) {
		got = append(got, m[1])
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("problems on lines %v, want %v:\n%s%s", got, want, out, errs)
	}
	for _, hint := range []string{`"access_ttl"`, `"upstream"`, `signed_in`} {
		if !strings.Contains(out+errs, hint) {
			t.Errorf("no hint at %s in:\n%s%s", hint, out, errs)
		}
	}
}

func TestT140_ABadReloadKeepsTheOldConfiguration(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	c := g.Client("open.test", true)
	if got := c.Status("/", ""); got != 200 {
		t.Fatalf("before: %d", got)
	}
	if err := os.WriteFile(g.File(), []byte(mistakes), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Signal(syscall.SIGHUP)
	within(t, "the failed reload is counted", func() bool { return strings.Contains(metrics(t, g), "gatehouse_config_last_reload_success 0") })
	if got := c.Status("/", ""); got != 200 {
		t.Errorf("after a bad reload: %d", got)
	}
	g.Configure(strings.ReplaceAll(appRoute(up.URL()), "open.test", "renamed.test"))
	g.Signal(syscall.SIGHUP)
	within(t, "the good file is loaded", func() bool {
		a, err := g.Client("renamed.test", true).Send("GET", "/", "") // until then the handshake fails: no certificate has that name
		return err == nil && a.StatusCode == 200
	})
	if got := c.Status("/", ""); got != 421 {
		t.Errorf("a host that was removed: %d, want 421", got)
	}
}

func metrics(t *testing.T, g *gatetest.Gate) string {
	t.Helper()
	text, err := get("http://" + g.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return text
}
