package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/internal/gatetest"
)

// fidelityApp answers case by case and keeps what it was asked.
type fidelityApp struct {
	cases []fidelityCase
	mu    sync.Mutex
	got   map[string]seenRequest // by the value of X-Case
}

type seenRequest struct {
	line, body string
	whole      bool
	header     [][2]string
}

func (a *fidelityApp) serve(c *gatetest.RawConn) {
	for {
		head := c.Head()
		if head == "" {
			return
		}
		line, rest, _ := strings.Cut(head, "\r\n")
		s := seenRequest{line: line}
		for l := range strings.SplitSeq(rest, "\r\n") {
			if name, value, ok := strings.Cut(l, ": "); ok {
				s.header = append(s.header, [2]string{name, value})
			}
		}
		key := first(s.header, "X-Case")
		n, _ := strconv.Atoi(key[2:])
		text, ends := a.cases[n].wire()
		if a.cases[n].early {
			c.Say(text)
		}
		s.body, s.whole = c.Body(head)
		a.mu.Lock()
		a.got[key] = s
		a.mu.Unlock()
		if !a.cases[n].early {
			c.Say(text)
		}
		if ends || !s.whole {
			return
		}
	}
}

func first(lines [][2]string, name string) string {
	for _, l := range lines {
		if strings.EqualFold(l[0], name) {
			return l[1]
		}
	}
	return ""
}

// ask1 sends a case over HTTP/1.1.
func ask1(c *gatetest.Raw1, key string, k *fidelityCase) gatetest.RawAnswer {
	var b strings.Builder
	b.WriteString(k.method + " " + k.target + " HTTP/1.1\r\nHost: bytes.test\r\nX-Case: " + key + "\r\nConnection: X-Hop\r\nX-Hop: 1\r\n")
	for _, l := range k.header {
		b.WriteString(l[0] + ": " + l[1] + " \t\r\n")
	}
	if k.expect {
		b.WriteString("Expect: 100-continue\r\n")
	}
	body := k.body
	switch k.framing {
	case "length":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(k.body))
	case "chunked":
		b.WriteString("Transfer-Encoding: chunked\r\n")
		body = ""
		for rest := k.body; rest != ""; {
			n := min(len(rest), 1+len(rest)/3)
			body += fmt.Sprintf("%x;ext=\"a\"\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		body += "0\r\n"
		if k.trailer {
			body += "X-Trailer: 1\r\n"
		}
		body += "\r\n"
	}
	head := b.String() + "\r\n"
	switch {
	case k.expect:
		c.Say(head)
		if line, err := c.R.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			return gatetest.RawAnswer{Err: fmt.Errorf("no 100 but %q, %v", line, err)}
		}
		_, _ = c.R.ReadString('\n')
		c.Say(body)
	case k.early:
		c.Say(head + body[:1]) // the answer comes while the rest is on its way
		a := c.Answer(k.method)
		c.Say(body[1:])
		return a
	default:
		c.Say(head + body)
	}
	return c.Answer(k.method)
}

// ask2 sends a case over HTTP/2.
func ask2(c *gatetest.Raw2, key string, k *fidelityCase) gatetest.RawAnswer {
	fields := append(gatetest.Request2(k.method, "bytes.test", k.target), [2]string{"x-case", key})
	fields = append(fields, k.header...)
	if k.framing == "length" {
		fields = append(fields, [2]string{"content-length", strconv.Itoa(len(k.body))})
	}
	if k.expect {
		fields = append(fields, [2]string{"expect", "100-continue"})
	}
	var a gatetest.RawAnswer
	id := c.Open(k.framing == "none", fields...)
	if k.framing != "none" {
		c.Data(id, k.body, !k.trailer, &a)
		if k.trailer {
			c.Trailers(id, [2]string{"x-trailer", "1"})
		}
	}
	if a.Err == nil {
		c.Finish(id, &a)
	}
	return a
}

// added are the names the gateway writes itself (contract: "Always").
func added(name string) bool {
	switch strings.ToLower(name) {
	case "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip", "forwarded", "via", "x-request-id", "x-case":
		return true
	}
	return false
}

// wantRequest is what the app has to see of a case.
func wantRequest(k *fidelityCase, protocol string) seenRequest {
	w := seenRequest{line: k.method + " " + k.target + " HTTP/1.1", body: k.body, whole: true}
	w.header = append(w.header, [2]string{"Host", "bytes.test"})
	var cookies []string
	for _, l := range k.header {
		if l[0] == "cookie" && protocol == "h2" {
			cookies = append(cookies, l[1]) // RFC 9113 section 8.2.3: joined for HTTP/1.1
			continue
		}
		w.header = append(w.header, l)
	}
	if len(cookies) > 0 {
		w.header = append(w.header, [2]string{"cookie", strings.Join(cookies, "; ")})
	}
	switch {
	case k.framing == "length", k.framing != "chunked" && slices.Contains([]string{"POST", "PUT", "PATCH"}, k.method):
		w.header = append(w.header, [2]string{"Content-Length", strconv.Itoa(len(k.body))})
	case k.framing == "chunked":
		w.header = append(w.header, [2]string{"Transfer-Encoding", "chunked"})
	}
	w.header = byName(w.header)
	return w
}

