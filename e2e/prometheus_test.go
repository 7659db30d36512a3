//go:build apps

package e2e

import (
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

func startPrometheus(t *testing.T) string {
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	conf := write(t, dir, "p.yml", "global: {scrape_interval: 1s}\nscrape_configs:\n  - {job_name: self, static_configs: [{targets: ['"+addr+"']}]}\n")
	startApp(t, addr, "prometheus", "--config.file="+conf, "--storage.tsdb.path="+dir+"/d", "--web.listen-address="+addr)
	return "http://" + addr
}

func TestPrometheusByProgram(t *testing.T) {
	_, c, tok := oneRoute(t, "prom.test", startPrometheus(t), "")
	auth := gatetest.Bearer(tok.AccessToken)
	if a := c.Must("GET", "/", "", auth); a.StatusCode != 302 || !strings.HasPrefix(a.Header.Get("Location"), "/") {
		t.Errorf("/: %d to %q", a.StatusCode, a.Header.Get("Location"))
	}
	within(t, "a query has a result", func() bool {
		a := c.Must("POST", "/api/v1/query", "query=up%7Bjob%3D%22self%22%7D", auth, "Content-Type: application/x-www-form-urlencoded")
		return a.StatusCode == 200 && strings.Contains(a.Text, `"status":"success"`)
	})
}
