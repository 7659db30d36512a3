//go:build apps

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/gatetest"
)

// strace attaches to a running gate, with its arguments beside -f and -p, and
// returns what detaches it and gives what it wrote. It is on before it returns.
func strace(t *testing.T, g *gatetest.Gate, args ...string) (detach func() string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command("strace", append([]string{"-f", "-ttt", "-yy", "-s", "64", "-o", out, "-p", fmt.Sprint(g.Pid())}, args...)...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 4096)
	n, err := pipe.Read(said) // "strace: Process 1 attached with 9 threads"
	if err != nil || !strings.Contains(string(said[:n]), "attached") {
		_ = cmd.Wait() // it said why
		t.Skipf("this machine allows no tracing: %s", said[:n])
	}
	go func() {
		for err == nil { // keeps it from waiting for a reader
			_, err = pipe.Read(said)
		}
	}()
	detached := false
	detach = func() string {
		if !detached {
			detached = true
			_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended with the gate
			_ = cmd.Wait()                         // ends by that signal
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Cleanup(func() { detach() })
	return detach
}

// F-G2: between the write of a change and the answer that acknowledges it, the
// disk was asked to keep it. The strace shows it for a registration, a logout
// and a refresh, one at a time.
func TestFaultG2_SyncBeforeTheAnswer(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", false)
	tok := c.Login("ann@example.com", password)
	for name, act := range map[string]func() int{
		"register": func() int { return signUp(c, "new@example.com").StatusCode },
		"refresh": func() int {
			_, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
			return status
		},
		"logout": func() int { return logout(c, c.Login("ann@example.com", password).AccessToken) },
	} {
		detach := strace(t, g, "-e", "trace=pwrite64,fdatasync,fsync,write")
		if got := act(); got >= 300 {
			t.Fatalf("%s: %d", name, got)
		}
		wrote, synced, answered := -1, -1, -1
		for i, line := range strings.Split(detach(), "\n") {
			switch {
			case strings.Contains(line, "pwrite64(") && strings.Contains(line, "gatehouse.db-wal"):
				if synced < wrote || wrote < 0 {
					synced = -1
				}
				wrote = i
			case syncDone.MatchString(line):
				synced = i
			case strings.Contains(line, "write(") && strings.Contains(line, "TCP:"):
				answered = i
			}
		}
		if wrote < 0 || synced < wrote || answered < synced {
			t.Errorf("%s: the log was written at %d, synced at %d, answered at %d", name, wrote, synced, answered)
		}
	}
}

var syncDone = regexp.MustCompile(`(fdatasync|fsync)(\(\d+<[^>]*gatehouse\.db-wal>\)| resumed>.*)\s*=\s*0`)

// inject makes system calls of the store fail while act runs.
func inject(t *testing.T, g *gatetest.Gate, rule string, act func()) {
	t.Helper()
	path := dbFile(g)
	detach := strace(t, g, "-P", path, "-P", path+"-wal", "-e", "trace=pwrite64,fdatasync,fsync,ftruncate", "-e", "inject="+rule)
	act()
	if log := detach(); !strings.Contains(log, "(INJECTED)") {
		t.Errorf("nothing was injected:\n%.2000s", log)
	}
}

// afterFault holds a gate to its word after a fault: it acknowledges again by
// itself, what it acknowledged is there, what it refused is not, and the
// database is whole.
func afterFault(t *testing.T, g *gatetest.Gate, c *gatetest.Client, refused string, tok gatetest.Tokens) {
	t.Helper()
	within(t, "it acknowledges again", func() bool { return signUp(c, "after@example.com").StatusCode == http.StatusCreated })
	if got := c.Status("/", tok.AccessToken); got != http.StatusOK {
		t.Errorf("a session from before: %d", got)
	}
	g.Kill()
	sound(t, dbFile(g))
	g.Run()
	list := g.Must("", "user", "list")
	if !strings.Contains(list, "after@example.com") || !strings.Contains(list, "ann@example.com") {
		t.Errorf("an acknowledged account is gone:\n%s", list)
	}
	if strings.Contains(list, refused) {
		t.Errorf("a refused registration came back after the restart:\n%s", list)
	}
}

// F-S2 and F-S4 without a mount: the system refuses the store's writes for
// want of space, or because the file system became read-only.
func TestFaultS2_S4_NoSpaceByInjection(t *testing.T) {
	for _, errno := range []string{"ENOSPC", "EROFS", "EDQUOT"} {
		t.Run(errno, func(t *testing.T) {
			up := gatetest.NewUpstream(t)
			g := gatetest.Start(t, appRoute(up.URL()))
			g.AddUser("ann@example.com", password)
			c := g.Client("app.test", true)
			tok := c.Login("ann@example.com", password)
			inject(t, g, "pwrite64:error="+errno, func() {
				unavailable(t, "register", signUp(c, "refused@example.com"))
				unavailable(t, "logout", c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"))
				if got := c.Status("/", tok.AccessToken); got != http.StatusOK {
					t.Errorf("a proxied request: %d", got)
				}
			})
			afterFault(t, g, c, "refused@example.com", tok)
		})
	}
}

// F-S3: the disk says that it could not keep what it had taken. That change is
// not acknowledged, and neither is any after it until the database has proved
// whole: the page cache may hold what the disk does not.
func TestFaultS3_SyncErrorStopsAcknowledging(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	tok := c.Login("ann@example.com", password)
	inject(t, g, "fdatasync,fsync:error=EIO", func() {
		for i := range 5 {
			unavailable(t, "register", signUp(c, fmt.Sprintf("refused%d@example.com", i)))
		}
		if got := c.Status("/", tok.AccessToken); got != http.StatusOK {
			t.Errorf("a proxied request: %d", got)
		}
	})
	if !strings.Contains(g.Log(), "store stopped acknowledging writes") {
		t.Error("the log does not say that the store stopped")
	}
	afterFault(t, g, c, "refused", tok)
}
