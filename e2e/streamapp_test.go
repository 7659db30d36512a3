package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// streamApp is an app whose answers last: sockets, event streams, polls,
// downloads and uploads.
type streamApp struct {
	*httptest.Server
	open atomic.Int64 // exchanges under way
	full atomic.Int64 // uploads seen to their end
}

func newStreamApp(t *testing.T) *streamApp {
	t.Helper()
	a := &streamApp{}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", a.socket)
	mux.HandleFunc("/sse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/poll", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) { // begins at once and never ends
		w.Header().Set("Content-Length", strconv.Itoa(1<<30))
		_, _ = w.Write(make([]byte, 64<<10))
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		a.full.Add(1)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.PathValue("n"), 10, 64)
		w.Header().Set("Content-Length", r.PathValue("n"))
		_, _ = io.CopyN(w, zeros{}, n)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Email")) })
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.open.Add(1)
		defer a.open.Add(-1)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		a.CloseClientConnections()
		a.Close()
	})
	return a
}

// socket shakes hands and echoes bytes; our tests send what an app may send.
func (a *streamApp) socket(w http.ResponseWriter, _ *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
	_, _ = io.Copy(c, rw)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// held is one stream a client holds open.
type held struct {
	what string
	over chan struct{} // closed when it ended
	at   time.Time     // valid once over
	code int           // close code of a socket; 0 without a close frame
	stop func()
}

func (h *held) ended() bool {
	select {
	case <-h.over:
		return true
	default:
		return false
	}
}

func hold(what string, stop func()) *held {
	return &held{what: what, over: make(chan struct{}), stop: stop}
}

func (h *held) end() {
	h.at = time.Now()
	close(h.over)
}

// shake asks for a socket and returns the connection and the answer's status.
func shake(g *gatetest.Gate, cfg *tls.Config, headers ...string) (net.Conn, *bufio.Reader, int, error) {
	raw, err := g.Dial(context.Background(), "tcp", "")
	if err != nil {
		return nil, nil, 0, err
	}
	c := tls.Client(raw, cfg)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n\r\n", strings.Join(headers, "\r\n"))
	r := bufio.NewReaderSize(c, 512)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		_ = c.Close()
		return nil, nil, 0, err
	}
	_ = c.SetDeadline(time.Time{})
	return c, r, resp.StatusCode, nil
}

// socketConfig is what sockets dial with; one for many, since each holds a pool
// of certificates.
func socketConfig(g *gatetest.Gate) *tls.Config {
	cfg := g.TLSConfig()
	cfg.ServerName, cfg.NextProtos = "app.test", []string{"http/1.1"}
	return cfg
}

// holdSocket opens a socket, says hello, and reads until it ends.
func holdSocket(t *testing.T, g *gatetest.Gate, cfg *tls.Config, token string) *held {
	t.Helper()
	c, r, status, err := shake(g, cfg, gatetest.Bearer(token))
	if err != nil || status != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %d, %v", status, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	hello := "\x81\x05hello"
	echo := make([]byte, len(hello))
	if _, err := io.WriteString(c, hello); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, echo); err != nil || string(echo) != hello {
		t.Fatalf("echo %q, %v", echo, err)
	}
	h := hold("socket", func() { _ = c.Close() })
	go func() {
		rest, _ := io.ReadAll(r)
		if len(rest) == 4 && rest[0] == 0x88 {
			h.code = int(rest[2])<<8 | int(rest[3])
		}
		h.end()
		_ = c.Close()
	}()
	return h
}

// holdRequest sends a request that does not end by itself. body is nil or what
// an upload has to say; the answer is read as far as it comes.
func holdRequest(t *testing.T, c *gatetest.Client, path, token string, upload bool) *held {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	method, body := http.MethodGet, io.Reader(nil)
	if upload {
		r, w := io.Pipe()
		go trickle(ctx, w)
		method, body = http.MethodPut, r
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL(path), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	h := hold(path, cancel)
	endless := http.Client{Transport: c.Transport}
	go func() {
		defer h.end()
		resp, err := endless.Do(req)
		if err != nil {
			return
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, resp.Body)
	}()
	return h
}

// trickle writes faster than the slowest upload the gateway bears.
func trickle(ctx context.Context, w *io.PipeWriter) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _ = w.Write(make([]byte, 200)) // the other end says when it is over
		select {
		case <-ctx.Done():
			_ = w.CloseWithError(ctx.Err())
			return
		case <-tick.C:
		}
	}
}

// holdAll opens one stream of every kind over both protocols and waits until
// the app has them all.
func (a *streamApp) holdAll(t *testing.T, g *gatetest.Gate, token string) []*held {
	t.Helper()
	before := a.open.Load()
	all := []*held{holdSocket(t, g, socketConfig(g), token)}
	for _, h2 := range []bool{false, true} {
		c := g.Client("app.test", h2)
		for _, path := range []string{"/sse", "/poll", "/download"} {
			all = append(all, holdRequest(t, c, path, token, false))
		}
		all = append(all, holdRequest(t, c, "/upload", token, true))
	}
	within(t, "the app has every stream", func() bool { return a.open.Load() == before+int64(len(all)) })
	return all
}

// lastEnd waits until every stream has ended and returns when the last did.
func lastEnd(t *testing.T, streams []*held, patience time.Duration) time.Time {
	t.Helper()
	var last time.Time
	limit := time.After(patience)
	for _, h := range streams {
		select {
		case <-h.over:
		case <-limit:
			t.Fatalf("%s did not end within %v", h.what, patience)
		}
		if h.at.After(last) {
			last = h.at
		}
	}
	return last
}

func procFile(g *gatetest.Gate, name string) string {
	return fmt.Sprintf("/proc/%d/%s", g.Pid(), name)
}

// memory returns a field of the gate's /proc/PID/status, in KiB.
func memory(t *testing.T, g *gatetest.Gate, field string) int {
	t.Helper()
	return memoryOf(t, g.Pid(), field)
}

func memoryOf(t *testing.T, pid int, field string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(field+":")); ok {
			n, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal(errors.New("no field " + field))
	return 0
}

// each runs f for 0..n-1 on a few goroutines.
func each(n, workers int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
