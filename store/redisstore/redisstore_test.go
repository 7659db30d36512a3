package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatehouse/internal/servertest"
	"gatehouse/store"
	"gatehouse/store/circuit"
	"gatehouse/store/memlimit"
	"gatehouse/store/storetest"
)

func client(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// patient is for tests in which nothing fails: on a busy machine Redis may take
// its time.
const patient = 10 * time.Second

// contract gives each case keys of its own.
func contract(t *testing.T, addrs ...string) {
	storetest.RunLimiter(t, func(t *testing.T) storetest.Limiter {
		return storetest.Limiter{Limiter: client(t, Options{Addrs: addrs, Name: t.Name(), wait: patient}).Limiter(), Forgets: true}
	})
}

func TestContractOnSingle(t *testing.T) { contract(t, servertest.StartRedis(t).Addr) }

func TestContractOnCluster(t *testing.T) {
	var addrs []string
	for _, n := range servertest.StartRedisCluster(t) {
		addrs = append(addrs, n.Addr)
	}
	contract(t, addrs...)
}

func TestSentinelFailover(t *testing.T) {
	sentinel, master, _ := servertest.StartSentinel(t, "sesame")
	c := client(t, Options{Addrs: []string{sentinel.Addr}, Master: "gate", Name: "gate", Password: "sesame", SentinelPassword: "sesame"})
	take := func() error {
		_, err := c.Limiter().Take(t.Context(), time.Now(), store.Claim{Key: "k", Count: 1000, Per: time.Minute})
		return err
	}
	eventually(t, "the master answers", func() bool { return take() == nil })
	master.Kill()
	eventually(t, "its absence is noticed", func() bool { return take() != nil })
	eventually(t, "the replica took over", func() bool { return take() == nil })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20s: ", what)
		}
	}
}

// The script equals the Go arithmetic, to the nanosecond, whatever is asked.
func TestScriptEqualsArithmetic(t *testing.T) {
	shared := client(t, Options{Addrs: []string{servertest.StartRedis(t).Addr}, Name: "equal", wait: patient}).Limiter()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		local := memlimit.New(1 << 20)
		run++
		now := time.Unix(0, rapid.Int64Range(1_600_000_000e9, 2_100_000_000e9).Draw(rt, "start"))
		for range rapid.IntRange(1, 12).Draw(rt, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(40*24*time.Hour)).Draw(rt, "jump")))
			var claims []store.Claim
			for range rapid.IntRange(1, 3).Draw(rt, "claims") {
				claims = append(claims, store.Claim{
					Key: fmt.Sprint(run, "/", rapid.IntRange(0, 2).Draw(rt, "key")), Count: rapid.IntRange(1, 5).Draw(rt, "count"),
					Per: time.Duration(rapid.Int64Range(10, int64(366*24*time.Hour)).Draw(rt, "per")), Soft: rapid.Bool().Draw(rt, "soft"),
				})
			}
			if rapid.IntRange(0, 4).Draw(rt, "refund") == 0 {
				if err := errors.Join(shared.Refund(t.Context(), now, claims...), local.Refund(t.Context(), now, claims...)); err != nil {
					rt.Fatal(err)
				}
				continue
			}
			got, err1 := shared.Take(t.Context(), now, claims...)
			want, err2 := local.Take(t.Context(), now, claims...)
			if err := errors.Join(err1, err2); err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("at %v %+v (-arithmetic +script)\n%s", now, claims, diff)
			}
		}
	})
}

// F-R1, F-R2: a Redis that is gone, or answers nothing, holds nobody up, and is
// used again when it works.
func TestFR2_NobodyWaitsForRedis(t *testing.T) {
	server := servertest.StartRedis(t)
	c := client(t, Options{Addrs: []string{server.Addr}, Name: "gate"})
	shared := NewShared(c.Limiter(), func() int { return 3 })
	claim := store.Claim{Key: "k", Count: 6, Per: time.Hour}
	take := func() (store.Decision, error) { return shared.Take(t.Context(), time.Now(), claim) }
	if d, err := take(); err != nil || !d.Allowed {
		t.Fatal(d, err)
	}
	server.Pause()
	allowed := 0
	for range 50 {
		start := time.Now()
		d, err := take()
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited > time.Second { // the bound is 150ms; the rest is for a busy machine
			t.Errorf("waited %v", waited)
		}
		if d.Allowed {
			allowed++
		}
	}
	if allowed != 2 {
		t.Errorf("%d allowed by one of three instances of 6 an hour, want 2", allowed)
	}
	if err := c.circuit.Allow(); !errors.Is(err, circuit.ErrOpen) {
		t.Error("the circuit is closed after 50 failures")
	}
	server.Resume()
	eventually(t, "it is used again", func() bool { return c.Ping(t.Context()) == nil })
	server.Kill()
	eventually(t, "its end is noticed", func() bool { return c.Ping(t.Context()) != nil })
	server.Run()
	eventually(t, "it is used after a restart", func() bool { return c.Ping(t.Context()) == nil })
	if c.errors[kindTimeout].Load() == 0 {
		t.Error("no timeout was counted")
	}
}

