package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the other process that locks, and the judge of what is left

	"gatehouse/internal/gatetest"
)

func dbFile(g *gatetest.Gate) string { return filepath.Join(g.Dir, "data", "gatehouse.db") }

func openDB(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_txlock=immediate&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sound fails the test unless the database of a stopped gate is whole.
func sound(t *testing.T, path string) {
	t.Helper()
	var verdict string
	if err := openDB(t, path).QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity of %s: %q, %v", path, verdict, err)
	}
}

// refusesToStart runs serve, which has to end by itself with exit code 1, and
// returns what it said.
func refusesToStart(t *testing.T, g *gatetest.Gate) string {
	t.Helper()
	bin, err := gatetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "serve", "-c", g.File())
	cmd.Dir = g.Dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("serve ended with %v, want exit status 1:\n%s", err, out)
	}
	return string(out)
}

// unavailable checks that an answer is the 503 of a store that cannot be
// asked, and shows nothing of why.
func unavailable(t *testing.T, what string, a gatetest.Answer) {
	t.Helper()
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s: %d, Retry-After %q, want 503 with one: %s", what, a.StatusCode, a.Header.Get("Retry-After"), a.Text)
	}
	for _, cause := range []string{"locked", "SQL", "sqlite", "disk", "I/O", "gatehouse.db", "busy"} {
		if strings.Contains(a.Text, cause) {
			t.Errorf("%s: the answer shows the cause: %s", what, a.Text)
		}
	}
}

func signUp(c *gatetest.Client, email string) gatetest.Answer {
	a, err := c.Send(http.MethodPost, "/_auth/register", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password), "Content-Type: application/json")
	if err != nil {
		return gatetest.Answer{Response: &http.Response{Header: http.Header{}}, Text: err.Error()}
	}
	return a
}

// F-S1: another process holds the write lock. Proxied traffic and reads go on,
// a write is answered 503 after its wait, and nobody is told about a lock.
func TestFaultS1_DatabaseLockedByAnotherProcess(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	tok := c.Login("ann@example.com", password)
	tx, err := openDB(t, dbFile(g)).Begin()
	if err != nil {
		t.Fatal(err)
	}
	unavailable(t, "register", signUp(c, "new@example.com"))
	unavailable(t, "login", c.JSON("/_auth/login", map[string]string{"email": "ann@example.com", "password": password}, nil))
	unavailable(t, "logout", c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"))
	if got := c.Status("/_auth/sessions", tok.AccessToken); got != http.StatusOK {
		t.Errorf("a read while locked: %d", got)
	}
	if got := c.Status("/", tok.AccessToken); got != http.StatusOK {
		t.Errorf("a proxied request while locked: %d", got)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if a := signUp(c, "new@example.com"); a.StatusCode != http.StatusCreated {
		t.Errorf("register after the lock: %d %s", a.StatusCode, a.Text)
	}
	if a := c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"); a.StatusCode != http.StatusNoContent {
		t.Errorf("logout after the lock: %d", a.StatusCode)
	}
}

// smallDisk mounts a file system of its own; only root can.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("a small disk can be mounted by root alone; TestFaultS2_NoSpaceByInjection needs no mount")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// F-S2: the disk is full. Nothing is acknowledged that is not kept, nothing is
// damaged, and with space all is well again without a restart.
func TestFaultS2_DiskFull(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	disk := smallDisk(t, "16m")
	path := filepath.Join(disk, "gatehouse.db")
	g := gatetest.New(t, fmt.Sprintf("store: {sqlite: {path: %q}}\n", path)+appRoute(up.URL()))
	g.Run()
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	tok := c.Login("ann@example.com", password)

	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 4 << 10} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	_ = f.Close() // what matters is that it is full

	var kept []string
	full := false
	for i := range 400 { // the log may have room for some more
		email := fmt.Sprintf("user%d@example.com", i)
		a := signUp(c, email)
		if a.StatusCode == http.StatusCreated {
			kept = append(kept, email)
			continue
		}
		unavailable(t, "register on a full disk", a)
		full = true
		break
	}
	if !full {
		t.Fatal("the disk never was full")
	}
	if got := c.Status("/", tok.AccessToken); got != http.StatusOK {
		t.Errorf("a proxied request on a full disk: %d", got)
	}
	if a := c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"); a.StatusCode == http.StatusNoContent {
		kept = append(kept, "logout") // there was room for it after all
	} else {
		unavailable(t, "logout on a full disk", a)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	within(t, "registration works when there is space", func() bool { return signUp(c, "after@example.com").StatusCode == http.StatusCreated })
	g.Kill()
	sound(t, path)
	g.Run()
	list := g.Must("", "user", "list")
	for _, email := range append(kept, "after@example.com") {
		if email != "logout" && !strings.Contains(list, email) {
			t.Errorf("%s was acknowledged and is gone", email)
		}
	}
}

