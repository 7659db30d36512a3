package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"gatehouse/config"
)

const deployDir = "../deploy/cluster"

func deployed(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// documents decodes every document of a YAML file.
func documents(t *testing.T, name string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for dec := yaml.NewDecoder(bytes.NewReader(deployed(t, name))); ; {
		var doc map[string]any
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, doc)
	}
}

// The configuration that is deployed is a valid one for a cluster, and every
// variable it names is given by both ways to deploy it.
func TestDeployedConfiguration(t *testing.T) {
	certFile, keyFile := selfSigned(t)
	text := strings.NewReplacer("/etc/gatehouse/tls/tls.crt", certFile, "/etc/gatehouse/tls/tls.key", keyFile).Replace(string(deployed(t, "gatehouse.yaml")))
	asked := map[string]bool{}
	cfg, err := config.Parse("gatehouse.yaml", []byte(text), func(name string) (string, bool) {
		asked[name] = true
		v, ok := map[string]string{"GATEHOUSE_PG_URL": "postgres://u:p@db/gate", "GATEHOUSE_REDIS_PASSWORD": "p", "GATEHOUSE_ENCRYPTION_KEY": sealKey}[name]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Cluster || len(asked) != 3 {
		t.Errorf("cluster %v, variables %v", cfg.Cluster, asked)
	}
	for _, file := range []string{"compose.yaml", "kubernetes.yaml"} {
		for name := range asked {
			if !bytes.Contains(deployed(t, file), []byte(name)) {
				t.Errorf("%s does not give %s", file, name)
			}
		}
	}
	for _, port := range []string{cfg.Listen.HTTPS, cfg.Listen.HTTP, cfg.Listen.Admin} {
		for _, file := range []string{"haproxy.cfg", "kubernetes.yaml"} {
			if !bytes.Contains(deployed(t, file), []byte(strings.TrimPrefix(port, ":"))) {
				t.Errorf("%s does not know port %s", file, port)
			}
		}
	}
}

func TestManifestsHoldTogether(t *testing.T) {
	kinds := map[string]map[string]any{}
	for _, doc := range documents(t, "kubernetes.yaml") {
		kind, _ := doc["kind"].(string)
		kinds[kind] = doc
	}
	for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} {
		if kinds[kind] == nil {
			t.Errorf("no %s", kind)
		}
	}
	if n := dig(kinds["Deployment"], "spec", "replicas"); n != 3 {
		t.Errorf("%v replicas", n)
	}
	pod := dig(kinds["Deployment"], "spec", "template", "spec")
	// The drain takes 25 s, after listen.drain_delay.
	delay, err := time.ParseDuration(fmt.Sprint(dig(documents(t, "gatehouse.yaml")[0], "listen", "drain_delay")))
	if grace, _ := dig(pod, "terminationGracePeriodSeconds").(int); err != nil || time.Duration(grace)*time.Second < delay+25*time.Second {
		t.Errorf("a pod is killed after %d s, before it has drained (%v)", grace, err)
	}
	services, _ := dig(documents(t, "compose.yaml")[0], "services").(map[string]any)
	for _, name := range []string{"gate1", "gate2", "gate3", "balancer", "postgres", "redis"} {
		if services[name] == nil {
			t.Errorf("compose has no service %s", name)
		}
	}
	if grace, err := time.ParseDuration(fmt.Sprint(dig(services["gate1"], "stop_grace_period"))); err != nil || grace < delay+25*time.Second {
		t.Errorf("compose kills an instance after %v, before it has drained (%v)", grace, err)
	}
	if !bytes.Contains(deployed(t, "compose.yaml"), []byte("maxmemory-policy, noeviction")) {
		t.Error("the Redis of compose evicts")
	}
}

func dig(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

var metricName = regexp.MustCompile(`gatehouse_[a-z0-9_]+`)

// Alerts and dashboard ask for metrics that exist.
func TestAlertsAndDashboardNameRealMetrics(t *testing.T) {
	known := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range metricName.FindAllString(string(text), -1) {
			known[name] = true
		}
		return err
	})
	if err != nil || len(known) < 10 {
		t.Fatal(len(known), err)
	}
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		used := metricName.FindAllString(string(deployed(t, file)), -1)
		if len(used) < 8 {
			t.Errorf("%s asks for %d metrics", file, len(used))
		}
		for _, name := range used {
			if !known[strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")] {
				t.Errorf("%s asks for %s, which gatehouse does not have", file, name)
			}
		}
	}
	if groups, _ := dig(documents(t, "alerts.yaml")[0], "groups").([]any); len(groups) != 1 {
		t.Error("alerts.yaml holds no group")
	}
	var dashboard struct {
		Panels []struct{ Title string }
	}
	if err := json.Unmarshal(deployed(t, "dashboard.json"), &dashboard); err != nil || len(dashboard.Panels) < 10 {
		t.Errorf("%d panels, %v", len(dashboard.Panels), err)
	}
}
