package http1

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/tape"
)

// seen is what a handler was given, in the order of the requests.
type seen struct {
	mu    sync.Mutex
	lines []string
	heads []string // methods
}

// handler does what the path says, and notes everything it is given.
func (s *seen) handler(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	if !strings.Contains(r.URL.Path, "unread") {
		_ = http.NewResponseController(w).EnableFullDuplex() // as we always do; net/http cannot go on from there when a body is left
		body, err = io.ReadAll(r.Body)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		names = append(names, fmt.Sprintf("%s=%q", name, r.Header[name]))
	}
	s.mu.Lock()
	s.heads = append(s.heads, r.Method)
	s.lines = append(s.lines, fmt.Sprintf("%s %q %s host=%q %v cl=%d te=%v close=%v body=%x ok=%v trailer=%v",
		r.Method, r.RequestURI, r.Proto, r.Host, names, r.ContentLength, r.TransferEncoding, r.Close, body, err == nil, r.Trailer))
	s.mu.Unlock()
	h := w.Header()
	h["Content-Type"] = []string{"text/x"}
	switch path := r.URL.Path; {
	case strings.Contains(path, "long"):
		_, _ = io.WriteString(w, strings.Repeat("long", 9000))
	case strings.Contains(path, "exact"):
		h.Set("Content-Length", "6")
		_, _ = io.WriteString(w, "exact!")
	case strings.Contains(path, "short"):
		h.Set("Content-Length", "60")
		_, _ = io.WriteString(w, "short")
	case strings.Contains(path, "over"):
		h.Set("Content-Length", "2")
		_, werr := io.WriteString(w, "over")
		h.Set("X-Late", fmt.Sprint(werr))
	case strings.Contains(path, "stream"):
		for range 3 {
			_, _ = io.WriteString(w, "piece")
			_ = http.NewResponseController(w).Flush()
		}
	case strings.Contains(path, "empty"):
		w.WriteHeader(http.StatusNoContent)
		_, werr := io.WriteString(w, "nobody sees this")
		if werr == nil {
			panic("a body of a 204")
		}
	case strings.Contains(path, "same"):
		h.Set("Content-Length", "5")
		h.Set("Etag", `"x"`)
		w.WriteHeader(http.StatusNotModified)
	case strings.Contains(path, "early"):
		h.Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "late")
	case strings.Contains(path, "trail"):
		h.Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "trailed")
		h.Set("X-Sum", "7")
		h.Set(http.TrailerPrefix+"X-More", "8")
	case strings.Contains(path, "close"):
		h.Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	case strings.Contains(path, "odd"):
		h["X-Odd"] = []string{"a\r\nInjected: yes", "  spaced ", ""}
		h["bad name"] = []string{"x"}
		w.WriteHeader(299)
	case strings.Contains(path, "nothing"):
	default:
		_, _ = fmt.Fprintf(w, "%x", body)
	}
}

// answer is one answer as a client reads it.
type answer struct {
	status  int
	header  string
	body    string
	broken  bool
	trailer string
}

// answers reads what a server sent. What follows an answer that says it is the
// last is kept as it is.
func answers(out []byte, methods []string) (all []answer, rest string) {
	r := bufio.NewReader(bytes.NewReader(out))
	for i := 0; ; {
		if _, err := r.Peek(1); err != nil {
			return all, ""
		}
		method := http.MethodGet
		if i < len(methods) {
			method = methods[i]
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			b, _ := io.ReadAll(r)
			return all, "unreadable: " + err.Error() + string(b)
		}
		if resp.StatusCode >= 400 { // of no handler: which of several faults it names is another matter
			return append(all, answer{status: http.StatusBadRequest}), ""
		}
		body, err := io.ReadAll(resp.Body)
		resp.Header.Del("Date")
		resp.Header.Del("Connection")
		all = append(all, answer{resp.StatusCode, fmt.Sprint(resp.Header, resp.ContentLength, resp.TransferEncoding), string(body), err != nil, fmt.Sprint(resp.Trailer)})
		if resp.StatusCode >= 200 {
			i++
		}
		if resp.Close && resp.StatusCode >= 200 {
			b, _ := io.ReadAll(r)
			return all, string(b)
		}
	}
}

// handed is a listener for connections that are handed to it.
type handed struct {
	conns chan net.Conn
	done  chan struct{}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}
func (h *handed) Close() error   { return nil }
func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

const testMaxHead = 32 << 10

func withNetHTTP(t testing.TB, in []byte, piece int) (*seen, []byte) {
	s, l := &seen{}, &handed{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(s.handler), MaxHeaderBytes: testMaxHead - 4096, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), DisableGeneralOptionsHandler: true} //nolint:gosec // no client is slow
	go func() { _ = srv.Serve(l) }()
	defer close(l.done)
	c := tape.New(in, piece)
	l.conns <- c
	wait(t, c)
	return s, c.Heard()
}

