package servertest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/internal/gatetest"
)

// Redis is one redis-server process.
type Redis struct {
	Addr string // 127.0.0.1:port
	t    testing.TB
	bin  string
	dir  string
	args []string
	cmd  *exec.Cmd
}

// StartRedis makes a server that lives as long as the test; it keeps nothing
// on disk. args are appended to its command line.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := newRedis(t, args...)
	r.Run()
	return r
}

func newRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf(missing, "redis-server")
	}
	r := &Redis{t: t, Addr: gatetest.FreeAddr(t), bin: bin, dir: t.TempDir(), args: args}
	t.Cleanup(r.Kill)
	return r
}

// StartRedisTLS makes a server that speaks TLS alone, under a certificate and
// key in PEM files.
func StartRedisTLS(t testing.TB, certFile, keyFile string, args ...string) *Redis {
	t.Helper()
	r := newRedis(t)
	_, port, _ := net.SplitHostPort(r.Addr)
	r.args = append([]string{"--port", "0", "--tls-port", port, "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", certFile, "--tls-auth-clients", "no"}, args...)
	r.Run()
	return r
}

// Run starts the server, empty, and waits until it answers.
func (r *Redis) Run() {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.Addr)
	base := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", r.dir}
	r.cmd = exec.Command(r.bin, append(base, r.args...)...)
	var log bytes.Buffer
	r.cmd.Stdout, r.cmd.Stderr = &log, &log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", r.Addr, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			r.Kill()
			r.t.Fatalf("redis does not answer: %v\n%s", err, log.String())
		}
	}
}

// Kill ends the server at once; Run starts it again, empty.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Errorf("redis: %v", err)
	}
	_ = r.cmd.Wait() // how it ended is not the test's business
	r.cmd = nil
}

// Pause stops the process without ending it, so that it takes connections and
// answers nothing; Resume lets it go on.
func (r *Redis) Pause() { r.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (r *Redis) Resume() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// Do runs one command, given as its words.
func (r *Redis) Do(words ...any) any {
	r.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Addr, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v, err := c.Do(ctx, words...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		r.t.Fatalf("redis %v: %v", words, err)
	}
	return v
}

// StartRedisCluster makes a cluster of three masters.
func StartRedisCluster(t testing.TB) []*Redis {
	t.Helper()
	args := []string{"--cluster", "create"}
	var nodes []*Redis
	for range 3 {
		r := newRedis(t, "--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(t.TempDir(), "nodes.conf"), "--cluster-node-timeout", "2000")
		_, port, _ := net.SplitHostPort(gatetest.FreeAddr(t))
		r.args = append(r.args, "--cluster-port", port)
		r.Run()
		nodes, args = append(nodes, r), append(args, r.Addr)
	}
	if out, err := exec.Command("redis-cli", append(args, "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("make the cluster: %v\n%s", err, out)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ok := 0
		for _, n := range nodes {
			if info, _ := n.Do("CLUSTER", "INFO").(string); strings.Contains(info, "cluster_state:ok") {
				ok++
			}
		}
		if ok == len(nodes) {
			return nodes
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster does not come up")
		}
	}
}

// StartSentinel watches a master and its replica under the name "gate"; it
// takes one vote to change them. All three ask for the password.
func StartSentinel(t testing.TB, password string) (sentinel, master, replica *Redis) {
	t.Helper()
	master = StartRedis(t, "--requirepass", password, "--masterauth", password)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica = StartRedis(t, "--requirepass", password, "--masterauth", password, "--replicaof", host+" "+port)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	conf := "sentinel monitor gate " + host + " " + port + " 1\nsentinel down-after-milliseconds gate 300\nsentinel failover-timeout gate 2000\n" +
		"sentinel auth-pass gate " + password + "\nrequirepass " + password + "\n"
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel = newRedis(t)
	_, sport, _ := net.SplitHostPort(sentinel.Addr)
	sentinel.cmd = exec.Command(sentinel.bin, file, "--sentinel", "--port", sport, "--bind", "127.0.0.1")
	if err := sentinel.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr, Password: password, DisableIdentity: true})
		list, err := c.Replicas(context.Background(), "gate").Result()
		_ = c.Close()
		if err == nil && len(list) == 1 {
			return sentinel, master, replica
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sentinel does not see the replica: %v", err)
		}
	}
}
