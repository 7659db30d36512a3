//go:build apps

package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// startApache is the legacy box: git-http-backend, mod_dav and CGI, all of
// which trust REMOTE_USER made from a header.
func startApache(t *testing.T) string {
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	for _, d := range []string{"dav", "git", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
		_ = os.Chmod(filepath.Join(dir, d), 0o777)
	}
	for d := dir; d != "/" && d != "/tmp"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o777) // apache's workers run as www-data
	}
	sh(t, dir, nil, "git", "init", "-q", "--bare", "git/demo.git")
	sh(t, dir, nil, "git", "-C", "git/demo.git", "config", "http.receivepack", "true")
	sh(t, dir, nil, "chmod", "-R", "a+rwX", "git")
	backend := strings.TrimSpace(sh(t, dir, nil, "git", "--exec-path")) + "/git-http-backend"
	conf := write(t, dir, "httpd.conf", `ServerRoot `+dir+`
ServerName app.internal
Listen `+addr+`
PidFile run/httpd.pid
ErrorLog run/error.log
User www-data
Group www-data
`+modules("mpm_event", "authn_core", "authz_core", "dav", "dav_fs", "dav_lock", "setenvif", "env", "cgid", "alias", "mime", "dir")+`
ScriptSock `+dir+`/run/cgid.sock
DavLockDB run/davlock
TypesConfig /etc/mime.types
DocumentRoot `+dir+`/dav
SetEnvIf X-Remote-User "^(.+)$" REMOTE_USER=$1
<Directory `+dir+`/dav>
  Dav On
  Require all granted
</Directory>
SetEnv GIT_PROJECT_ROOT `+dir+`/git
SetEnv GIT_HTTP_EXPORT_ALL 1
SetEnv GIT_CONFIG_COUNT 1
SetEnv GIT_CONFIG_KEY_0 safe.directory
SetEnv GIT_CONFIG_VALUE_0 *
ScriptAlias /git/ `+backend+`/
<Directory `+filepath.Dir(backend)+`>
  Require all granted
</Directory>
`)
	startApp(t, addr, "apache2", "-f", conf, "-DFOREGROUND")
	return addr
}

func modules(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", n, n)
	}
	return b.String()
}

func TestApacheGitAndDAV(t *testing.T) {
	addr := startApache(t)
	g, c, tok := oneRoute(t, "legacy.test", "http://"+addr, "    identity_headers: x-remote-user\n")
	auth := gatetest.Bearer(tok.AccessToken)

	t.Run("git clone and push", func(t *testing.T) {
		work := t.TempDir()
		git := func(args ...string) string {
			base := []string{"git", "-c", "http.extraHeader=" + auth, "-c", "http.curloptResolve=legacy.test:" + port(g) + ":127.0.0.1",
				"-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main"}
			return sh(t, work, []string{"GIT_SSL_CAINFO=" + filepath.Join(g.Dir, "data", "ca.crt"), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + work}, append(base, args...)...)
		}
		url := "https://legacy.test:" + port(g) + "/git/demo.git"
		git("clone", "-q", url, "one")
		big := make([]byte, 8<<20) // over http.postBuffer: git probes with 4 bytes, then sends chunks
		_, _ = rand.Read(big)
		if err := os.WriteFile(filepath.Join(work, "one", "big.bin"), big, 0o644); err != nil {
			t.Fatal(err)
		}
		git("-C", "one", "checkout", "-q", "-B", "main")
		git("-C", "one", "add", ".")
		git("-C", "one", "commit", "-q", "-m", "one")
		git("-C", "one", "push", "-q", "origin", "main")
		git("clone", "-q", "-b", "main", url, "two")
		got, err := os.ReadFile(filepath.Join(work, "two", "big.bin"))
		if err != nil || string(got) != string(big) {
			t.Errorf("the clone differs from what was pushed: %v", err)
		}
	})
	t.Run("DAV PUT and MOVE", func(t *testing.T) {
		if a := c.Must("PUT", "/a%20b.txt", "hello", auth); a.StatusCode != 201 {
			t.Fatalf("PUT: %d %s", a.StatusCode, a.Text)
		}
		if a := c.Must("MOVE", "/a%20b.txt", "", auth, "Destination: "+c.URL("/c.txt")); a.StatusCode != 201 {
			t.Fatalf("MOVE: %d %s", a.StatusCode, a.Text)
		}
		if a := c.Must("GET", "/c.txt", "", auth); a.Text != "hello" {
			t.Errorf("after MOVE: %d %q", a.StatusCode, a.Text)
		}
		if a := c.Must("PROPFIND", "/", "", auth, "Depth: 1"); a.StatusCode != 207 || !strings.Contains(a.Text, "c.txt") {
			t.Errorf("PROPFIND: %d %s", a.StatusCode, a.Text)
		}
	})
	t.Run("300 MB PUT in constant memory", func(t *testing.T) { largePut(t, g, c, auth) })
}

func largePut(t *testing.T, g *gatetest.Gate, c *gatetest.Client, auth string) {
	const size = 300 << 20
	before := rss(t, g.Pid())
	sum := sha256.New()
	body := io.TeeReader(io.LimitReader(&pattern{}, size), sum)
	req, _ := http.NewRequest("PUT", c.URL("/large.bin"), body)
	req.ContentLength = size
	name, value, _ := strings.Cut(auth, ": ")
	req.Header.Set(name, value)
	c.Timeout = 0
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Fatalf("PUT: %s", resp.Status)
	}
	grown := rss(t, g.Pid()) - before
	t.Logf("resident memory grew by %d MiB", grown>>20)
	if grown > 32<<20 {
		t.Errorf("resident memory grew by %d MiB over a 300 MiB upload, want at most 32", grown>>20)
	}
	req, _ = http.NewRequest("GET", c.URL("/large.bin"), nil)
	req.Header.Set(name, value)
	resp, err = c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	back := sha256.New()
	if n, err := io.Copy(back, resp.Body); err != nil || n != size || hex.EncodeToString(back.Sum(nil)) != hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("read back %d bytes, %v; or they differ", n, err)
	}
}

// pattern is an endless stream of bytes that do not repeat soon.
type pattern struct{ n uint32 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		p.n = p.n*1664525 + 1013904223
		b[i] = byte(p.n >> 24)
	}
	return len(b), nil
}

// rss is the resident memory of a process in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