func withOurs(t testing.TB, in []byte, piece int) (*seen, []byte) {
	s := &seen{}
	srv := &Server{Handler: http.HandlerFunc(s.handler), Log: slog.New(slog.DiscardHandler), Head: time.Minute, Idle: time.Minute, MaxHead: testMaxHead, Extra: func(int) string { return "" }}
	c := tape.New(in, piece)
	go srv.Serve(context.Background(), c, nil)
	wait(t, c)
	return s, c.Heard()
}

func wait(t testing.TB, c *tape.Tape) {
	t.Helper()
	select {
	case <-c.Ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection does not end")
	}
}

// agree holds us against net/http for one input.
func agree(in []byte, theirs, ours *seen, theirOut, ourOut []byte) error {
	theirs.mu.Lock()
	defer theirs.mu.Unlock()
	ours.mu.Lock()
	defer ours.mu.Unlock()
	a, restA := answers(theirOut, theirs.heads)
	b, restB := answers(ourOut, ours.heads)
	if n := len(ours.lines); n > 0 && n <= len(theirs.lines) && len(b) <= len(a) && mayHaveTwoFramings(ours.lines[n-1]) && strings.Replace(ours.lines[n-1], " close=true ", " close=false ", 1) == theirs.lines[n-1] {
		// Nothing may follow a request with two framings (RFC 9112 section 6.1);
		// net/http goes on.
		theirs.lines, a, restA = append(theirs.lines[:n-1:n-1], ours.lines[n-1]), a[:len(b)], ""
	}
	if n := len(ours.lines); n > 0 && n <= len(theirs.lines) && len(b) <= len(a) && isLastOfHTTP10(ours.lines[n-1]) && ours.lines[n-1] == theirs.lines[n-1] {
		// Its parser says that the connection ends; its server finds the word
		// keep-alive beside close, or behind a space, and goes on.
		theirs.lines, a, restA = theirs.lines[:n], a[:len(b)], ""
	}
	if n := len(ours.lines); n > 0 && strings.Contains(ours.lines[n-1], " ok=false ") && len(b) <= len(a) {
		// In full duplex net/http takes what is behind a broken body for a request.
		theirs.lines, a, restA, restB = theirs.lines[:min(n, len(theirs.lines))], a[:len(b)], "", ""
	}
	if !slices.Equal(theirs.lines, ours.lines) {
		return fmt.Errorf("requests\n%s\nnot\n%s", strings.Join(ours.lines, "\n"), strings.Join(theirs.lines, "\n"))
	}
	if !slices.Equal(a, b) || restA != restB {
		return fmt.Errorf("answers\n%+v %q\nnot\n%+v %q", b, restB, a, restA)
	}
	return nil
}

// mayHaveTwoFramings tells what the handler saw of such a request from others.
func mayHaveTwoFramings(line string) bool {
	return strings.Contains(line, " te=[chunked] ") || strings.Contains(line, " HTTP/1.0 ")
}

// isLastOfHTTP10 tells a request whose connection ends, as HTTP/1.0 has it unless
// keep-alive is asked for.
func isLastOfHTTP10(line string) bool {
	return strings.Contains(line, " HTTP/1.0 ") && strings.Contains(line, " close=true ")
}

func compare(t testing.TB, in []byte, piece int) {
	t.Helper()
	if bytes.Contains(in, []byte("PRI ")) {
		return // which net/http lets through, for handlers that speak HTTP/2
	}
	theirs, theirOut := withNetHTTP(t, in, piece)
	ours, ourOut := withOurs(t, in, piece)
	if err := agree(in, theirs, ours, theirOut, ourOut); err != nil {
		t.Errorf("%q in pieces of %d: %v", in, piece, err)
	}
}

