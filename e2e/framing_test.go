package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/internal/gatetest"
)

// requestList is what an app was asked, whole requests alone.
type requestList struct {
	mu   sync.Mutex
	seen []string
}

func (l *requestList) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, s)
}

func (l *requestList) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.seen)
}

func (l *requestList) last() string {
	if s := l.all(); len(s) > 0 {
		return s[len(s)-1]
	}
	return ""
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// wholeApp answers every request that came whole with "ok" and lists it; a body
// that breaks ends its connection.
func wholeApp(list *requestList) func(*gatetest.RawConn) {
	return func(c *gatetest.RawConn) {
		for {
			head := c.Head()
			if head == "" {
				return
			}
			body, whole := c.Body(head)
			if !whole {
				return
			}
			list.add(head + body)
			c.Say(okay)
		}
	}
}

// openGate serves one public route, open.test, in front of an app.
func openGate(t *testing.T, handle func(*gatetest.RawConn), options ...string) (*gatetest.Gate, *gatetest.RawApp) {
	t.Helper()
	app := gatetest.NewRawApp(t, handle)
	return gatetest.Start(t, "routes:\n  - {name: open, host: open.test, access: public, upstream: \""+app.URL()+"\""+strings.Join(append([]string{""}, options...), ", ")+"}\n"), app
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: open.test\r\n\r\n"

// Heads of requests, to be followed by more lines.
const (
	postHead = "POST /first HTTP/1.1\r\nHost: open.test\r\n"
	getHead  = "GET /first HTTP/1.1\r\nHost: open.test\r\n" // which rarely has a body
)

// stillFine checks that the next request is answered as itself.
func stillFine(t *testing.T, g *gatetest.Gate, list *requestList, name string) {
	t.Helper()
	c := g.Raw1("open.test")
	c.Say("GET /next HTTP/1.1\r\nHost: open.test\r\n\r\n")
	if a := c.Answer("GET"); a.Status != 200 || a.Body != "ok" || !strings.HasPrefix(list.last(), "GET /next ") {
		t.Errorf("after %s: %d %q %v; the app saw %.60q", name, a.Status, a.Body, a.Err, list.last())
	}
	_ = c.Close()
	if slices.ContainsFunc(list.all(), func(s string) bool { return strings.HasPrefix(s, "GET /smuggled") }) {
		t.Fatalf("%s smuggled a request", name)
	}
}

// refusedRaw sends bytes, which have to be refused and to end the connection
// without the app getting a request out of them.
func refusedRaw(t *testing.T, g *gatetest.Gate, list *requestList, name, text string, statuses ...int) {
	t.Helper()
	before := len(list.all())
	c := g.Raw1("open.test")
	c.Say(text)
	if a := c.Answer("POST"); a.Err == nil && !slices.Contains(statuses, a.Status) {
		t.Errorf("%s: %d, want %v", name, a.Status, statuses)
	}
	c.Say(smuggled)
	if a := c.Answer("GET"); a.Err == nil {
		t.Errorf("%s: the connection went on with %d", name, a.Status)
	}
	_ = c.Close()
	if got := list.all(); len(got) != before {
		t.Errorf("%s: the app saw %q", name, got[before:])
	}
	stillFine(t, g, list, name)
}

func TestT042_T043_T044_AmbiguousFramingEndsTheConnection(t *testing.T) {
	list := &requestList{}
	g, app := openGate(t, wholeApp(list))
	// Both framings: chunked counts, and nothing after it does.
	for name, head := range map[string]string{
		"length first":  fmt.Sprintf(postHead+"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", len(smuggled)+5),
		"chunked first": fmt.Sprintf(postHead+"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n", len(smuggled)+5),
		"length zero":   postHead + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
		"GET":           getHead + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
		"HTTP/1.0":      strings.Replace(postHead, "HTTP/1.1", "HTTP/1.0", 1) + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
	} {
		c := g.Raw1("open.test")
		c.Say(head + "\r\n0\r\n\r\n" + smuggled)
		if a := c.Answer("POST"); a.Status != 200 && a.Status != 400 {
			t.Errorf("%s: %d %v", name, a.Status, a.Err)
		}
		if a := c.Answer("GET"); a.Err == nil {
			t.Errorf("%s: the connection went on with %d", name, a.Status)
		}
		_ = c.Close()
		stillFine(t, g, list, name)
	}
	chunks := "\r\n0\r\n\r\n" + smuggled
	for name, head := range map[string]string{
		"xchunked": "Transfer-Encoding: xchunked\r\n", "two values": "Transfer-Encoding: chunked, identity\r\n", "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"gzip": "Transfer-Encoding: gzip\r\n", "chunked twice": "Transfer-Encoding: chunked, chunked\r\n", "quoted": "Transfer-Encoding: \"chunked\"\r\n", "space before colon": "Transfer-Encoding : chunked\r\n",
		"vertical tab": "Transfer-Encoding: \vchunked\r\n", "NUL": "Transfer-Encoding: chunked\x00\r\n", "folded name": "X: 1\r\n Transfer-Encoding: chunked\r\nContent-Length: abc\r\n", "identity": "Transfer-Encoding: identity\r\nContent-Length: 3\r\n", "empty": "Transfer-Encoding:\r\nContent-Length: 3\r\n",
	} {
		refusedRaw(t, g, list, name, postHead+head+chunks, 400, 501)
		refusedRaw(t, g, list, "GET "+name, getHead+head+chunks, 400, 501)
	}
	for name, value := range map[string]string{
		"plus": "+3", "minus": "-3", "hex": "0x3", "list": "3, 3", "different": "3\r\nContent-Length: 4", "space inside": "1 0", "empty": "", "underscore": "1_0", "huge": "99999999999999999999", "float": "3.0", "other digits": "\u0663",
	} {
		refusedRaw(t, g, list, "length "+name, postHead+"Content-Length: "+value+"\r\n\r\nabc"+smuggled, 400)
		refusedRaw(t, g, list, "GET length "+name, getHead+"Content-Length: "+value+"\r\n\r\nabc"+smuggled, 400)
	}
	if strings.Contains(app.Log(), "/smuggled HTTP") {
		t.Error("the app's bytes hold a smuggled request")
	}
}

func TestT045_BrokenChunksNeitherReachNorPoisonTheApp(t *testing.T) {
	list := &requestList{}
	g, _ := openGate(t, wholeApp(list))
	for name, chunks := range map[string]string{
		"hex prefix": "0x3\r\nabc\r\n0\r\n\r\n", "negative": "-3\r\nabc\r\n0\r\n\r\n", "plus": "+3\r\nabc\r\n0\r\n\r\n", "no size": "\r\nabc\r\n0\r\n\r\n", "not hex": "zz\r\nabc\r\n0\r\n\r\n", "huge size": "fffffffffffffffff\r\nabc",
		"bare LF after size": "3\nabc\r\n0\r\n\r\n", "no CRLF after data": "3\r\nabcX0\r\n\r\n", "data too long": "3\r\nabcdef\r\n0\r\n\r\n", "bare CR": "3\rabc\r\n0\r\n\r\n", "space before size": " 3\r\nabc\r\n0\r\n\r\n", "underscore": "1_0\r\nabc\r\n0\r\n\r\n",
		"endless extension": "3;" + strings.Repeat("a", 64<<10) + "\r\nabc\r\n0\r\n\r\n", "LF in extension": "3;a\nb\r\nabc\r\n0\r\n\r\n", "bare LF at the end": "3\r\nabc\r\n0\n\n", "broken trailer": "3\r\nabc\r\n0\r\nX\r\n\r\n",
	} {
		refusedRaw(t, g, list, name, postHead+"Transfer-Encoding: chunked\r\n\r\n"+chunks, 400)
	}
	// A body that just ends is none either.
	for name, text := range map[string]string{"chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "length": "Content-Length: 10\r\n\r\nabc"} {
		before := len(list.all())
		c := g.Raw1("open.test")
		c.Say(postHead + text)
		_ = c.CloseWrite()
		_ = c.Answer("POST")
		_ = c.Close()
		if got := list.all(); len(got) != before {
			t.Errorf("%s that ends early: the app saw %q", name, got[before:])
		}
		stillFine(t, g, list, name)
	}
}

func TestT046_MalformedHeadsAreRefused(t *testing.T) {
	list := &requestList{}
	g, _ := openGate(t, wholeApp(list))
	for name, text := range map[string]string{
		"space before the colon": "X-A : 1\r\n", "empty name": ": 1\r\n", "no colon": "X-A\r\n", "bare CR in a value": "X-A: 1\rX-B: 2\r\n", "NUL in a value": "X-A: 1\x002\r\n", "NUL in a name": "X\x00A: 1\r\n",
		"space in a name": "X A: 1\r\n", "control byte": "X-A: \x01\r\n", "leading space": " X-A: 1\r\n", "two hosts": "Host: other.test\r\n", "non-ASCII name": "X\xe9: 1\r\n",
	} {
		head := postHead
		if name == "leading space" {
			head = "POST /first HTTP/1.1\r\n X-A: 1\r\nHost: open.test\r\n"
			text = ""
		}
		refusedRaw(t, g, list, name, head+text+"Content-Length: 0\r\n\r\n", 400)
	}
	for name, line := range map[string]string{"no version": "GET /\r\n", "bad version": "GET / HTTP/1.x\r\n", "HTTP/2.0": "GET / HTTP/2.0\r\n", "HTTP/0.9": "GET / HTTP/0.9\r\n", "two spaces": "GET  / HTTP/1.1\r\n", "tab": "GET\t/ HTTP/1.1\r\n", "space in the target": "GET /a b HTTP/1.1\r\n", "bad method": "G{T / HTTP/1.1\r\n", "no host": "GET / HTTP/1.1\r\nX: 1\r\n\r\n"} {
		refusedRaw(t, g, list, name, line+"Host: open.test\r\n\r\n", 400, 505)
	}
	// A line that goes on in the next arrives as one (RFC 9112 section 5.2).
	c := g.Raw1("open.test")
	c.Say(postHead + "X-A: 1\r\n Transfer-Encoding: chunked\r\n\tX-B: 2\r\nContent-Length: 0\r\n\r\n")
	if a := c.Answer("POST"); a.Status != 200 || !strings.Contains(list.last(), "\r\nX-A: 1 Transfer-Encoding: chunked X-B: 2\r\n") {
		t.Errorf("a folded line: %d %v, the app saw %q", a.Status, a.Err, list.last())
	}
}

func TestT047_HTTP2RequestsThatAreNoneAreRefused(t *testing.T) {
	list := &requestList{}
	g, app := openGate(t, wholeApp(list))
	base := gatetest.Request2("GET", "open.test", "/first")
	with := func(more ...[2]string) [][2]string { return append(slices.Clone(base), more...) }
	replaced := func(name, value string) [][2]string {
		out := slices.Clone(base)
		for i := range out {
			if out[i][0] == name {
				out[i][1] = value
			}
		}
		return out
	}
	for name, fields := range map[string][][2]string{
		"connection": with([2]string{"connection", "close"}), "transfer-encoding": with([2]string{"transfer-encoding", "chunked"}), "upgrade": with([2]string{"upgrade", "h2c"}), "keep-alive": with([2]string{"keep-alive", "1"}), "proxy-connection": with([2]string{"proxy-connection", "1"}),
		"te": with([2]string{"te", "gzip"}), "CRLF in a value": with([2]string{"x-a", "1\r\nGET /smuggled HTTP/1.1"}), "LF in a value": with([2]string{"x-a", "1\nb: 2"}), "NUL in a value": with([2]string{"x-a", "1\x00"}), "upper case": with([2]string{"X-A", "1"}), "space in a name": with([2]string{"x a", "1"}),
		"colon in a name": with([2]string{"x:a", "1"}), "CRLF in a name": with([2]string{"x\r\na", "1"}), "pseudo header after a field": append([][2]string{{"x-a", "1"}}, base...), "unknown pseudo header": append([][2]string{{":x", "1"}}, base...), "path twice": with([2]string{":path", "/b"}), "a second path first": append([][2]string{{":path", "/b"}}, base...),
		"space in the path": replaced(":path", "/a b"), "CRLF in the path": replaced(":path", "/a\r\nHost: x"), "a request in the path": replaced(":path", "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled"), "empty path": replaced(":path", ""), "no slash": replaced(":path", "first"), "tab in the path": replaced(":path", "/a\tb"),
		"space in the method": replaced(":method", "GET /smuggled HTTP/1.1\r\nX:"), "empty method": replaced(":method", ""), "CRLF in the authority": replaced(":authority", "open.test\r\nX: 1"), "userinfo": replaced(":authority", "a@open.test"), "empty authority": replaced(":authority", ""),
		"another host": with([2]string{"host", "other.test"}),
	} {
		c := g.Raw2("open.test")
		a := c.Answer(c.Open(true, fields...))
		if a.Err == nil && (a.Status < 400 || a.Status > 499) && name != "another host" {
			t.Errorf("%s: %d %q", name, a.Status, a.Body)
		}
		if got := list.last(); strings.HasPrefix(got, "GET /first ") && name != "another host" && name != "path twice" {
			t.Errorf("%s: the app saw %q", name, got)
		}
		stillFine(t, g, list, name)
	}
	if log := app.Log(); strings.Contains(log, "/smuggled") || strings.Contains(log, "other.test") {
		t.Error("bytes of a refused request reached the app")
	}
}

func TestT048_HTTP2LengthHasToBeTrue(t *testing.T) {
	list := &requestList{}
	g, _ := openGate(t, wholeApp(list))
	for name, tc := range map[string]struct {
		length, body string
		end          bool
	}{
		"too short": {"10", "abc", true}, "too long": {"2", "abcdef", true}, "nothing": {"5", "", true}, "zero": {"0", "abc", true}, "a second request in it": {"3", "abc" + smuggled, true},
	} {
		c := g.Raw2("open.test")
		fields := append(gatetest.Request2("POST", "open.test", "/first"), [2]string{"content-length", tc.length})
		var a gatetest.RawAnswer
		id := c.Open(false, fields...)
		stillFine(t, g, list, name+": the head") // time for the app to see a request that is none yet
		c.Data(id, tc.body, tc.end, &a)
		c.Finish(id, &a)
		if a.Err == nil && a.Status != 400 {
			t.Errorf("%s: %d %q", name, a.Status, a.Body)
		}
		stillFine(t, g, list, name)
		for _, s := range list.all() {
			if strings.HasPrefix(s, "POST /first ") {
				t.Fatalf("%s: the app saw a whole request: %q", name, s)
			}
		}
	}
}
