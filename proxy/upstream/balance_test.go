package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/config"
)

// clock is a time that only the test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// nobody is an address where nobody listens.
func nobody(t *testing.T) config.UpstreamURL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return config.UpstreamURL{Raw: "http://" + l.Addr().String(), Scheme: "http", Host: l.Addr().String()}
}

// scripted stands for what speaks to an address, so that the choice among them
// can be watched.
type scripted func(r *Request) (*http.Response, error)

func (s scripted) roundTrip(_ context.Context, r *Request) (*http.Response, error) { return s(r) }
func (scripted) close()                                                            {}

func fine(*Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("ok"))}, nil
}

func refused(*Request) (*http.Response, error) { return nil, fmt.Errorf("%w: refused", ErrConnect) }

func scriptedGroup(t *testing.T, o Options, how ...scripted) *Group {
	t.Helper()
	for i := range how {
		o.URLs = append(o.URLs, config.UpstreamURL{Raw: fmt.Sprintf("http://app%d", i), Scheme: "http", Host: fmt.Sprintf("app%d:80", i)})
	}
	o.Timeout = patience
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for i, s := range how {
		g.addrs[i].client = s
	}
	return g
}

func TestFU1_ADeadAddressIsSetAsideAndTriedOneRequestAtATime(t *testing.T) {
	c := newClock()
	var calls int
	answer := refused
	var told []bool
	g := scriptedGroup(t, Options{Now: c.now, OnHealth: func(_ string, up bool) { told = append(told, up) }}, func(r *Request) (*http.Response, error) {
		calls++
		return answer(r)
	})
	for range tolerated {
		wantErr(t, get(t, g, "/"), ErrConnect)
	}
	if calls != tolerated {
		t.Fatalf("%d attempts, want %d: a single failure must not set the only address aside", calls, tolerated)
	}
	for range 100 {
		wantErr(t, get(t, g, "/"), ErrConnect)
	}
	if calls != tolerated {
		t.Fatalf("%d attempts while set aside", calls-tolerated)
	}
	c.advance(maxWait)
	// The trial is one request; those that come meanwhile fail at once.
	answer = func(r *Request) (*http.Response, error) {
		wantErr(t, get(t, g, "/meanwhile"), ErrConnect)
		return refused(r)
	}
	wantErr(t, get(t, g, "/"), ErrConnect)
	if calls != tolerated+1 {
		t.Fatalf("%d attempts for the trial, want 1", calls-tolerated)
	}
	wantErr(t, get(t, g, "/"), ErrConnect)
	if calls != tolerated+1 {
		t.Fatal("a failed trial let the next request through")
	}
	c.advance(maxWait)
	answer = func(r *Request) (*http.Response, error) {
		g.connected(g.addrs[0])
		wantOK(t, outcomeOf(fine(r)), "ok")
		return fine(r)
	}
	for range 5 {
		wantOK(t, get(t, g, "/"), "ok")
	}
	if fmt.Sprint(told) != "[false true]" {
		t.Errorf("health was told %v", told)
	}
}

func outcomeOf(resp *http.Response, err error) outcome {
	b, cut := io.ReadAll(resp.Body)
	return outcome{resp.StatusCode, nil, nil, string(b), err, cut}
}

