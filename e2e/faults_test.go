package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

func TestFU1_AnAppThatCannotBeReachedIsABadGatewayAtOnce(t *testing.T) {
	list := &requestList{}
	app := gatetest.NewRawApp(t, wholeApp(list))
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	untrusted.Config.ErrorLog = nil
	silent := deafListener(t)
	dead := map[string]string{
		"refused": "http://" + gatetest.FreeAddr(t), "dns": "http://nowhere.invalid:80", "tls": untrusted.URL, "plain": "https://" + app.Addr, "socket": "unix:/nonexistent/app.sock",
		"deaf": "https://" + silent, // connects, and never answers the handshake
	}
	body := "routes:\n  - {name: open, host: open.test, access: public, upstream: \"" + app.URL() + "\"}\n"
	for name, url := range dead {
		body += "  - {name: " + name + ", host: " + name + ".test, access: public, upstream: \"" + url + "\", timeout: {connect: 1s}}\n"
	}
	g := gatetest.Start(t, body)
	for name, url := range dead {
		c := g.Client(name+".test", false)
		for range 6 { // past the point where the address is set aside
			began := time.Now()
			a := c.Must(http.MethodGet, "/", "", "Accept: application/json")
			if a.StatusCode != http.StatusBadGateway {
				t.Errorf("%s: %d %s", name, a.StatusCode, a.Text)
			}
			if took := time.Since(began); took > 10*time.Second { // 1 s, and room for a busy machine
				t.Errorf("%s: %v", name, took)
			}
			_, host, _ := strings.Cut(url, ":")
			for _, secret := range []string{"127.0.0.1", "invalid", "refused", "x509", "sock", strings.Trim(host, "/")} {
				if strings.Contains(a.Text, secret) {
					t.Errorf("%s: the answer names %q: %s", name, secret, a.Text)
				}
			}
		}
	}
	if a := askOpen(g, "h1", "/"); a.Status != 200 {
		t.Errorf("another route: %d", a.Status)
	}
}

