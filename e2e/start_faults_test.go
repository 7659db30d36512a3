package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse/internal/gatetest"
)

// F-S5: after a crash all that was acknowledged may be in the write-ahead log. A
// log that is damaged is refused with a reason, and not touched; the whole one
// has everything.
func TestFaultS5_DamagedLogIsRefused(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	c := g.Client("app.test", true)
	for i := range 8 {
		if a := signUp(c, fmt.Sprintf("user%d@example.com", i)); a.StatusCode != http.StatusCreated {
			t.Fatalf("register: %d", a.StatusCode)
		}
	}
	g.Kill()
	log := dbFile(g) + "-wal"
	whole, err := os.ReadFile(log)
	if err != nil || len(whole) < 10*4096 {
		t.Fatalf("a log of %d bytes, %v", len(whole), err)
	}
	db, err := os.ReadFile(dbFile(g))
	if err != nil {
		t.Fatal(err)
	}
	middle := append([]byte(nil), whole...)
	copy(middle[2*4096:], "damage")
	for name, content := range map[string][]byte{"garbage": []byte(strings.Repeat("garbage ", 5000)), "zeros": make([]byte, len(whole)), "damaged": middle} {
		if err := os.WriteFile(log, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := refusesToStart(t, g); !strings.Contains(out, "-wal file is damaged") || !strings.Contains(out, "restore a backup") {
			t.Errorf("%s: %q does not say what is wrong", name, out)
		}
		if _, errs, code := g.Command("", "user", "list"); code != 1 {
			t.Errorf("%s: user list: exit %d, %s", name, code, errs)
		}
		for file, before := range map[string][]byte{log: content, dbFile(g): db} {
			if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
				t.Errorf("%s: %s was changed (%v)", name, filepath.Base(file), err)
			}
		}
	}
	if err := os.WriteFile(log, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	g.Run()
	if list := g.Must("", "user", "list"); strings.Count(list, "@example.com") != 8 {
		t.Errorf("not all that was acknowledged:\n%s", list)
	}
}

// F-S4: a database the gateway may not write is refused with a reason, and is
// as it was.
func TestFaultS4_ADatabaseOfAnotherOwnerIsRefused(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	before, err := os.ReadFile(dbFile(g))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dbFile(g), 0o400); err != nil {
		t.Fatal(err)
	}
	if out := refusesToStart(t, g); !strings.Contains(out, "chmod 600") {
		t.Errorf("read-only: %q does not say what to do", out)
	}
	if err := os.Chmod(dbFile(g), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		asNobody(t, g)
	}
	if after, err := os.ReadFile(dbFile(g)); err != nil || string(after) != string(before) {
		t.Errorf("the file was changed (%v)", err)
	}
}

// asNobody starts the gate as a user who owns everything but the database.
func asNobody(t *testing.T, g *gatetest.Gate) {
	t.Helper()
	const nobody = 65534
	home, err := os.MkdirTemp("", "gatehouse-nobody") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	bin, err := gatetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(home, filepath.Base(bin))
	if out, err := exec.Command("cp", "-r", bin, g.File(), filepath.Join(g.Dir, "data"), home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprint(nobody), home).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := errors.Join(os.Chown(filepath.Join(home, "data", "gatehouse.db"), 0, 0), os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), copied, "serve", "-c", filepath.Join(home, "gatehouse.yaml"))
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "check its owner") {
		t.Errorf("another owner: %v, %q does not say what to do", err, out)
	}
}
