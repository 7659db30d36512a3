//go:build apps

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// tool is a program e2e/install.sh built or fetched.
func tool(name string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", ".tools", name)
}

// startApp runs a program until the test ends and waits until it listens.
func startApp(t *testing.T, addr string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v (make e2e installs it)", argv[0], err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
	})
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%s ended:\n%s", argv[0], log.String())
		default:
		}
	}
	t.Fatalf("%s does not listen on %s:\n%s", argv[0], addr, log.String())
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneRoute is a gate in front of one app, with one user in it.
func oneRoute(t *testing.T, host, upstream, options string) (*gatetest.Gate, *gatetest.Client, gatetest.Tokens) {
	t.Helper()
	g := gatetest.Start(t, fmt.Sprintf("routes:\n  - name: app\n    host: %s\n    upstream: %s\n%s", host, upstream, options))
	g.AddUser("ann@example.com", password, "staff")
	c := g.Client(host, true)
	return g, c, c.Login("ann@example.com", password)
}

// sh runs a command and returns its output.
func sh(t *testing.T, dir string, env []string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func port(g *gatetest.Gate) string {
	_, p, _ := net.SplitHostPort(g.HTTPS)
	return p
}
