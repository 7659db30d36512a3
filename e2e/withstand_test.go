package e2e

import (
	"bufio"
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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/internal/gatetest"
)

// withstand holds the gate to what a flood must not do: every healthy request
// is answered, memory grows by 256 MiB at most, and all is as before within 5 s
// of its end. At full size healthy requests also take no more than three times
// as long as in peace, at the 99th percentile.
func withstand(t *testing.T, g *gatetest.Gate, attack func(ctx context.Context)) {
	t.Helper()
	newSiege(t, g).rounds(1, 30*time.Second, attack)
}

// withstandAgain is withstand for a flood that is at its height at once. At full
// size peace and flood take turns, and the median of the rounds counts: on a
// small machine the 99th percentile of peace alone is half or twice as long from
// one second to the next.
func withstandAgain(t *testing.T, g *gatetest.Gate, attack func(ctx context.Context)) {
	t.Helper()
	newSiege(t, g).rounds(gatetest.Scale(1, 7), 6*time.Second, attack)
}

// siege is a gate with a healthy client under floods.
type siege struct {
	t            *testing.T
	g            *gatetest.Gate
	healthy      *healthyClient
	requests     int // of each measurement, at least
	before, peak int64
}

func newSiege(t *testing.T, g *gatetest.Gate) *siege {
	t.Helper()
	return &siege{t: t, g: g, healthy: startHealthy(t, g), requests: gatetest.Scale(50, 1000)}
}

// rounds has peace and floods take turns, and judges.
func (s *siege) rounds(n int, most time.Duration, attack func(ctx context.Context)) {
	s.t.Helper()
	peace := s.healthy.ask(s.t, s.requests)
	s.before = resident(s.t, s.g)
	var ratios []float64
	for range n {
		during := s.flood(most, attack)
		s.recovers(peace)
		if gatetest.Full() {
			after := s.healthy.ask(s.t, s.requests)
			ratios = append(ratios, s.compare(append(peace, after...), during))
			peace = after
		}
	}
	if grown := (s.peak - s.before) >> 20; grown > 256 {
		s.t.Errorf("memory grew by %d MiB under the flood", grown)
	}
	if !gatetest.Full() {
		return
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	s.t.Logf("p99 under the flood is %.2f of that in peace (%.2f to %.2f, %d rounds); memory %d -> %d MiB", median, ratios[0], ratios[len(ratios)-1], n, s.before>>20, s.peak>>20)
	if median > 3 {
		s.t.Errorf("healthy p99 under the flood is %.2f of that in peace", median)
	}
}

// flood has the attack go on while healthy requests are made, and returns how
// long they took.
func (s *siege) flood(most time.Duration, attack func(ctx context.Context)) (during []time.Duration) {
	s.t.Helper()
	back := standBack(s.t)
	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		attack(ctx)
	}()
	goesOn := func() bool { return len(during) < s.requests }
	if began := time.Now(); gatetest.Full() { // what is asked after a flood is no answer to it
		goesOn = func() bool { return len(during) == 0 || !ended(over) && time.Since(began) < most }
	}
	for goesOn() {
		during = append(during, s.healthy.ask(s.t, 10)...)
	}
	stop()
	<-over
	back()
	s.peak = int64(memory(s.t, s.g, "VmHWM")+hashing(s.t, s.g)) << 10
	return during
}

func (s *siege) recovers(peace []time.Duration) {
	s.t.Helper()
	over := time.Now()
	within(s.t, "healthy requests are as quick as before", func() bool {
		return percentile(s.healthy.ask(s.t, 20), 50) < 3*percentile(peace, 50)+50*time.Millisecond
	})
	if took := time.Since(over); gatetest.Full() && took > 5*time.Second {
		s.t.Errorf("healthy requests were as quick as before only %v after the flood", took)
	}
}

// compare returns the p99 under a flood as a multiple of that in peace.
func (s *siege) compare(peace, during []time.Duration) float64 {
	s.t.Helper()
	calm, flooded := percentile(peace, 99), percentile(during, 99)
	s.t.Logf("p99 in peace %v, under the flood %v (%d requests)", calm, flooded, len(during))
	return float64(flooded) / float64(calm)
}

// alone has a flood of a full run begin when no other test runs, since it
// compares how long things take.
func alone(t *testing.T) {
	if !gatetest.Full() {
		t.Parallel()
	}
}

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func percentile(d []time.Duration, p int) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[(len(d)-1)*p/100]
}

