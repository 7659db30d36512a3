//go:build apps

package e2e

import (
	"testing"
)

// The page of a person who looks something up in Prometheus, in real Chromium.
func TestPrometheusInABrowser(t *testing.T) {
	g, _, _ := oneRoute(t, "prom.test", startPrometheus(t), "")
	out := sh(t, "", []string{"PLAYWRIGHT_DIR=" + tool("node")}, "node", "prometheus.mjs", "https://prom.test:"+port(g), "ann@example.com", password)
	t.Log(out)
}
