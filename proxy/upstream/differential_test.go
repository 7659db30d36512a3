package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// sample is one request and the bytes an app answers it with. strict says why
// we refuse what net/http may let pass.
type sample struct {
	method string
	length int64 // of the request body; -1 chunked, 0 none
	header http.Header
	answer string
	ends   bool // the app closes the connection after the answer
	strict string
}

// generator makes samples; the same seed makes the same ones.
type generator struct{ *rand.Rand }

func (g generator) pick(options ...string) string { return options[g.IntN(len(options))] }

func (g generator) once(in int) bool { return g.IntN(in) == 0 }

func (g generator) sample() sample {
	s := sample{method: g.pick("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"), header: http.Header{}}
	if s.method == "POST" || s.method == "PUT" || g.once(8) {
		s.length = int64([]int{-1, 0, 1, 10, 40000}[g.IntN(5)])
	}
	for i := range g.IntN(4) {
		s.header.Add(g.pick("X-A", "X-B", "Accept", "Range", "Cookie"), g.pick("", "1", "a\tb", "\xe9t\xe9", "a, b", strings.Repeat("v", 200+i)))
	}
	var b strings.Builder
	for range g.interims(&s) {
		b.WriteString(g.pick("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n", "HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n"))
	}
	g.final(&s, &b)
	s.answer = b.String()
	return s
}

func (g generator) interims(s *sample) int {
	switch {
	case g.once(20):
		s.strict = "more than five interim answers"
		return maxInterim + 1
	case g.once(4):
		return 1 + g.IntN(maxInterim)
	}
	return 0
}

func (g generator) final(s *sample, b *strings.Builder) {
	nl := "\r\n"
	if g.once(15) {
		nl = "\n"
	}
	version := "1.1"
	if g.once(8) {
		version, s.ends = "1.0", true
	}
	status := g.pick("200 OK", "200 OK", "200 ", "200", "201 Created", "204 No Content", "206 Partial Content", "301 Moved", "304 Not Modified", "404 Not Found", "500 Oh", "599 Odd")
	b.WriteString("HTTP/" + version + " " + status + nl)
	for range g.IntN(4) {
		b.WriteString(g.pick("X-One: 1", "X-One: 2", "Set-Cookie: a=b; Path=/", "Set-Cookie: c=\"d,e\"", "X-Empty:", "X-Tab:\ta\tb\t", "x-lower: V", "X-Latin: \xe9", "ETag: W/\"x\"", "Vary: *", "X-Fold: a"+nl+"  b", "Date: Thu, 01 Jan 1970 00:00:00 GMT") + nl)
	}
	switch {
	case g.once(40):
		b.WriteString("X-Long: " + strings.Repeat("l", 20<<10) + nl)
	case g.once(60):
		b.WriteString("X-Long: " + strings.Repeat("l", 70<<10) + nl)
		s.strict = "a head over 64 KiB"
	case g.once(30):
		b.WriteString(g.pick("X-Sp : 1", "X Y: 1", "X-Ctl: a\x01b", "X-Cr: a\rb", "X-Del: \x7f") + nl)
		s.strict = "a malformed field line"
	}
	if g.once(6) {
		b.WriteString("Connection: " + g.pick("close", "keep-alive", "X-One") + nl)
		s.ends = true
	}
	g.framing(s, b, nl, version)
}

