package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/gatetest"
)

// Passwords are hashed in a process of its own, which stands back behind the
// proxied traffic. Nobody is refused when it is killed, and it never outlives
// the gateway, however that ends (threat T113).
func TestT113_PasswordsAreHashedInAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	if got := hashers(t, g.Pid()); len(got) != 0 {
		t.Errorf("before the first sign-in: %+v", got)
	}
	c := g.Client("app.test", true)
	email := register(t, c, "ann@example.com")
	first := hashers(t, g.Pid())
	if len(first) != 1 || first[0].name != "gatehouse" || first[0].nice <= 0 {
		t.Fatalf("after a registration: %+v", first)
	}
	if err := syscall.Kill(first[0].pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.Login(email, password)
	}
	if n := strings.Count(g.Log(), "passwords are hashed in this process"); n != 1 {
		t.Errorf("%d warnings after it was killed:\n%s", n, g.Log())
	}
	g.Stop()
	for _, end := range []func(){func() { g.Stop() }, g.Kill} {
		g.Run()
		g.Client("app.test", true).Login(email, password)
		last := hashers(t, g.Pid())
		if len(last) != 1 {
			t.Fatalf("after a sign-in: %+v", last)
		}
		end()
		within(t, "it ends with the gateway", func() bool { return errors.Is(syscall.Kill(last[0].pid, 0), syscall.ESRCH) })
	}
}

// hashing is the most memory that the processes for passwords have had, in KiB.
func hashing(t *testing.T, g *gatetest.Gate) (sum int) {
	t.Helper()
	for _, h := range hashers(t, g.Pid()) {
		sum += memoryOf(t, h.pid, "VmHWM")
	}
	return sum
}

// hasher is a process of a gateway.
type hasher struct {
	pid, nice int
	name      string
}

// hashers lists the children of a process.
func hashers(t *testing.T, parent int) (all []hasher) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		head, rest, ok := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 17 || f[1] != strconv.Itoa(parent) || f[0] == "Z" {
			continue
		}
		pid, name, _ := strings.Cut(head, " (")
		h := hasher{name: name}
		if h.pid, err = strconv.Atoi(pid); err == nil {
			h.nice, err = strconv.Atoi(f[16])
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}
