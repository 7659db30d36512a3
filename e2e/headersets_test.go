package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/internal/gatetest"
)

// headerSet makes the header lines of one hostile request.
type headerSet struct {
	*rand.Rand
	names []string
}

func (h headerSet) line() string {
	name := h.spelling(h.names[h.IntN(len(h.names))])
	switch h.IntN(10) {
	case 0:
		return "Connection: " + pickFrom(h.Rand, "", "keep-alive, ", "x,\t") + name
	case 1:
		return "Cookie: " + pickFrom(h.Rand, "a=1; ", "", "$Version=1; ") + "__Host-gatehouse-refresh=evil" + pickFrom(h.Rand, "", "; b=2")
	}
	return name + pickFrom(h.Rand, ": ", ":", ":\t") + pickFrom(h.Rand, "evil", "evil,evil", "evil;q=1", `"evil"`, " evil ", "\u00e9vil evil")
}

// spelling writes a name in another case, and with other separators.
func (h headerSet) spelling(name string) string {
	b := []byte(name)
	for i, c := range b {
		switch {
		case c == '-' && h.IntN(4) == 0:
			b[i] = "_.!#$%&'*+^`|~"[h.IntN(3)*h.IntN(5)]
		case c != '-' && h.IntN(8) == 0:
			b[i] = c ^ 0x20 // the other case of a letter
			if !(b[i] >= 'a' && b[i] <= 'z' || b[i] >= 'A' && b[i] <= 'Z') {
				b[i] = c
			}
		}
	}
	return string(b)
}

func pickFrom(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// visitor sends hostile requests over one connection after another.
type visitor struct {
	t    *testing.T
	g    *gatetest.Gate
	gen  headerSet
	tok  gatetest.Tokens
	wire map[string]*gatetest.Wire
	h2   map[string]*gatetest.Client
}

// signIn gets another token; the queue for passwords may be full at first.
func (v *visitor) signIn() {
	c := v.g.Client("app.test", false)
	for range 60 {
		tok, status := post(c, "/_auth/login", map[string]string{"email": "ann@example.com", "password": password})
		if status == http.StatusOK {
			v.tok = tok
			return
		}
	}
	v.t.Error("no sign-in in 60 tries")
}

// visit sends one header set and says what was wrong with what the app saw.
func (v *visitor) visit() string {
	host := pickFrom(v.gen.Rand, "app.test", "app.test", "open.test", "open.test", "remote.test", "request.test", "webauth.test", "xremote.test", "mapped.test")
	var lines []string
	for range 1 + v.gen.IntN(8) {
		lines = append(lines, v.gen.line())
	}
	own := written(host)
	credential := v.gen.IntN(3)
	if host == "open.test" && credential == 0 {
		lines = append(lines, "Authorization: Bearer "+pickFrom(v.gen.Rand, "someone-elses", "x.y.z"))
	} else {
		own = merged(own, annOn(host, v.tok.User.Sub, v.tok.User.Sid))
		line := gatetest.Bearer(v.tok.AccessToken)
		if credential == 1 {
			line = "Cookie: z=0; __Host-gatehouse=" + v.tok.AccessToken
		}
		lines = slices.Insert(lines, v.gen.IntN(len(lines)+1), line)
	}
	head, err := v.send(host, lines)
	switch {
	case err != nil:
		return fmt.Sprintf("%s %q: %v", host, lines, err)
	case strings.Contains(head, v.tok.AccessToken) || strings.Contains(head, "gatehouse-refresh"):
		return fmt.Sprintf("%s %q: a credential of ours passed:\n%s", host, lines, head)
	}
	if bad := wrong(head, own); bad != "" {
		return fmt.Sprintf("%s %q: %s\n%s", host, lines, bad, head)
	}
	return ""
}

// send is HTTP/1.1 by hand, at times with trailers, as a WebSocket, or HTTP/2.
func (v *visitor) send(host string, lines []string) (string, error) {
	text := " /x HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(lines, "\r\n") + "\r\n"
	switch n := v.gen.IntN(400); {
	case n == 0:
		w := v.g.Wire(host)
		defer func() { _ = w.Close() }()
		a, err := w.Try("GET" + text + "Origin: https://" + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\nSec-WebSocket-Version: 13\r\n\r\n")
		if err != nil || a.StatusCode != http.StatusSwitchingProtocols {
			return "", fmt.Errorf("upgrade: %v %v", a.Response, err)
		}
		return headOf(bufio.NewReader(w.Reader()))
	case n < 20:
		return v.overHTTP2(host, lines)
	case n < 24:
		text = "POST" + text + "Trailer: X-Forwarded-User\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + v.gen.spelling("X-Forwarded-User") + ": evil\r\n\r\n"
	default:
		text = "GET" + text + "\r\n"
	}
	if v.wire[host] == nil {
		v.wire[host] = v.g.Wire(host)
	}
	a, err := v.wire[host].Try(text)
	if errors.Is(err, io.ErrUnexpectedEOF) && a.Response == nil { // a client that got no time to send was cut off
		v.wire[host] = v.g.Wire(host)
		a, err = v.wire[host].Try(text)
	}
	if err != nil || a.StatusCode != 200 {
		return "", fmt.Errorf("%v %v %s", a.Response, err, a.Text)
	}
	if a.Close { // a chunked request ends its connection
		_ = v.wire[host].Close()
		v.wire[host] = nil
	}
	return a.Text, nil
}

func headOf(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		head.WriteString(line)
	}
	return head.String(), nil
}

func (v *visitor) overHTTP2(host string, lines []string) (string, error) {
	if v.h2[host] == nil {
		v.h2[host] = v.g.Client(host, true)
	}
	var sent []string
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		if !strings.EqualFold(name, "Connection") && !strings.EqualFold(name, "Proxy-Connection") { // not of HTTP/2
			sent = append(sent, name+": "+strings.Trim(value, " \t"))
		}
	}
	a, err := v.h2[host].Send("GET", "/x", "", sent...)
	if err != nil || a.StatusCode != 200 {
		return "", fmt.Errorf("%v %v %s", a.Response, err, a.Text)
	}
	return a.Text, nil
}