// framing ends the head and writes a body.
func (g generator) framing(s *sample, b *strings.Builder, nl, version string) {
	text := strings.Repeat("b", []int{0, 1, 10, 5000, 40000}[g.IntN(5)])
	length := "Content-Length: " + strconv.Itoa(len(text)) + nl
	none := s.method == "HEAD" || strings.Contains(b.String(), " 204 ") || strings.Contains(b.String(), " 304 ")
	if none {
		text = ""
	}
	chunked := func(end string) string {
		var c strings.Builder
		for rest := text; rest != ""; {
			n := 1 + g.IntN(len(rest))
			c.WriteString(fmt.Sprintf("%x%s\r\n%s\r\n", n, g.pick("", ";ext=1"), rest[:n]))
			rest = rest[n:]
		}
		return c.String() + end
	}
	if none {
		chunked = func(string) string { return "" }
	}
	if version == "1.0" && g.once(2) {
		b.WriteString(nl + text)
		return
	}
	switch g.IntN(14) {
	default:
		b.WriteString(length + nl + text)
	case 0, 1, 2:
		if version == "1.0" {
			s.strict = "chunked in HTTP/1.0"
		}
		b.WriteString("Transfer-Encoding: chunked" + nl + nl + chunked("0\r\n\r\n"))
	case 3:
		if version == "1.0" {
			s.strict = "chunked in HTTP/1.0"
		}
		b.WriteString("Trailer: X-Sum" + nl + "Transfer-Encoding: chunked" + nl + nl + chunked("0\r\nX-Sum: 5\r\nX-Other: 6\r\n\r\n"))
	case 4:
		b.WriteString(nl + text) // until the end
		s.ends = true
	case 5:
		b.WriteString(length + nl + text[:len(text)/2]) // cut
		s.ends = true
	case 6:
		b.WriteString("Transfer-Encoding: chunked" + nl + nl + chunked(g.pick("", "0\r\n", "zz\r\n", "-1\r\n", "0x1\r\n")))
		if version == "1.0" {
			s.strict = "chunked in HTTP/1.0"
		}
		s.ends = true
	case 7:
		b.WriteString(length + "Transfer-Encoding: chunked" + nl + nl + chunked("0\r\n\r\n"))
		s.strict = "both framings"
	case 8:
		b.WriteString(length + g.pick("Content-Length: 7", "Content-Length: -1", "Content-Length: 1x", "Content-Length: 1, 1", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding:") + nl + nl + text)
		s.strict = "a broken or doubled framing" // unless net/http reads it the same way
		s.ends = true
	case 9:
		b.WriteString(length + nl + text + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\njunk")
	}
}

// garbage damages an answer at random: whatever we make of it, it is what
// net/http makes of it, or a refusal.
func (g generator) garbage(s *sample) {
	b := []byte(s.answer)
	for range 1 + g.IntN(3) {
		switch at := g.IntN(min(len(b), 300)); g.IntN(3) {
		case 0:
			b[at] = byte(g.IntN(256))
		case 1:
			b = slices.Delete(b, at, min(at+1+g.IntN(4), len(b)))
		case 2:
			b = slices.Insert(b, at, []byte(g.pick("\r", "\n", "\r\n", "\x00", " ", ":", "HTTP/1.1 200 OK\r\n", "0\r\n\r\n"))...)
		}
		if len(b) == 0 {
			b = []byte("x")
		}
	}
	s.answer, s.ends, s.strict = string(b), true, "damaged"
}

// theirs sends a sample through net/http.
func theirs(tr *http.Transport, addr, target string, s *sample) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, s.method, "http://"+addr+target, nil)
	if err != nil {
		return outcome{err: err}
	}
	req.Header = s.header.Clone()
	req.Header.Set("User-Agent", "test")
	if s.length != 0 {
		req.Body, req.ContentLength = requestBody(s.length), s.length
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	b, cut := io.ReadAll(resp.Body)
	return outcome{resp.StatusCode, resp.Header, resp.Trailer, string(b), nil, cut}
}

func ours(t *testing.T, g *Group, addr, target string, s *sample) outcome {
	r := &Request{Method: s.method, Target: target, Host: addr, Header: s.header.Clone()}
	r.Header.Set("User-Agent", "test")
	if s.length != 0 {
		r.Body, r.ContentLength = requestBody(s.length), s.length
	}
	return send(t, g, r)
}

func requestBody(n int64) io.ReadCloser {
	if n < 0 {
		n = 3000
	}
	return io.NopCloser(io.LimitReader(letters{}, n))
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'r'
	}
	return len(p), nil
}

// same reports the first difference between two good outcomes.
func same(a, b outcome) string {
	switch {
	case a.status != b.status:
		return fmt.Sprintf("status %d and %d", a.status, b.status)
	case !reflect.DeepEqual(a.header, b.header):
		return fmt.Sprintf("headers %q and %q", a.header, b.header)
	case a.body != b.body:
		return fmt.Sprintf("bodies of %d and %d bytes", len(a.body), len(b.body))
	case (a.cut == nil) != (b.cut == nil):
		return fmt.Sprintf("ends %v and %v", a.cut, b.cut)
	case len(a.trailer)+len(b.trailer) > 0 && !reflect.DeepEqual(a.trailer, b.trailer):
		return fmt.Sprintf("trailers %q and %q", a.trailer, b.trailer)
	}
	return ""
}

// asSent is a request as the app got it, its header lines in a fixed order,
// without the one that keeps net/http from using a connection twice.
func asSent(s string) string {
	head, body, _ := strings.Cut(s, "\r\n\r\n")
	l := slices.DeleteFunc(strings.Split(head, "\r\n"), func(s string) bool { return s == "Connection: close" })
	slices.Sort(l[1:])
	return strings.Join(l, "\n") + "\n\n" + body
}

// TestSameAsNetHTTP sends a generated corpus through this client and through
// net/http's. Requests are the same bytes; answers are the same, or ours is a
// refusal that the corpus expects; and whatever an answer was, the one after it
// is its own.
func TestSameAsNetHTTP(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(20, 26))}
	samples := make([]sample, gatetest.Scale(400, 10000))
	for i := range samples {
		samples[i] = g.sample()
		if g.once(5) {
			g.garbage(&samples[i])
		}
	}
	a := newApp(t, func(a *app, c net.Conn, r *bufio.Reader, _ int) {
		for {
			s := a.request(r)
			if s == "" {
				return
			}
			_, target, _ := strings.Cut(s, " /")
			target, _, _ = strings.Cut(target, " ")
			if n, err := strconv.Atoi(target); err == nil {
				_, _ = io.WriteString(c, samples[n].answer)
				if samples[n].ends {
					return
				}
				continue
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target)
		}
	})
	addr := a.Addr().String()
	group := a.group(func(o *Options) { o.Timeout.ResponseHeader, o.Timeout.Idle = 2*time.Second, 2*time.Second })
	log.SetOutput(io.Discard) // net/http tells of every unasked byte
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxResponseHead, ResponseHeaderTimeout: 2 * time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	refusals, agreed := map[string]int{}, 0
	for i := range samples {
		s, target := &samples[i], "/"+strconv.Itoa(i)
		before := len(a.requests())
		mine := ours(t, group, addr, target, s)
		mineSent := a.requests()[before:]
		yours := theirs(tr, addr, target, s)
		yoursSent := a.requests()[before+len(mineSent):]
		if len(mineSent) != 1 || len(yoursSent) == 0 || asSent(mineSent[0]) != asSent(yoursSent[0]) {
			t.Fatalf("%d: %v: the app got\n%.600q\nand\n%.600q", i, mine.err, mineSent, yoursSent)
		}
		switch diff := same(mine, yours); {
		case mine.err != nil && yours.err != nil:
			refusals["both"]++
		case mine.err != nil && s.strict != "":
			refusals[s.strict]++
		case mine.err != nil:
			t.Errorf("%d: we refuse %q: %v", i, head(s.answer), mine.err)
		case yours.err != nil:
			t.Errorf("%d: we accept what net/http refuses (%v): %q", i, yours.err, head(s.answer))
		case diff != "":
			t.Errorf("%d: %s in %q", i, diff, head(s.answer))
		default:
			agreed++
		}
		if o := get(t, group, "/after"+strconv.Itoa(i)); o.body != "after"+strconv.Itoa(i) {
			t.Fatalf("the answer after %q was %q, %v", head(s.answer), o.body, o.err)
		}
	}
	t.Logf("%d agreed, refusals %v, %d connections", agreed, refusals, a.conns.Load())
	if agreed < len(samples)/2 {
		t.Errorf("only %d samples of %d are good ones", agreed, len(samples))
	}
}

func head(s string) string { return s[:min(len(s), 400)] }
