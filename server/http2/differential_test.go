package http2

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
)

// seen is what a handler was given.
type seen struct {
	mu    sync.Mutex
	lines []string
}

// handler does what the path says, and notes everything it is given.
func (s *seen) handler(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	if !strings.Contains(r.URL.Path, "unread") {
		body, err = io.ReadAll(r.Body)
	}
	var names []string
	delete(r.Header, "Host") // which net/http leaves there, beside an authority
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		names = append(names, fmt.Sprintf("%s=%q", name, r.Header[name]))
	}
	s.mu.Lock()
	s.lines = append(s.lines, fmt.Sprintf("%s %q %v %s host=%q tls=%v %v cl=%d body=%x ok=%v trailer=%v",
		r.Method, r.RequestURI, r.URL, r.Proto, r.Host, r.TLS != nil, names, r.ContentLength, body, err == nil, r.Trailer))
	s.mu.Unlock()
	respond(w, r.URL.Path, body)
}

func respond(w http.ResponseWriter, path string, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"text/x"}
	switch {
	case strings.Contains(path, "long"):
		_, _ = io.WriteString(w, strings.Repeat("long", 9000))
	case strings.Contains(path, "exact"):
		h.Set("Content-Length", "6")
		_, _ = io.WriteString(w, "exact!")
	case strings.Contains(path, "stream"):
		for range 3 {
			_, _ = io.WriteString(w, "piece")
			_ = http.NewResponseController(w).Flush()
		}
	case strings.Contains(path, "empty"):
		w.WriteHeader(http.StatusNoContent)
	case strings.Contains(path, "early"):
		h.Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "late")
	case strings.Contains(path, "trail"):
		h.Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "trailed")
		h.Set("X-Sum", "7")
		h.Set(http.TrailerPrefix+"X-More", "8")
	case strings.Contains(path, "odd"):
		h["X-Odd"] = []string{"", "a b"}
		h["bad name"] = []string{"x"}
		h["Transfer-Encoding"] = []string{"chunked"}
		w.WriteHeader(299)
	case strings.Contains(path, "nothing"):
	default:
		_, _ = fmt.Fprintf(w, "%x", body)
	}
}

// script is what a client does on its first stream.
type script struct {
	head     []string
	data     []string
	pad      int
	trailers []string // nil: the last piece of data, or the head, is the end
}

// run has a server hear it, and returns what came of it and of a request behind
// it.
func (s *script) run(c *client) (first, last answer) {
	c.ask(1, len(s.data) == 0 && s.trailers == nil, s.head...)
	for i, d := range s.data {
		end := s.trailers == nil && i == len(s.data)-1
		if s.pad > 0 {
			_ = c.WriteDataPadded(1, end, []byte(d), make([]byte, s.pad))
		} else {
			_ = c.WriteData(1, end, []byte(d))
		}
	}
	if s.trailers != nil {
		_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(s.trailers...), EndHeaders: true, EndStream: true})
	}
	first = c.answer(1)
	if first.gone == "" {
		c.ask(3, true, get("/last")...)
		last = c.answer(3)
	}
	return first.sorted(), last.sorted()
}

// untrue reports a length that is not the body's.
func (s *script) untrue() bool {
	n := len(strings.Join(s.data, ""))
	return slices.ContainsFunc(s.head, func(line string) bool {
		length, is := strings.CutPrefix(line, "content-length: ")
		return is && length != strconv.Itoa(n)
	})
}

// oddHost reports an authority that is none (RFC 9113 section 8.3.1), or two
// hosts.
func (s *script) oddHost() bool {
	hosts := 0
	for _, line := range s.head {
		_, name, is := strings.Cut(line, ":authority: ")
		if is && strings.ContainsAny(name, " @/") {
			return true
		}
		if strings.HasPrefix(line, "host:") {
			hosts++
		}
	}
	return hosts > 1
}

// sorted puts the lines of heads in order, of which only that of equal names
// means something.
func (a answer) sorted() answer {
	sort := func(s string) string {
		lines := strings.SplitAfter(s, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "")
	}
	a.head, a.trailers = sort(a.head), sort(a.trailers)
	for i := range a.interim {
		a.interim[i] = sort(a.interim[i])
	}
	return a
}

// theirs runs net/http's server.
func theirs(t *testing.T, h http.HandlerFunc) *serving {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, MaxHeaderBytes: 32 << 10, DisableGeneralOptionsHandler: true, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Protocols: new(http.Protocols)} //nolint:gosec // no client is slow
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return &serving{t: t, addr: l.Addr().String()}
}