// TestT001_T002_T003_T005_T006_T007_T011_T012_T013_T020_T060_GeneratedHeaderSets
// sends a million header sets at full size, and compares every line the app
// saw under a name that anybody believes with what the gateway alone writes.
func TestT001_T002_T003_T005_T006_T007_T011_T012_T013_T020_T060_GeneratedHeaderSets(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, gatetest.Echo)
	g := gatetest.Start(t, "tokens: {issuer: \"https://gate.test\", access_ttl: 15m}\n"+headerRoutes(up.URL()))
	g.Must(password+"\n", "user", "add", "Ann@example.com", "--name", annName, "--groups", "staff,b c")
	tok := g.Client("app.test", false).Login("ann@example.com", password)
	total := gatetest.Scale(2000, 1_000_000)
	var done, served atomic.Int64
	var group sync.WaitGroup
	for worker := range 2 * runtime.GOMAXPROCS(0) {
		group.Go(func() {
			v := &visitor{t: t, g: g, tok: tok, gen: headerSet{rand.New(rand.NewPCG(1, uint64(worker))), believed()}, wire: map[string]*gatetest.Wire{}, h2: map[string]*gatetest.Client{}}
			for n := 0; !t.Failed() && done.Add(1) <= int64(total); n++ {
				if n%5000 == 0 {
					served.Add(int64(up.Forget()))
				}
				if n%100_000 == 99_999 { // before it expires
					v.signIn()
				}
				if bad := v.visit(); bad != "" {
					t.Error(bad)
				}
			}
		})
	}
	group.Wait()
	served.Add(int64(up.Forget()))
	t.Logf("%d header sets, the app saw %d requests", total, served.Load())
	if served.Load() != int64(total) && !t.Failed() {
		t.Errorf("the app saw %d requests of %d", served.Load(), total)
	}
}