// deafListener accepts in the kernel alone: nothing ever answers.
func deafListener(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// While an address is set aside requests for it do not wait, and when the app
// is back it is used again by itself.
func TestFU1_ADeafAppIsSetAsideAndFoundAgain(t *testing.T) {
	addr := deafListener(t)
	g := gatetest.Start(t, "routes:\n  - {name: open, host: open.test, access: public, upstream: \"https://"+addr+"\", timeout: {connect: 500ms}}\n")
	var wg sync.WaitGroup
	began := time.Now()
	for range 4 {
		wg.Go(func() {
			c := g.Raw2("open.test")
			for range 50 {
				if a := c.Answer(c.Open(true, gatetest.Request2("GET", "open.test", "/")...)); a.Status != 502 {
					t.Errorf("%d %v", a.Status, a.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	// 200 requests one behind the other would take 25 s at the least.
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("200 requests took %v", took)
	}
	if log := metrics(t, g); !strings.Contains(log, `gatehouse_upstream_up{route="open",upstream="https://`+addr+`"} 0`) {
		t.Error("the metric does not show that the app is gone")
	}
}

func TestFU2_ASilentAppIsAGatewayTimeout(t *testing.T) {
	g, app := openGate(t, func(c *gatetest.RawConn) {
		head := c.Head()
		if strings.HasPrefix(head, "GET /half ") {
			c.Say("HTTP/1.1 200 OK\r\nX-Half:")
		}
		if strings.HasPrefix(head, "POST ") {
			_, _ = c.Body(head)
		}
		_, _ = io.Copy(io.Discard, c)
	}, "timeout: {response_header: 300ms}")
	for _, protocol := range []string{"h1", "h2"} {
		for _, path := range []string{"/silent", "/half"} {
			if a := askOpen(g, protocol, path); a.Status != 504 || strings.Contains(a.Body, app.Addr) {
				t.Errorf("%s over %s: %d %q %v", path, protocol, a.Status, a.Body, a.Err)
			}
		}
	}
	c := g.Raw1("open.test")
	c.Say("POST /silent HTTP/1.1\r\nHost: open.test\r\nContent-Length: 3\r\n\r\nabc")
	if a := c.Answer("POST"); a.Status != 504 {
		t.Errorf("an upload: %d %v", a.Status, a.Err)
	}
}

// A byte now and then is progress, and there is no total deadline; silence is
// not, and a reset ends what the client sees as cut.
func TestFU2_ASlowAppIsFineAndAResetOneIsCut(t *testing.T) {
	step := make(chan struct{})
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		head := c.Head()
		switch {
		case strings.HasPrefix(head, "GET /slow "):
			c.Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 5 {
				<-step
				c.Say("1\r\nx\r\n")
			}
			c.Say("0\r\n\r\n")
		case strings.HasPrefix(head, "GET /reset "):
			c.Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
			<-step
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
		}
	}, "timeout: {response_header: 300ms, idle: 60s}")
	for _, protocol := range []string{"h1", "h2"} {
		done := make(chan gatetest.RawAnswer)
		go func() { done <- askOpen(g, protocol, "/slow") }()
		for range 5 {
			step <- struct{}{}
			time.Sleep(100 * time.Millisecond) // longer in sum than response_header, which has no say here
		}
		if a := <-done; a.Body != "xxxxx" || a.Err != nil {
			t.Errorf("slow over %s: %d %q %v", protocol, a.Status, a.Body, a.Err)
		}
		go func() { done <- askOpen(g, protocol, "/reset") }()
		step <- struct{}{}
		if a := <-done; a.Err == nil {
			t.Errorf("reset over %s: %d %q looked whole", protocol, a.Status, a.Body)
		}
	}
}

func TestFU3_MaxInFlightIsA503AndOtherRoutesGoOn(t *testing.T) {
	stuck := gatetest.Scale(400, 2000)
	const limit = 50
	release := make(chan struct{})
	var held atomic.Int64
	slow := gatetest.NewRawApp(t, func(c *gatetest.RawConn) {
		for c.Head() != "" {
			held.Add(1)
			<-release
			c.Say(okay)
		}
	})
	fast := gatetest.NewRawApp(t, wholeApp(&requestList{}))
	g := gatetest.Start(t, `routes:
  - {name: open, host: open.test, access: public, upstream: "`+fast.URL()+`"}
  - {name: stuck, host: stuck.test, access: public, upstream: "`+slow.URL()+`"}
  - {name: capped, host: capped.test, access: public, upstream: "`+slow.URL()+`", max_in_flight: 50}
`)
	var conns []*gatetest.Raw2
	open := func(host string, n int) {
		for i := range n {
			if i%90 == 0 {
				conns = append(conns, g.Raw2(host))
			}
			conns[len(conns)-1].Open(true, gatetest.Request2("GET", host, "/")...)
		}
	}
	open("stuck.test", stuck)
	within(t, "all requests are with the app", func() bool { return held.Load() == int64(stuck) })
	open("capped.test", limit)
	within(t, "the cap is reached", func() bool { return held.Load() == int64(stuck+limit) })
	for range 20 {
		a := g.Client("capped.test", false).Must(http.MethodGet, "/", "")
		if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Fatalf("over the cap: %d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
	// Not a request of another route waits for those.
	c := g.Raw2("open.test")
	var times []time.Duration
	for range 200 {
		began := time.Now()
		if a := c.Answer(c.Open(true, gatetest.Request2("GET", "open.test", "/")...)); a.Status != 200 {
			t.Fatalf("another route: %d %v", a.Status, a.Err)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	t.Logf("%d stuck; another route answers in %v, p99 %v", stuck+limit, times[100], times[198])
	if held.Load() != int64(stuck+limit) {
		t.Errorf("%d requests reached the stuck app", held.Load())
	}
	close(release)
	within(t, "the cap is free again", func() bool {
		return g.Client("capped.test", false).Must(http.MethodGet, "/", "").StatusCode == 200
	})
}

// The answer to an upload that the app does not want arrives whole, the rest
// of the body is nobody's request, and a client that stalls holds nothing up.
func TestFU4_AnEarlyAnswerArrivesAndTheRestIsNoRequest(t *testing.T) {
	list := &requestList{}
	g, app := openGate(t, func(c *gatetest.RawConn) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			list.add(head)
			switch {
			case strings.HasPrefix(head, "POST /close "):
				c.Say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
				return
			case strings.HasPrefix(head, "POST /keep "):
				c.Say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nwho")
			case strings.HasPrefix(head, "POST /cut "):
				c.Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
				return
			case strings.HasPrefix(head, "POST /die "):
				return
			default:
				c.Say(okay)
				continue
			}
			_, _ = c.Body(head)
			return
		}
	})
	for path, want := range map[string]string{"/close": "big", "/keep": "who", "/cut": "", "/die": ""} {
		for _, framing := range []string{"Content-Length: 1000\r\n\r\n0123456789", "Content-Length: 3000000\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"} {
			c := g.Raw1("open.test")
			c.Say("POST " + path + " HTTP/1.1\r\nHost: open.test\r\n" + framing)
			a := c.Answer("POST") // while the client stalls
			switch {
			case want != "" && (a.Body != want || a.Err != nil):
				t.Errorf("%s: %d %q %v", path, a.Status, a.Body, a.Err)
			case path == "/cut" && a.Err == nil:
				t.Errorf("%s: a cut answer looked whole: %q", path, a.Body)
			case path == "/die" && a.Status != 502:
				t.Errorf("%s: %d %v", path, a.Status, a.Err)
			case a.Err == nil && !slices.Equal(a.Values("Connection"), []string{"close"}):
				t.Errorf("%s: the connection is promised to go on: %v", path, a.Header)
			}
			if strings.HasPrefix(framing, "Transfer") {
				c.Say("zz\r\n\r\n") // no chunk: what follows has no meaning
			}
			c.Say(smuggled + strings.Repeat("x", 1000) + smuggled)
			if a := c.Answer("GET"); a.Err == nil {
				t.Errorf("%s: the rest of the body was answered with %d", path, a.Status)
			}
			_ = c.Close()
		}
	}
	if slices.ContainsFunc(list.all(), func(s string) bool { return strings.Contains(s, "smuggled") }) || strings.Contains(app.Log(), "smuggled HTTP/1.1\r\nHost: open.test\r\nX-") {
		t.Error("the rest of a body became a request")
	}
}

// The same over HTTP/2, where the stream ends and the connection goes on.
func TestFU4_AnEarlyAnswerEndsTheStreamAlone(t *testing.T) {
	g, _ := openGate(t, func(c *gatetest.RawConn) {
		head := c.Head()
		if strings.HasPrefix(head, "POST ") {
			c.Say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
			return
		}
		c.Say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok") // or the next POST could be sent over it while it ends
	})
	c := g.Raw2("open.test")
	for range 5 {
		var a gatetest.RawAnswer
		id := c.Open(false, gatetest.Request2("POST", "open.test", "/up")...)
		c.Data(id, strings.Repeat("x", 10000), false, &a)
		c.Finish(id, &a)
		if a.Status != 413 || a.Body != "big" || a.Err != nil {
			t.Fatalf("%d %q %v", a.Status, a.Body, a.Err)
		}
		if a := c.Answer(c.Open(true, gatetest.Request2("GET", "open.test", "/")...)); a.Status != 200 {
			t.Fatalf("the next stream: %d %v", a.Status, a.Err)
		}
	}
}

// gRPC apps may speak HTTP/2 with TLS or without.
func TestGRPCOverH2C(t *testing.T) {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", r.Proto+" "+r.Header.Get("Te"))
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Shutdown(context.Background()) })
	g := gatetest.Start(t, "routes:\n  - {name: open, host: open.test, access: public, upstream: \"h2c://"+l.Addr().String()+"\"}\n")
	c := g.Raw2("open.test")
	var a gatetest.RawAnswer
	id := c.Open(false, append(gatetest.Request2("POST", "open.test", "/svc/Call"), [2]string{"content-type", "application/grpc"}, [2]string{"te", "trailers"})...)
	c.Data(id, "\x00\x00\x00\x00\x02hi", true, &a)
	c.Finish(id, &a)
	if a.Status != 200 || a.Body != "\x00\x00\x00\x00\x02hi" || !slices.Equal(byName(a.Trailer), [][2]string{{"grpc-message", "HTTP/2.0 trailers"}, {"grpc-status", "0"}}) {
		t.Errorf("%d %q %q %v", a.Status, a.Body, a.Trailer, a.Err)
	}
}