// F-R1: a Redis that refused connections for long is used by the first probe
// after it is back; the library's pool would take up to a second to look.
func TestFR1_FirstProbeFindsRedisAgain(t *testing.T) {
	server := servertest.StartRedis(t)
	c := client(t, Options{Addrs: []string{server.Addr}, Name: "gate", wait: patient})
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	for range 30 {
		if c.probe(t.Context()) == nil {
			t.Fatal("a dead server answers")
		}
	}
	if c.revive(t.Context()) == nil {
		t.Fatal("a dead server answers")
	}
	server.Run()
	if err := c.revive(t.Context()); err != nil {
		t.Errorf("the first probe: %v", err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// F-R3: whatever Redis says instead of an answer means unavailable, and is
// counted by kind.
func TestFR3_EveryRefusalIsUnavailable(t *testing.T) {
	for kind, says := range map[int]string{
		kindLoading: "-LOADING Redis is loading the dataset in memory", kindReadOnly: "-READONLY You can't write against a read only replica.",
		kindFull: "-OOM command not allowed when used memory > 'maxmemory'.", kindAuth: "-NOAUTH Authentication required.",
		kindCluster: "-CLUSTERDOWN The cluster is down", kindRefused: "", kindOther: "-ERR unknown",
	} {
		t.Run(kindNames()[kind], func(t *testing.T) {
			c := client(t, Options{Addrs: []string{saying(t, says)}, Name: "gate", wait: patient})
			_, err := c.Limiter().Take(t.Context(), time.Now(), store.Claim{Key: "k", Count: 1, Per: time.Second})
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("error = %v", err)
			}
			if c.errors[kind].Load() == 0 {
				t.Errorf("not counted as %s: %v", kindNames()[kind], err)
			}
		})
	}
}

// saying is a server that says one thing whatever is asked; nothing at all and
// the connection is closed.
func saying(t *testing.T, line string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil || line == "" {
						return
					}
					for range strings.Count(string(buf[:n]), "*") {
						if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// T098: one counter for all instances, also while they race.
func TestT098_ThreeInstancesCountTogether(t *testing.T) {
	server := servertest.StartRedis(t)
	var instances []*Shared
	for range 3 {
		c := client(t, Options{Addrs: []string{server.Addr}, Name: "gate", wait: patient})
		instances = append(instances, NewShared(c.Limiter(), func() int { return 3 }))
	}
	var allowed atomic.Int32
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			d, err := instances[i%3].Take(context.Background(), time.Now(), store.Claim{Key: "login", Count: 5, Per: time.Hour})
			if err != nil {
				t.Error(err)
			}
			if d.Allowed {
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 5 {
		t.Errorf("%d allowed, want 5", allowed.Load())
	}
}

// F-R5: a Redis that evicts is reported; one that is full is unavailable.
func TestFR5_EvictionIsReported(t *testing.T) {
	server := servertest.StartRedis(t, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
	c := client(t, Options{Addrs: []string{server.Addr}, Name: "gate", wait: patient})
	if err := c.CheckPolicy(t.Context()); !errors.Is(err, ErrEvicts) {
		t.Errorf("allkeys-lru: %v", err)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	if err := c.CheckPolicy(t.Context()); err != nil {
		t.Errorf("noeviction: %v", err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if _, err := c.Limiter().Take(t.Context(), time.Now(), store.Claim{Key: "k", Count: 1, Per: time.Second}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a full redis: %v", err)
	}
}

func TestPasswordAndClock(t *testing.T) {
	server := servertest.StartRedis(t, "--requirepass", "sesame")
	wrong := client(t, Options{Addrs: []string{server.Addr}, Name: "gate", Password: "wrong", wait: patient})
	if err := wrong.Ping(t.Context()); !Refuses(err) {
		t.Errorf("a wrong password: %v", err)
	}
	right := client(t, Options{Addrs: []string{server.Addr}, Name: "gate", Password: "sesame", wait: patient})
	if err := right.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	skew, err := right.Skew(t.Context(), func() time.Time { return time.Now().Add(time.Minute) })
	if err != nil || skew < 59*time.Second || skew > 61*time.Second {
		t.Errorf("skew %v, %v", skew, err)
	}
}