// F-S5 and F-S7: what is no sound database of ours is refused with a reason,
// and not touched.
func TestFaultS5_S7_UnsoundDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	whole, err := os.ReadFile(dbFile(g))
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), whole...)
	for page := 4096; page < len(damaged); page += 4096 {
		copy(damaged[page:], "damage damage damage damage damage")
	}
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"garbage":   {[]byte(strings.Repeat("not a database ", 1000)), "restore a backup"},
		"empty":     {nil, "it is empty"},
		"truncated": {whole[:len(whole)/2], "restore a backup"},
		"damaged":   {damaged, "restore a backup"},
	} {
		if err := os.WriteFile(dbFile(g), c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := refusesToStart(t, g); !strings.Contains(out, c.want) {
			t.Errorf("%s: %q does not say %q", name, out, c.want)
		}
		if _, errs, code := g.Command("", "user", "list"); code != 1 {
			t.Errorf("%s: user list: exit %d, %s", name, code, errs)
		}
		if left, err := os.ReadFile(dbFile(g)); err != nil || string(left) != string(c.content) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
	if err := os.WriteFile(dbFile(g), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDB(t, dbFile(g)).Exec("INSERT INTO schema_version VALUES (9999, 0)"); err != nil {
		t.Fatal(err)
	}
	if out := refusesToStart(t, g); !strings.Contains(out, "newer gatehouse") {
		t.Errorf("newer schema: %q", out)
	}
}

// F-S6: the file is moved away under the running gateway. It notices, says so,
// takes no promise it cannot keep, and goes on when the file is back.
func TestFaultS6_DatabaseReplacedWhileOpen(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	c := g.Client("app.test", true)
	tok := c.Login("ann@example.com", password)
	if err := os.Rename(dbFile(g), dbFile(g)+".away"); err != nil {
		t.Fatal(err)
	}
	unavailable(t, "register", signUp(c, "new@example.com"))
	within(t, "readiness tells", func() bool { return readiness(t, g)["store"] == "failed" })
	within(t, "protected routes stop when the list goes stale", func() bool { return c.Status("/", tok.AccessToken) == http.StatusServiceUnavailable })
	if got := g.Client("open.test", true).Status("/", ""); got != http.StatusOK {
		t.Errorf("a public route: %d", got)
	}
	if !strings.Contains(g.Log(), "database file was removed or replaced") {
		t.Error("the log does not say what happened")
	}
	if err := os.Rename(dbFile(g)+".away", dbFile(g)); err != nil {
		t.Fatal(err)
	}
	within(t, "all is well again", func() bool {
		return c.Status("/", tok.AccessToken) == http.StatusOK && signUp(c, "new@example.com").StatusCode != http.StatusServiceUnavailable
	})
}

func readiness(t *testing.T, g *gatetest.Gate) map[string]string {
	t.Helper()
	text, err := get("http://" + g.Admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Components map[string]string `json:"components"`
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return out.Components
}