// resident is the resident memory of the gate in bytes.
func resident(t *testing.T, g *gatetest.Gate) int64 { return int64(memory(t, g, "VmRSS")) << 10 }

// healthyClient is a client and its app in a process of their own, since beside
// the attackers they would wait for them and not for the gate.
type healthyClient struct {
	orders io.Writer
	times  *bufio.Reader
}

// healthyEnv has the test binary be the healthy client of a gate: its address,
// the file of its certificate authority, and the address the app listens on.
const healthyEnv = "GATEHOUSE_HEALTHY_CLIENT"

func startHealthy(t *testing.T, g *gatetest.Gate) *healthyClient {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestHealthyClient$")
	cmd.Env = append(os.Environ(), healthyEnv+"="+g.HTTPS+" "+filepath.Join(g.Dir, "data", "ca.crt")+" "+healthyApp(t, g))
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	times, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = orders.Close()
		_ = cmd.Wait() // its requests said how it went
	})
	return &healthyClient{orders, bufio.NewReader(times)}
}

// healthyApp is where the gate looks for the app behind healthy.test.
func healthyApp(t *testing.T, g *gatetest.Gate) string {
	t.Helper()
	text, err := os.ReadFile(g.File())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `host: healthy.test, upstream: "http://`)
	addr, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatal("no route to the app of the healthy client")
	}
	return addr
}

// ask makes requests one after another and returns how long each took.
func (c *healthyClient) ask(t *testing.T, n int) []time.Duration {
	t.Helper()
	if _, err := fmt.Fprintln(c.orders, n); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range n {
		line, err := c.times.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		d, err := time.ParseDuration(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("a healthy request: %s", line)
		}
		took = append(took, d)
	}
	return took
}

// TestHealthyClient is the other side of healthyClient: for each number on its
// standard input that many requests, for each of which a line.
func TestHealthyClient(t *testing.T) {
	gate := os.Getenv(healthyEnv)
	if gate == "" {
		t.Skip("part of the flood tests")
	}
	if gatetest.Full() { // clients and apps do not wait for the gate's processors either
		schedule(t, unix.SchedAttr{Policy: unix.SCHED_RR, Priority: 1})
	}
	words := strings.Fields(gate)
	addr, ca, app := words[0], words[1], words[2]
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", app)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = http.Serve(lis, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app") })) // until the process ends
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		n, err := strconv.Atoi(orders.Text())
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			fmt.Println(healthyRequest(client))
		}
	}
}

// healthyRequest returns how long a request took, or what went wrong.
func healthyRequest(client *http.Client) any {
	start := time.Now()
	resp, err := client.Get("https://healthy.test/")
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return resp.Status
	}
	return time.Since(start)
}

// standBack has this process, in which the attackers are, run only on what CPU
// the gate and its healthy client leave, as attackers do who bring their own.
// In everyday runs, beside other tests, it would hardly run at all.
func standBack(t *testing.T) (back func()) {
	t.Helper()
	if !gatetest.Full() {
		return func() {}
	}
	schedule(t, unix.SchedAttr{Policy: unix.SCHED_IDLE})
	back = func() { schedule(t, unix.SchedAttr{Policy: unix.SCHED_NORMAL}) }
	t.Cleanup(back) // whatever ends the test, the next one has its turn
	return back
}

// schedule gives every thread a policy; threads to come have their maker's.
func schedule(t *testing.T, attr unix.SchedAttr) {
	t.Helper()
	attr.Size = unix.SizeofSchedAttr
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SchedSetAttr(id, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}

// rawClient is an attacker that speaks HTTP/1.1 by hand, and minds no answer.
type rawClient struct {
	t    *testing.T
	g    *gatetest.Gate
	conn *tls.Conn
	in   *bufio.Reader
}

// ask sends a request, over a new connection if need be, and returns the status
// of its answer; 0 when there was none.
func (c *rawClient) ask(ctx context.Context, text string) int {
	if c.conn == nil {
		conn, err := tlsConn(ctx, c.t, c.g)
		if err != nil {
			return 0 // the flood is over, or the gate has had enough
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c.conn, text) // the gate may answer before it has all
	a, err := http.ReadResponse(c.in, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, a.Body)
	}
	if err != nil || a.Close {
		_ = c.conn.Close()
		c.conn = nil
	}
	if a == nil {
		return 0
	}
	return a.StatusCode
}
