package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

const mib = 1 << 20

// Bar: 1 GiB up and 1 GiB down through the gateway, over both protocols:
// resident memory grows by at most 32 MiB.
func TestT127_LargeBodiesTakeNoMemory(t *testing.T) {
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	size := int64(gatetest.Scale(64, 1024)) * mib
	first := g.Client("app.test", true)
	token := first.Login(register(t, first, "ann@example.com"), password).AccessToken
	g.Stop()
	g.Run() // without what signing in left behind
	for _, h2 := range []bool{false, true} {
		c := g.Client("app.test", h2)
		c.Timeout = 10 * time.Minute
		for _, up := range []bool{true, false} {
			before := memory(t, g, "VmRSS")
			resetPeak(t, g)
			began := time.Now()
			if up {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, c.URL("/upload"), io.LimitReader(zeros{}, size))
				req.ContentLength = size
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				if err != nil || string(text) != strconv.FormatInt(size, 10) {
					t.Fatalf("the app got %q of %d bytes, %v", text, size, err)
				}
			} else {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL(fmt.Sprintf("/bytes/%d", size)), nil)
				req.Header.Set("Authorization", "Bearer "+token)
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size {
					t.Fatalf("the client got %d of %d bytes, %v", n, size, err)
				}
			}
			took := time.Since(began)
			grown := (memory(t, g, "VmHWM") - before) / 1024
			t.Logf("HTTP/2 %v, up %v: %d MiB at %.0f MiB/s; resident memory from %d MiB by %d MiB at its peak",
				h2, up, size/mib, float64(size)/mib/took.Seconds(), before/1024, grown)
			if grown > 32 {
				t.Errorf("HTTP/2 %v, up %v: memory grew by %d MiB, want at most 32", h2, up, grown)
			}
		}
	}
}

// resetPeak makes VmHWM start again (proc(5), clear_refs).
func resetPeak(t *testing.T, g *gatetest.Gate) {
	t.Helper()
	if err := os.WriteFile(procFile(g, "clear_refs"), []byte("5"), 0); err != nil {
		t.Skip("the peak of the resident memory cannot be reset here:", err)
	}
}

// Bar: 10,000 idle TLS connections cost at most 45 KiB each.
func TestIdleConnectionsAreCheap(t *testing.T) {
	want := raiseFiles(t, gatetest.Scale(1000, 10_000))
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	token := c.Login(register(t, c, "ann@example.com"), password).AccessToken
	cfg := socketConfig(g)
	idle := func(int) {
		conn, err := oneRequest(t.Context(), g, cfg, token)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	each(want/10, 8, idle) // brings what is made once, and fills what hashing left behind
	before, base := memory(t, g, "VmRSS"), openConnections(t, g)
	each(want*9/10, 8, idle)
	n := openConnections(t, g) - base
	per := float64(memory(t, g, "VmRSS")-before) / float64(n)
	t.Logf("%d idle TLS connections: %.1f KiB of resident memory each (from %d MiB)", n, per, before/1024)
	if n < want*8/10 {
		t.Errorf("only %d of %d connections are open; this machine was too slow for the idle time", n, want)
	}
	if per > 45 {
		t.Errorf("%.1f KiB for each, want at most 45", per)
	}
}

// oneRequest opens a connection of its own, makes one request and stays.
func oneRequest(ctx context.Context, g *gatetest.Gate, cfg *tls.Config, token string) (net.Conn, error) {
	raw, err := g.Dial(ctx, "tcp", "")
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n%s\r\n\r\n", gatetest.Bearer(token))
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer %s", resp.Status)
	}
	return conn, err
}

var openHTTPS = regexp.MustCompile(`gatehouse_open_connections\{kind="https"\} (\S+)`)

func openConnections(t *testing.T, g *gatetest.Gate) int {
	t.Helper()
	m := openHTTPS.FindStringSubmatch(metrics(t, g))
	if m == nil {
		t.Fatal("no metric of open connections")
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// raiseFiles makes room for n connections at both ends, and returns how many
// there is room for. The gateway keeps half of its files for upstreams.
func raiseFiles(t *testing.T, n int) int {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	need := uint64(2*n + 256)
	if old.Cur >= need {
		return n
	}
	more := syscall.Rlimit{Cur: need, Max: max(old.Max, need)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &more); err != nil {
		most := int(old.Max)/2 - 100
		t.Logf("room for %d connections instead of %d: the limit on open files is %d", most, n, old.Max)
		return most
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) })
	return n
}

// Bar: while 500 people sign in at once, each over a connection of their own,
// healthy requests stay as quick as withstand demands, and memory within what the
// semaphore lets hash at a time.
func TestT113_SignInsDoNotStarveTheProxy(t *testing.T) {
	alone(t)
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, strings.Replace(floods(t, up.URL()), "limits: {", "limits: {login_ip: 100000/1m, ", 1))
	people := gatetest.Scale(60, 500)
	answers := newTally()
	s := newSiege(t, g)
	resetPeak(t, g)
	s.rounds(gatetest.Scale(1, 7), 6*time.Second, func(context.Context) {
		c := g.Client("app.test", false)
		var all sync.WaitGroup
		for i := range people {
			all.Go(func() { // an account nobody has costs the same work, and no limit of its own
				_, status := post(c, "/_auth/login", map[string]string{"email": fmt.Sprintf("nobody%d@example.com", i), "password": password})
				answers.add(strconv.Itoa(status))
			})
		}
		all.Wait()
	})
	answers.only(t, "401", "503")
	if answers.n["401"] == 0 {
		t.Error("no password was looked at")
	}
	// One hash is 19 MiB and one runs at a time on two cores, with as much
	// again not collected yet; and each request that waits has its buffers.
	grown, limit := (s.peak-s.before)>>20, 3*19*max(1, runtime.GOMAXPROCS(0)/2)+16+people/5
	t.Logf("answers %v; memory grew by %d MiB at its peak", answers.n, grown)
	if grown > int64(limit) {
		t.Errorf("memory grew by %d MiB, want at most %d", grown, limit)
	}
}
