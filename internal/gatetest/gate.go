// Package gatetest drives the production binary in tests: it builds it once,
// starts it on free loopback ports with a configuration of the test's, and
// speaks to it as clients do. It knows the outside of gatehouse alone: the
// command line, the file, and HTTP.
package gatetest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Binary builds gatehouse once per test process and returns its path, which is
// GATEHOUSE_TEST_BINARY or below .tools. With GATEHOUSE_COVERDIR set it is built
// for coverage.
var Binary = sync.OnceValues(build)

func build() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	bin := cmp.Or(os.Getenv("GATEHOUSE_TEST_BINARY"), filepath.Join(root, ".tools", "test", "gatehouse"))
	var flags []string
	if os.Getenv("GATEHOUSE_COVERDIR") != "" {
		bin += "-cover"
		flags = []string{"-cover", "-coverpkg=./..."}
	}
	fresh := fmt.Sprintf("%s.%d", bin, os.Getpid()) // test processes build at the same time
	args := append([]string{"build", "-o", fresh}, flags...)
	cmd := exec.Command("go", append(args, "./cmd/gatehouse")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build gatehouse: %w\n%s", err, out)
	}
	return bin, os.Rename(fresh, bin)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	return filepath.Dir(strings.TrimSpace(string(out))), err
}

// Gate is one gateway process.
type Gate struct {
	Dir    string // holds gatehouse.yaml and data/
	HTTPS  string // host:port
	HTTP   string
	Admin  string
	Env    []string // added to the environment of serve and of commands
	Ulimit string   // arguments of the shell's ulimit for serve, such as "-n 256"
	t      testing.TB
	cmd    *exec.Cmd
	exited chan struct{}
	log    *syncBuffer
}

// Head is the part of a configuration every gate shares; what a test adds
// follows it. Keys given in extra replace those of the head.
func (g *Gate) head() string {
	return fmt.Sprintf(`listen: {https: %q, http: %q, admin: %q}
data_dir: ./data
`, g.HTTPS, g.HTTP, g.Admin)
}

// New prepares a gate without starting it. body is the configuration after
// listen and data_dir; a missing tls section becomes self_signed, a missing
// tokens section gets an issuer.
func New(t testing.TB, body string) *Gate {
	t.Helper()
	g := &Gate{t: t, Dir: t.TempDir(), HTTPS: FreeAddr(t), HTTP: FreeAddr(t), Admin: FreeAddr(t)}
	g.Configure(body)
	t.Cleanup(g.tidy)
	return g
}

// Start prepares and starts a gate and waits until it is ready.
func Start(t testing.TB, body string) *Gate {
	t.Helper()
	g := New(t, body)
	g.Run()
	return g
}

// Configure writes the configuration file; a running gate reloads it.
func (g *Gate) Configure(body string) {
	g.t.Helper()
	text := g.head()
	if !hasKey(body, "tls") {
		text += "tls: {self_signed: true}\n"
	}
	if !hasKey(body, "tokens") {
		text += "tokens: {issuer: \"https://gate.test\"}\n"
	}
	if err := os.WriteFile(g.File(), []byte(text+body), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func hasKey(body, key string) bool {
	return strings.HasPrefix(body, key+":") || strings.Contains(body, "\n"+key+":")
}

// File is the path of the configuration file.
func (g *Gate) File() string { return filepath.Join(g.Dir, "gatehouse.yaml") }

// Run starts the process and waits until it is ready.
func (g *Gate) Run() {
	g.t.Helper()
	g.Launch()
	g.Ready()
}

// Launch starts the process and waits for nothing.
func (g *Gate) Launch() {
	g.t.Helper()
	bin, err := Binary()
	if err != nil {
		g.t.Fatal(err)
	}
	g.cmd = exec.Command(bin, "serve", "-c", g.File())
	if g.Ulimit != "" {
		g.cmd = exec.Command("sh", "-c", "ulimit "+g.Ulimit+` && exec "$0" "$@"`, bin, "serve", "-c", g.File())
	}
	g.cmd.Dir = g.Dir
	g.cmd.Env = append(environ(), g.Env...)
	g.log = &syncBuffer{}
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // the state is read from ProcessState
		close(exited)
	}(g.cmd, g.exited)
}

func environ() []string {
	env := os.Environ()
	if dir := os.Getenv("GATEHOUSE_COVERDIR"); dir != "" {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return env
}

// Ready waits until the process says that it is ready.
func (g *Gate) Ready() {
	g.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-g.exited:
			g.t.Fatalf("gatehouse ended instead of getting ready:\n%s", g.log)
		default:
		}
		if resp, err := http.Get("http://" + g.Admin + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	g.t.Fatalf("gatehouse was not ready within 30 s:\n%s", g.log)
}

// Kill ends the process as a power switch would (SIGKILL).
func (g *Gate) Kill() { g.end(syscall.SIGKILL) }

// tidy ends what a test left running. A process writes its coverage when it
// ends in order.
func (g *Gate) tidy() {
	if os.Getenv("GATEHOUSE_COVERDIR") == "" || g.cmd == nil {
		g.Kill()
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-g.exited:
	case <-time.After(10 * time.Second): // a test left streams open
		g.Kill()
	}
}

// Stop asks for an orderly end and returns the exit code.
func (g *Gate) Stop() int { return g.end(syscall.SIGTERM) }

func (g *Gate) end(sig syscall.Signal) int {
	if g.cmd == nil || g.cmd.Process == nil {
		return 0
	}
	if err := g.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		g.t.Errorf("signal %v: %v", sig, err)
	}
	return g.Wait()
}

// Wait waits for the process to end by itself and returns its exit code.
func (g *Gate) Wait() int {
	<-g.exited
	code := g.cmd.ProcessState.ExitCode()
	g.cmd = nil
	return code
}

// Signal sends a signal to the running process.
func (g *Gate) Signal(sig os.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		g.t.Fatal(err)
	}
}

// Pid is the process id of the running gate.
func (g *Gate) Pid() int { return g.cmd.Process.Pid }

// Log is everything the process has written so far.
func (g *Gate) Log() string { return g.log.String() }

// Command runs a gatehouse command on this gate's configuration and returns
// what it printed and its exit code.
func (g *Gate) Command(stdin string, args ...string) (stdout, stderr string, code int) {
	g.t.Helper()
	bin, err := Binary()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(bin, append(args, "-c", g.File())...)
	cmd.Dir, cmd.Env = g.Dir, append(environ(), g.Env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		g.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Must is Command that has to succeed.
func (g *Gate) Must(stdin string, args ...string) string {
	g.t.Helper()
	out, errs, code := g.Command(stdin, args...)
	if code != 0 {
		g.t.Fatalf("gatehouse %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// AddUser makes an account.
func (g *Gate) AddUser(email, password string, groups ...string) {
	g.t.Helper()
	args := []string{"user", "add", email}
	if len(groups) > 0 {
		args = append(args, "--groups", strings.Join(groups, ","))
	}
	g.Must(password+"\n", args...)
}

// TLSConfig trusts this gate's local CA and nobody else.
func (g *Gate) TLSConfig() *tls.Config {
	g.t.Helper()
	pem, err := os.ReadFile(filepath.Join(g.Dir, "data", "ca.crt"))
	if err != nil {
		g.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		g.t.Fatal("the local CA is no certificate")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// Dial connects to the https listener, whatever the address asked for.
func (g *Gate) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, g.HTTPS)
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var _ io.Writer = (*syncBuffer)(nil)
