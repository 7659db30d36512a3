package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// slowUpload is an upload whose second half waits for release.
type slowUpload struct {
	answer chan string
}

func startUpload(t *testing.T, c *gatetest.Client, token string, release <-chan struct{}) *slowUpload {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	go func() {
		_, _ = w.Write(make([]byte, 1000))
		<-release
		_, _ = w.Write(make([]byte, 1000))
		_ = w.Close()
	}()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, c.URL("/upload"), r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	u := &slowUpload{answer: make(chan string, 1)}
	go func() {
		resp, err := c.Do(req)
		if err != nil {
			u.answer <- err.Error()
			return
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			u.answer <- err.Error()
			return
		}
		u.answer <- resp.Status + " " + string(text)
	}()
	return u
}

// Fault F-G3: SIGTERM with sockets, event streams and slow uploads under way.
func TestT133_FG3_SIGTERMUnderLoad(t *testing.T) {
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	token := c.Login(register(t, c, "ann@example.com"), password).AccessToken
	sockets, uploads := gatetest.Scale(40, 500), gatetest.Scale(10, 50)

	cfg := socketConfig(g)
	var endless []*held
	for range sockets {
		endless = append(endless, holdSocket(t, g, cfg, token))
	}
	release := make(chan struct{})
	var slow []*slowUpload
	for i := range uploads {
		slow = append(slow, startUpload(t, g.Client("app.test", i%2 == 0), token, release))
	}
	for _, h2 := range []bool{false, true} {
		endless = append(endless, holdRequest(t, g.Client("app.test", h2), "/sse", token, false))
	}
	within(t, "the app has everything", func() bool { return app.open.Load() == int64(sockets+uploads+2) })

	began := time.Now()
	g.Signal(syscall.SIGTERM)
	within(t, "nobody new is let in", func() bool {
		n, err := net.Dial("tcp", g.HTTPS)
		if err == nil {
			_ = n.Close()
		}
		return err != nil
	})
	if text, err := get("http://" + g.Admin + "/readyz"); err == nil && strings.Contains(text, `"ready":true`) {
		t.Errorf("ready while draining: %s", text)
	}
	last := lastEnd(t, endless, 20*time.Second)
	for _, h := range endless {
		if h.what == "socket" && h.code != 1001 {
			t.Errorf("a socket got close code %d, want 1001", h.code)
		}
	}
	close(release) // the gateway waits for what can end
	for _, u := range slow {
		if got := <-u.answer; got != "200 OK 2000" {
			t.Errorf("an upload under way got %q", got)
		}
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit %d, want 0:\n%s", code, tail(g.Log()))
	}
	t.Logf("%d sockets gone %v after SIGTERM, %d uploads finished, the process ended after %v",
		sockets, last.Sub(began).Round(time.Millisecond), uploads, time.Since(began).Round(time.Millisecond))
	if strings.Contains(g.Log(), "cut off") || strings.Contains(g.Log(), "panic") {
		t.Errorf("the log:\n%s", tail(g.Log()))
	}
}

// tail is the end of a log.
func tail(log string) string {
	return log[max(0, len(log)-4000):]
}
