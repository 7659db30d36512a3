package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// Fault F-G5: few files, little memory, one processor. The gateway sheds what
// it cannot serve, skips no check, and recovers when it is over.
func TestFG5_ShedsWhenFilesRunOut(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.New(t, appRoute(app.URL))
	g.Ulimit, g.Env = "-n 256", []string{"GOMAXPROCS=1", "GOMEMLIMIT=256MiB"}
	g.Run()
	c := g.Client("app.test", true)
	token := c.Login(register(t, c, "ann@example.com"), password).AccessToken
	cfg := socketConfig(g)

	// Half of the files are for clients; take them all, and the rest of what
	// the kernel lets connect.
	var open []net.Conn
	shed := 0
	for range 250 {
		conn, err := oneRequest(t.Context(), g, cfg, token)
		switch {
		case err == nil:
			open = append(open, conn)
		case conn != nil: // 503
			_ = conn.Close()
			shed++
		default: // closed at once
			shed++
		}
	}
	if shed == 0 || len(open) < 50 {
		t.Fatalf("%d connections open, %d shed", len(open), shed)
	}
	each(60, 20, func(int) { // nobody gets in without a credential in the crush
		own := g.Client("app.test", false)
		defer own.CloseIdleConnections()
		if a, err := own.Send(http.MethodGet, "/", ""); err == nil && a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("without a credential: %d", a.StatusCode)
		}
	})
	if got := c.Status("/", token); got != http.StatusOK {
		t.Errorf("a connection from before the crush: %d", got)
	}
	if text, err := get("http://" + g.Admin + "/healthz"); err != nil {
		t.Errorf("the admin listener: %q, %v", text, err)
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	within(t, "a new connection is served", func() bool {
		conn, err := oneRequest(t.Context(), g, cfg, token)
		if conn != nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if n := len(fds(t, g)); n > 256 {
		t.Errorf("%d files open", n)
	}
	t.Logf("%d connections served, %d shed; log: %d lines", len(open), shed, strings.Count(g.Log(), "\n"))
}

func TestFG5_LittleMemoryAndOneProcessor(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.New(t, appRoute(app.URL))
	g.Env = []string{"GOMAXPROCS=1", "GOMEMLIMIT=64MiB"}
	g.Run()
	c := g.Client("app.test", true)
	c.Timeout = 2 * time.Minute
	token := c.Login(register(t, c, "ann@example.com"), password).AccessToken
	resetPeak(t, g)
	var served, refused, signedIn, busy atomic.Int64
	each(gatetest.Scale(160, 5000), 16, func(i int) {
		switch i % 10 {
		case 0:
			switch _, status := post(c, "/_auth/login", map[string]string{"email": fmt.Sprintf("nobody%d@example.com", i), "password": password}); status {
			case http.StatusUnauthorized:
				signedIn.Add(1)
			case http.StatusServiceUnavailable:
				busy.Add(1)
			default:
				t.Errorf("a sign-in: %d", status)
			}
		case 1:
			if got := c.Status("/", ""); got != http.StatusUnauthorized {
				t.Errorf("without a credential: %d", got)
			}
			refused.Add(1)
		case 2:
			a, err := c.Send(http.MethodPut, "/upload", strings.Repeat("x", 1<<20), gatetest.Bearer(token))
			if err != nil || a.StatusCode != http.StatusOK || a.Text != "1048576" {
				t.Errorf("an upload: %v %q", err, a.Text)
			}
		default:
			a, err := c.Send(http.MethodGet, "/bytes/262144", "", gatetest.Bearer(token))
			if err != nil || a.StatusCode != http.StatusOK || len(a.Text) != 262144 {
				t.Errorf("a download: %v, %d bytes", err, len(a.Text))
			}
			served.Add(1)
		}
	})
	peak := (memory(t, g, "VmHWM") + hashing(t, g)) / 1024
	t.Logf("%d served, %d refused, %d passwords looked at, %d told to come back; %d MiB at the peak", served.Load(), refused.Load(), signedIn.Load(), busy.Load(), peak)
	if peak > 256 {
		t.Errorf("%d MiB resident, want at most 256", peak)
	}
}

// fds lists the open files of the gate.
func fds(t *testing.T, g *gatetest.Gate) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir(procFile(g, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// goroutines counts them as pprof does.
func goroutines(t *testing.T, g *gatetest.Gate) int {
	t.Helper()
	text, err := get("http://" + g.Admin + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(text, "goroutine profile: total %d", &n); err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	return n
}

// Faults F-G7 and F-N1: after any amount of load with clients that leave at
// random, files and goroutines are back where they were, nobody ever saw
// somebody else's answer, and nothing is counted as running.
func TestT149_FG7_FN1_ClientsThatLeaveLeakNothingAndMixNothing(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	const users = 8
	var names, tokens [users]string
	for i := range users {
		names[i] = register(t, c, fmt.Sprintf("user%d@example.com", i))
		tokens[i] = c.Login(names[i], password).AccessToken
	}
	rounds := gatetest.Scale(2, 40)
	var files, running, first int
	for round := range rounds + 1 {
		var mixed, whole, left atomic.Int64
		each(gatetest.Scale(160, 400), 16, func(i int) {
			who := i % users
			switch i % 3 {
			case 0:
				if leaveEarly(g, tokens[who], i) {
					left.Add(1)
				}
			default:
				own := g.Client("app.test", i%2 == 0)
				defer own.CloseIdleConnections()
				a, err := own.Send(http.MethodGet, "/", "", gatetest.Bearer(tokens[who]))
				switch {
				case err != nil:
					t.Error(err)
				case a.Text != names[who]:
					mixed.Add(1)
					t.Errorf("%s was answered as %q", names[who], a.Text)
				default:
					whole.Add(1)
				}
			}
		})
		if left.Load() == 0 || whole.Load() == 0 {
			t.Fatalf("%d left early, %d stayed; the load did not run", left.Load(), whole.Load())
		}
		c.CloseIdleConnections()
		within(t, "the app has nothing under way", func() bool { return app.open.Load() == 0 })
		within(t, "every connection is closed", func() bool { return openConnections(t, g) == 0 })
		if round == 0 { // pools are filled
			files, running, first = len(fds(t, g)), goroutines(t, g), memory(t, g, "VmRSS")
			continue
		}
		within(t, fmt.Sprintf("files and goroutines are back at %d and %d", files, running), func() bool {
			return len(fds(t, g)) <= files+8 && goroutines(t, g) <= running+8
		})
	}
	t.Logf("%d rounds: %d files, %d goroutines, %d MiB; at first %d, %d, %d MiB", rounds,
		len(fds(t, g)), goroutines(t, g), memory(t, g, "VmRSS")/1024, files, running, first/1024)
}

// leaveEarly sends a request of one kind and goes away in the middle of it.
func leaveEarly(g *gatetest.Gate, token string, i int) bool {
	cfg := socketConfig(g)
	if i%2 == 0 {
		conn, _, status, err := shake(g, cfg, gatetest.Bearer(token))
		if err != nil || status != http.StatusSwitchingProtocols {
			return false
		}
		_, _ = io.WriteString(conn, "\x81\x05he")
		if i%4 == 0 {
			_ = conn.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).SetLinger(0) // a reset
		}
		_ = conn.Close()
		return true
	}
	raw, err := net.Dial("tcp", g.HTTPS)
	if err != nil {
		return false
	}
	defer func() { _ = raw.Close() }()
	conn := tls.Client(raw, cfg)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	request := "GET " + []string{"/bytes/10000000", "/sse", "/poll", "/download"}[i%4] + " HTTP/1.1\r\nHost: app.test\r\n" + gatetest.Bearer(token) + "\r\n\r\n"
	if i%5 == 0 {
		request = "PUT /upload HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000\r\n" + gatetest.Bearer(token) + "\r\n\r\n" + strings.Repeat("x", 1000)
	}
	if i%7 == 0 {
		request = request[:len(request)/2]
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return false
	}
	if i%3 == 0 {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // somewhere in the answer
		_, err = io.CopyN(io.Discard, conn, int64(1000*(i%50)))
		return err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF)
	}
	return true
}