// compareRequest reports how what the app saw differs from what was sent.
func compareRequest(k *fidelityCase, protocol string, got seenRequest) string {
	w := wantRequest(k, protocol)
	got.header = byName(slices.DeleteFunc(slices.Clone(got.header), func(l [2]string) bool { return added(l[0]) }))
	switch {
	case got.line != w.line:
		return fmt.Sprintf("the app was asked %q, not %q", got.line, w.line)
	case !got.whole:
		return "the app got half a body"
	case got.body != w.body:
		return fmt.Sprintf("the app got a body of %d bytes, not %d", len(got.body), len(w.body))
	case !slices.Equal(got.header, w.header):
		return fmt.Sprintf("the app got\n%q\nnot\n%q", got.header, w.header)
	}
	return ""
}

// ownOfHop are the lines that belong to one connection, or that the gateway
// gives every answer.
func ownOfHop(name string) bool {
	switch name {
	case "connection", "transfer-encoding", "trailer", "strict-transport-security":
		return true
	}
	return false
}

// compareAnswer reports how what the client saw differs from what the app said.
func compareAnswer(k *fidelityCase, a gatetest.RawAnswer) string {
	if k.cut {
		if a.Err == nil {
			return "a cut answer looked whole"
		}
		return ""
	}
	if a.Err != nil {
		return "the answer ended: " + a.Err.Error()
	}
	want := slices.Clone(k.respond)
	// A 304 has no content (RFC 9110 section 15.4.5); over HTTP/1.1 net/http
	// leaves out what describes it.
	ofContent := func(l [2]string) bool {
		return k.status == 304 && (l[0] == "content-type" || l[0] == "content-length")
	}
	want = slices.DeleteFunc(want, ofContent)
	if k.ends == "length" {
		n := len(k.answer)
		if k.method == "HEAD" {
			n = 321
		}
		want = append(want, [2]string{"content-length", strconv.Itoa(n)})
	}
	dated := first(want, "date") != ""
	got := slices.DeleteFunc(slices.Clone(a.Header), func(l [2]string) bool {
		return ownOfHop(l[0]) || ofContent(l) || l[0] == "date" && !dated || l[0] == "content-length" && first(want, "content-length") == "" && l[1] == strconv.Itoa(len(k.answer))
	})
	trailer := slices.DeleteFunc(slices.Clone(k.after), func(l [2]string) bool { return l[0] == "set-cookie" })
	for _, n := range a.Interim {
		if n != 100 || !k.expect {
			return fmt.Sprintf("interim answers %v", a.Interim)
		}
	}
	switch {
	case a.Status != k.status:
		return fmt.Sprintf("status %d, not %d", a.Status, k.status)
	case !slices.Equal(byName(got), byName(want)):
		return fmt.Sprintf("the client got\n%q\nnot\n%q", byName(got), byName(want))
	case a.Body != k.answer:
		return fmt.Sprintf("the client got a body of %d bytes, not %d", len(a.Body), len(k.answer))
	case !slices.Equal(byName(a.Trailer), byName(trailer)):
		return fmt.Sprintf("the client got trailers %q, not %q", a.Trailer, trailer)
	}
	return ""
}

// TestT058_T061_ByteFidelity sends generated odd but legal exchanges through
// the gateway, each over HTTP/1.1 and HTTP/2, and compares every byte that is
// not the gateway's business, both ways.
func TestT058_T061_ByteFidelity(t *testing.T) {
	cases := fidelityCases(4, gatetest.Scale(3000, 30000))
	app := &fidelityApp{cases: cases, got: map[string]seenRequest{}}
	up := gatetest.NewRawApp(t, app.serve)
	g := gatetest.Start(t, "log: {access: false}\nroutes:\n  - {name: bytes, host: bytes.test, access: public, upstream: \""+up.URL()+"\"}\n")
	var wg sync.WaitGroup
	var mu sync.Mutex
	differences := 0
	report := func(protocol string, i int, diff string) {
		mu.Lock()
		defer mu.Unlock()
		if differences++; differences <= 20 {
			k := cases[i]
			k.body, k.answer = "", ""
			t.Errorf("case %d over %s: %.700s\n%.500q", i, protocol, diff, fmt.Sprintf("%+v", k))
		}
	}
	const workers = 4
	for w := range workers {
		for _, protocol := range []string{"h1", "h2"} {
			wg.Go(func() {
				var c1 *gatetest.Raw1
				var c2 *gatetest.Raw2
				for i := w; i < len(cases); i += workers {
					k, key := &cases[i], protocol+strconv.Itoa(i)
					var a gatetest.RawAnswer
					if protocol == "h1" {
						if c1 == nil {
							c1 = g.Raw1("bytes.test")
						}
						a = ask1(c1, key, k)
						if a.Err != nil || slices.Contains(a.Values("Connection"), "close") || k.early {
							_ = c1.Close()
							c1 = nil
						}
					} else {
						if c2 == nil {
							c2 = g.Raw2("bytes.test")
						}
						a = ask2(c2, key, k)
						// Trailers that are late for an early answer are to net/http an offence of the whole connection.
						if k.early && k.trailer {
							c2.Close()
							c2 = nil
						}
					}
					app.mu.Lock()
					got, ok := app.got[key]
					app.mu.Unlock()
					if diff := compareAnswer(k, a); diff != "" {
						report(protocol, i, diff)
					}
					if k.early {
						continue // whether the app gets the rest is the app's business
					}
					if !ok {
						report(protocol, i, "the app was not asked")
					} else if diff := compareRequest(k, protocol, got); diff != "" {
						report(protocol, i, diff)
					}
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d cases over 2 protocols, %d differences, %d connections to the app", len(cases), differences, up.Conns())
}
