package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// blocks returns the fenced blocks of one language on one page.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

// foreign are the first keys of blocks that configure other products.
var foreign = regexp.MustCompile(`^(http|groups|services|apiVersion):`)

// complete makes a whole file of an excerpt: options of a route, routes, or
// sections.
func complete(block string) string {
	const route = "  - name: app\n    host: app.example.com\n    upstream: http://127.0.0.1:1\n"
	switch {
	case strings.HasPrefix(block, "    "):
		block = "routes:\n" + route + block
	case strings.HasPrefix(block, "  - "):
		block = "routes:\n" + block
	}
	for key, value := range map[string]string{
		"tls": "tls: {self_signed: true}\n", "tokens": "tokens: {issuer: \"https://gate.example.com\"}\n", "routes": "routes:\n" + route,
	} {
		if !strings.HasPrefix(block, key+":") && !strings.Contains(block, "\n"+key+":") {
			block = value + block
		}
	}
	return block
}

// What the pages tell people to write is a valid configuration.
func TestExamplesOfTheDocumentationAreValid(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	g := gatetest.New(t, "routes: []\n")
	files := exampleFiles(t, g)
	checked := 0
	for _, page := range append(pages, "../README.md") {
		for i, block := range blocks(t, page, "yaml") {
			if foreign.MatchString(block) {
				continue
			}
			text := strings.NewReplacer("/etc/gatehouse/", files+"/", "/var/lib/gatehouse", files).Replace(complete(block))
			if err := os.WriteFile(g.File(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, errs, code := g.Command("", "check"); code != 0 {
				t.Errorf("%s, yaml block %d: exit %d\n%s%s", page, i+1, code, out, errs)
			}
			checked++
		}
	}
	if checked < 15 {
		t.Errorf("only %d blocks were found", checked)
	}
}

// exampleFiles makes the files the examples name.
func exampleFiles(t *testing.T, g *gatetest.Gate) string {
	t.Helper()
	dir := t.TempDir()
	g.Configure("routes:\n  - {name: app, host: app.example.com, upstream: \"http://127.0.0.1:1\"}\n")
	g.Run() // makes a certificate
	g.Stop()
	for to, from := range map[string]string{"wiki.crt": "leaf.crt", "wiki.key": "leaf.key", "star.crt": "leaf.crt", "star.key": "leaf.key"} {
		b, err := os.ReadFile(filepath.Join(g.Dir, "data", from))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"app.password": "secret", "redis.password": "secret", "pg.url": "postgres://gate:secret@db.example.com/gate", "keys.key": sealKey,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The commands on the README's first screen do what stands below them.
func TestReadmeCommands(t *testing.T) {
	addr := startDemo(t)
	var script []string
	shown := 0
	for _, block := range blocks(t, "../README.md", "console") {
		if !strings.Contains(block, "curl") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?ms)^\$ (.*?[^\\])\n([^$]*)`).FindAllStringSubmatch(block, -1) {
			script = append(script, "echo '--'", strings.ReplaceAll(m[1], "localhost:8443", addr))
			shown++
		}
	}
	if shown != 3 {
		t.Fatalf("%d commands found, want 3", shown)
	}
	out, err := exec.Command("bash", "-c", strings.Join(script, "\n")).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(string(out), "--\n")
	if len(got) != 4 || !strings.Contains(got[1], `"status":401`) || !strings.Contains(got[1], "Please sign in.") {
		t.Errorf("without a token: %q", got)
	}
	if !strings.Contains(got[3], "This app has no login. It knows you because gatehouse told it") || !strings.Contains(got[3], "ann@example.com") {
		t.Errorf("with a token: %s", got[3])
	}
}

// startDemo runs `gatehouse demo` until the test ends and returns its address.
func startDemo(t *testing.T) string {
	t.Helper()
	bin, err := gatetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	addr := gatetest.FreeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, bin, "demo", "--listen", addr)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said += lines.Text() + "\n"
		if strings.Contains(said, "Ctrl-C") {
			break
		}
	}
	t.Cleanup(func() {
		cancel()
		for lines.Scan() { // Wait would cut what it still says
		}
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("demo after Ctrl-C: %v", err)
		}
	})
	_, port, _ := strings.Cut(addr, ":")
	if want := fmt.Sprintf("https://localhost:%s", port); !strings.Contains(said, want) {
		t.Fatalf("the demo does not say %s:\n%s", want, said)
	}
	return "localhost:" + port
}