// odd are pieces requests are made of; most are legal.
var odd = struct{ lines, hosts, fields, bodies []string }{
	lines: []string{"GET / HTTP/1.1", "GET /exact?a=b HTTP/1.1", "POST /echo HTTP/1.1", "PUT /unread HTTP/1.1", "HEAD /exact HTTP/1.1", "HEAD /long HTTP/1.1", "HEAD / HTTP/1.1",
		"GET /long HTTP/1.1", "GET /short HTTP/1.1", "GET /over HTTP/1.1", "GET /stream HTTP/1.1", "GET /empty HTTP/1.1", "GET /same HTTP/1.1", "GET /early HTTP/1.1", "GET /trail HTTP/1.1",
		"GET /close HTTP/1.1", "GET /odd HTTP/1.1", "GET /nothing HTTP/1.1", "GET /stream HTTP/1.0", "GET /exact HTTP/1.0", "GET / HTTP/1.0", "POST /trail HTTP/1.0", "HEAD /stream HTTP/1.0",
		"GET http://other.test/abs HTTP/1.1", "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1", "CONNECT  HTTP/1.1", "GET / HTTP/1.2", "GET / HTTP/2.0", "GET /", "GET  / HTTP/1.1", "G@T / HTTP/1.1", " GET / HTTP/1.1",
		"GET /%zz HTTP/1.1", "GET /\x7f HTTP/1.1", "get / http/1.1", "", "GET / HTTP/1.1 ", "POST /early HTTP/1.1", "POST /unread HTTP/1.0"},
	hosts: []string{"Host: a.test", "Host: a.test", "Host: a.test", "Host: a.test", "Host: a.test", "host: A.test:80", "Host:", "", "Host: a b", "Host: a\r\nHost: b", "Host : a"},
	fields: []string{"Connection: close", "Connection: Keep-Alive", "connection: x, CLOSE", "Connection: close x", "Connection: x keep-alive", "Connection: x\r\nConnection: y close", "X: y", "X-Empty:", "X-Fold: a\r\n b", "X-Fold: a\r\n\tb", "X-Bare: a\nX-B: c", "X\x00: y", "X: \x00", "X: \x7f", "X: \xff\xfe", "NoColon", ": none",
		"Expect: 100-continue", "expect: 100-Continue", "Expect: more", "Pragma: no-cache", "Trailer: X-T", "Trailer: Content-Length", "Upgrade: websocket", "X-Big: " + strings.Repeat("b", 3000), "X-Huge: " + strings.Repeat("h", 9000),
		"TE: trailers", "Transfer-Encoding: gzip", "Transfer-Encoding: identity", "Cookie: a=b", "X-Tab:\ty\t", "X-Space: y   "},
	bodies: []string{"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", "\r\n", "\r\n", "\r\n", "\n", "Content-Length: 5\r\n\r\nhello", "Content-Length: 5\r\n\r\nhel", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "Content-Length: +5\r\n\r\nhello",
		"Content-Length: 0\r\n\r\n", "Content-Length:\r\n\r\n", "Content-Length: 99999999999999999999\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: CHUNKED\r\n\r\n5;ext=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
		"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Long: " + strings.Repeat("t", 5000) + "\r\n\r\n", "Content-Length: 4096\r\n\r\n" + strings.Repeat("4", 4096), "Content-Length: 300000\r\n\r\n" + strings.Repeat("3", 300000), "Content-Length: 200000\r\n\r\n" + strings.Repeat("2", 200000)},
}

func pick(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

func oddRequest(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(pick(r, odd.lines) + "\r\n")
	if h := pick(r, odd.hosts); h != "" {
		b.WriteString(h + "\r\n")
	}
	for range r.IntN(3) {
		b.WriteString(pick(r, odd.fields) + "\r\n")
	}
	b.WriteString(pick(r, odd.bodies))
	return b.String()
}

// What net/http understands by an odd request, and by the bytes behind it, we
// do too: the same requests reach the handler, the same answers the client, and
// the connection ends after the same of them (threats T42 to T48).
func TestAgreesWithNetHTTP(t *testing.T) {
	n := 1000
	if os.Getenv("GATEHOUSE_FULL") != "" {
		n = 100_000
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's choice
	for range n {
		var in strings.Builder
		for range 1 + r.IntN(3) {
			in.WriteString(oddRequest(r))
			if r.IntN(8) == 0 {
				in.WriteString("\r\n")
			}
		}
		in.WriteString("GET /last HTTP/1.1\r\nHost: a.test\r\n\r\n")
		compare(t, []byte(in.String()), []int{1 << 20, 1 << 20, 1000, 7, 1}[r.IntN(5)])
		if t.Failed() {
			return
		}
	}
}

// Each piece at least once, by itself.
func TestAgreesWithNetHTTPOnEachPiece(t *testing.T) {
	const last = "GET /last HTTP/1.1\r\nHost: a.test\r\n\r\n"
	for _, l := range odd.lines {
		compare(t, []byte(l+"\r\nHost: a.test\r\n\r\n"+last), 1<<20)
		for _, b := range odd.bodies {
			compare(t, []byte(l+"\r\nHost: a.test\r\n"+b+last), 1<<20)
		}
	}
	for _, h := range odd.hosts {
		compare(t, []byte("GET / HTTP/1.1\r\n"+h+"\r\n\r\n"+last), 1<<20)
	}
	for _, f := range odd.fields {
		compare(t, []byte("POST /echo HTTP/1.1\r\nHost: a.test\r\n"+f+"\r\nContent-Length: 5\r\n\r\nhello"+last), 1<<20)
		compare(t, []byte("GET / HTTP/1.1\r\nHost: a.test\r\n"+f+"\r\n\r\n"+last), 1<<20)
	}
}

func FuzzT042_Serve(f *testing.F) {
	const most = 1 << 10 // of an input: what is long makes more of the same
	add := func(in string, piece byte) {
		if len(in) <= most {
			f.Add([]byte(in), piece)
		}
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's choice
	for range 400 {
		add(oddRequest(r)+oddRequest(r), byte(r.IntN(256)))
	}
	const last = "GET /last HTTP/1.1\r\nHost: a.test\r\n\r\n"
	for _, body := range odd.bodies {
		add("PUT /unread HTTP/1.1\r\nHost: a.test\r\n"+body+last, 255)
		add("POST /echo HTTP/1.1\r\nHost: a.test\r\n"+body+last, 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece byte) {
		if len(in) <= most {
			compare(t, in, 1+16*int(piece))
		}
	})
}