// pieces of scripts; most are legal.
var odd = struct{ methods, schemes, paths, hosts, fields, lengths, trailers []string }{
	methods:  []string{"GET", "GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "get", "X-Y"},
	schemes:  []string{"https", "https", "https", "http", "HTTPS", "ftp", ""},
	paths:    []string{"/", "/echo", "/exact?a=b", "/long", "/stream", "/empty", "/early", "/trail", "/odd", "/nothing", "/unread", "*", "//x//y", "/%2e%2e/", "/%zz", "/a b", "x", "", "/;p?q#f", "/\xff"},
	hosts:    []string{"a.test", "a.test", "a.test", "A.test:80", "", "a b", "u@a.test", "[::1]:1", "a.test/x"},
	fields:   []string{"accept: */*", "cookie: a=1", "cookie: b=2", "x-empty: ", "x-a: 1", "x-a: 2", "host: a.test", "host: b.test", "te: trailers", "te: gzip", "connection: close", "keep-alive: 1", "transfer-encoding: chunked", "upgrade: x", "expect: other", "X-Upper: 1", "x y: 1", "x-tab: \ta", "x-ff: \xff", "x-nl: a\nb", ":late: 1", "trailer: x-t", "trailer: content-length, x-t", "priority: u=1", "x-long: " + strings.Repeat("l", 6000)},
	lengths:  []string{"", "", "", "content-length: 5", "content-length: 6", "content-length: 4", "content-length: 0"},
	trailers: []string{"x-t: 1", "x-u: 2", ":path: /", "X-Upper: 1", "x-t: 3"},
}

func pick(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

func oddScript(r *rand.Rand) *script {
	s := &script{}
	for _, f := range []struct {
		name string
		of   []string
	}{{":method", odd.methods}, {":scheme", odd.schemes}, {":authority", odd.hosts}, {":path", odd.paths}} {
		if r.IntN(40) > 0 {
			s.head = append(s.head, f.name+": "+pick(r, f.of))
		}
		if r.IntN(200) == 0 {
			s.head = append(s.head, f.name+": "+pick(r, f.of))
		}
	}
	for range r.IntN(4) {
		s.head = append(s.head, pick(r, odd.fields))
	}
	if r.IntN(2) == 0 {
		return s
	}
	if l := pick(r, odd.lengths); l != "" {
		s.head = append(s.head, l)
	}
	s.data = [][]string{{"hello"}, {"he", "llo"}, {"", "hello", ""}, {strings.Repeat("x", 9000), strings.Repeat("y", 9000)}}[r.IntN(4)]
	s.pad = r.IntN(2) * r.IntN(200)
	if r.IntN(3) == 0 {
		s.trailers = []string{pick(r, odd.trailers), pick(r, odd.trailers)}
	}
	return s
}

// What net/http understands by an odd request we do too, or reset it: the same
// reaches the handler and the same the client, and the connection goes on.
func TestAgreesWithNetHTTP(t *testing.T) {
	n := 400
	if os.Getenv("GATEHOUSE_FULL") != "" {
		n = 20_000
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's choice
	for i := 0; i < n && !t.Failed(); i++ {
		t.Run("", func(t *testing.T) { compare(t, oddScript(r)) })
	}
}

func compare(t *testing.T, s *script) {
	t.Helper()
	var a, b seen
	ours, others := serve(t, b.handler), theirs(t, a.handler)
	c, d := others.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20}), ours.dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
	want, wantLast := s.run(c)
	got, gotLast := s.run(d)
	a.mu.Lock()
	defer a.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case want.gone+wantLast.gone != "" && gotLast.gone == "" && (isRefusal(got) || s.trailers != nil):
		return // net/http takes a stream that was no request, or was reset before its trailers came, for one that never was
	case got.reset == "PROTOCOL_ERROR" && s.oddHost():
		return // net/http leaves it to the handler
	case got.reset+want.reset != "" && (s.untrue() || slices.Contains(s.head, ":path: /unread")):
		return // what follows a head may be malformed (RFC 9113 section 8.1.1); who hears of it first is another matter
	case fmt.Sprint(wantLast) != fmt.Sprint(gotLast):
		t.Errorf("%.300v: then\n%.300v\nnot\n%.300v", s, gotLast, wantLast)
	case isRefusal(want) && isRefusal(got): // which words it is refused in is another matter
	case fmt.Sprint(want) != fmt.Sprint(got) || !slices.Equal(a.lines, b.lines):
		t.Errorf("%.300v:\n%.300v\n%.300q\nnot\n%.300v\n%.300q", s, got, b.lines, want, a.lines)
	}
}

func isRefusal(a answer) bool {
	return strings.HasPrefix(a.head, ":status: 4") || strings.Contains(a.head, "\n:status: 4") || a.head == "" && a.reset == "PROTOCOL_ERROR"
}