func TestFU1_RefusedFailsAndRecoversOnARealSocket(t *testing.T) {
	addr := nobody(t)
	g, err := New(Options{URLs: []config.UpstreamURL{addr}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for range 10 {
		wantErr(t, get(t, g, "/"), ErrConnect)
	}
	l, err := net.Listen("tcp", addr.Host)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	eventually(t, "an app that came back is used", func() bool { return get(t, g, "/").err == nil })
}

// A connect that failed sent nothing: the next address gets the request, with
// its body.
func TestARefusedConnectGoesOnToTheNextAddress(t *testing.T) {
	a := newApp(t, answering(okAnswer))
	g := a.group(func(o *Options) { o.URLs = []config.UpstreamURL{nobody(t), o.URLs[0]}; o.Balance = "round_robin" })
	for range 4 {
		wantOK(t, send(t, g, &Request{Method: "POST", Target: "/", Body: io.NopCloser(strings.NewReader("hello")), ContentLength: 5}), "ok")
	}
	for _, s := range a.requests() {
		if !strings.HasSuffix(s, "\r\n\r\nhello") {
			t.Errorf("the app got %q", s)
		}
	}
	two := a.group(func(o *Options) { o.URLs = []config.UpstreamURL{nobody(t), nobody(t)} })
	for range 3 {
		wantErr(t, get(t, two, "/"), ErrConnect)
	}
}

func TestBalance(t *testing.T) {
	count := func(t *testing.T, o Options, n int, affinity func(i int) string) []int {
		t.Helper()
		got := make([]int, 3)
		hit := func(i int) scripted { return func(r *Request) (*http.Response, error) { got[i]++; return fine(r) } }
		g := scriptedGroup(t, o, hit(0), hit(1), hit(2))
		for i := range n {
			wantOK(t, send(t, g, &Request{Method: "GET", Target: "/", Affinity: affinity(i)}), "ok")
		}
		return got
	}
	none := func(int) string { return "" }
	for _, b := range []string{"round_robin", "least_requests"} {
		if got := count(t, Options{Balance: b}, 30, none); got[0] != 10 || got[1] != 10 || got[2] != 10 {
			t.Errorf("%s: %v", b, got)
		}
	}
	for _, o := range []Options{{Balance: "hash_user"}, {Sticky: true}} {
		if got := count(t, o, 30, func(int) string { return "ann" }); got[0]+got[1]+got[2] != 30 || max(got[0], got[1], got[2]) != 30 {
			t.Errorf("one user went to %v", got)
		}
		if got := count(t, o, 300, func(i int) string { return fmt.Sprint("user", i) }); min(got[0], got[1], got[2]) < 50 {
			t.Errorf("300 users went to %v", got)
		}
	}
}

func TestLeastRequestsGoesWhereFewestAreOpen(t *testing.T) {
	g := scriptedGroup(t, Options{Balance: "least_requests"}, fine, fine)
	var open []*http.Response
	for range 10 {
		resp, _, err := g.RoundTrip(context.Background(), &Request{Method: "GET", Target: "/"})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp)
	}
	if a, b := g.addrs[0].inFlight.Load(), g.addrs[1].inFlight.Load(); a != 5 || b != 5 {
		t.Errorf("%d and %d open", a, b)
	}
	for _, r := range open {
		_ = r.Body.Close()
		_ = r.Body.Close() // twice counts once
	}
	if a, b := g.addrs[0].inFlight.Load(), g.addrs[1].inFlight.Load(); a != 0 || b != 0 {
		t.Errorf("%d and %d open after the end", a, b)
	}
}

// When an address goes, only its own users move; when it comes back, they do.
func TestStickyUsersMoveOnlyWhenTheyMust(t *testing.T) {
	g := scriptedGroup(t, Options{Sticky: true}, fine, fine, fine)
	where := func() map[string]string {
		m := map[string]string{}
		for i := range 60 {
			user := fmt.Sprint("user", i)
			resp, addr, err := g.RoundTrip(context.Background(), &Request{Method: "GET", Target: "/", Affinity: user})
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			m[user] = addr
		}
		return m
	}
	before := where()
	g.addrs[1].sick.Store(true)
	for user, addr := range where() {
		if before[user] != "http://app1" && addr != before[user] {
			t.Errorf("%s moved from %s to %s", user, before[user], addr)
		}
	}
	g.addrs[1].sick.Store(false)
	for user, addr := range where() {
		if addr != before[user] {
			t.Errorf("%s did not come back to %s", user, before[user])
		}
	}
}

func TestHealthChecks(t *testing.T) {
	var well atomic.Bool
	well.Store(true)
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
		for {
			switch s := a.request(r); {
			case s == "":
				return
			case strings.HasPrefix(s, "GET /health ") && !well.Load():
				_, _ = io.WriteString(c, "HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n")
			default:
				_, _ = io.WriteString(c, okAnswer)
			}
		}
	})
	var mu sync.Mutex
	var told []bool
	g := a.group(func(o *Options) {
		o.Health = &config.Health{Path: "/health", Interval: 5 * time.Millisecond, Timeout: 5 * time.Second}
		o.OnHealth = func(_ string, up bool) { mu.Lock(); told = append(told, up); mu.Unlock() }
	})
	g.Start()
	wantOK(t, get(t, g, "/"), "ok")
	well.Store(false)
	eventually(t, "a sick address is avoided", func() bool { return errors.Is(get(t, g, "/").err, ErrNoUpstream) })
	well.Store(true)
	eventually(t, "a well one is used again", func() bool { return get(t, g, "/").err == nil })
	g.Close()
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(told) != "[false true]" {
		t.Errorf("told %v: the end of the checks says nothing of the app", told)
	}
}

// A check that is under way when the group ends says nothing of the app.
func TestACheckThatIsCutOffTellsNobody(t *testing.T) {
	asked := make(chan struct{}, 1)
	a := newApp(t, func(a *app, _ net.Conn, r *bufio.Reader, _ int) {
		a.request(r)
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, r)
	})
	g := a.group(func(o *Options) {
		o.Health = &config.Health{Path: "/health", Interval: time.Hour, Timeout: time.Hour}
		o.OnHealth = func(_ string, up bool) { t.Errorf("told %v", up) }
	})
	g.Start()
	<-asked
	g.Close()
}
