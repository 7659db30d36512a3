package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
)

const okHead = ":status: 200\n"

func TestAnAnswerInFull(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-B"] = []string{"1", "2"}
		h["X-A"] = []string{" a\r\nb "}
		h["Connection"] = []string{"x"}
		h["Set-Cookie"] = []string{"s=1"}
		h["bad name"] = []string{"x"}
		_, _ = fmt.Fprintf(w, "%s %s %s %v", r.Method, r.Host, r.RequestURI, r.Header["Cookie"])
	})
	c := s.dial()
	c.ask(1, true, get("/x?y", "cookie: a=1", "cookie: b=2")...)
	want := answer{head: okHead + "set-cookie: s=1\nx-a: a  b\nx-b: 1\nx-b: 2\ncontent-length: 25\n", body: "GET a.test /x?y [a=1; b=2]"}
	want.head = strings.Replace(want.head, "25", fmt.Sprint(len(want.body)), 1)
	if got := c.answer(1); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v\nnot\n%+v", got, want)
	}
}

// How an answer ends is told by its length, by END_STREAM or by a reset, and
// never looks whole when it is not.
func TestHowAnswersEnd(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	cases := map[string]struct {
		method string
		h      http.HandlerFunc
		want   answer
	}{
		"nothing": {"GET", func(http.ResponseWriter, *http.Request) {}, answer{head: okHead + "content-length: 0\n"}},
		"head": {"HEAD", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "7")
			_, _ = io.WriteString(w, "1234567")
		}, answer{head: okHead + "content-length: 7\n"}},
		"head of a measured one": {"HEAD", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "12") }, answer{head: okHead + "content-length: 2\n"}},
		"head of who knows":      {"HEAD", func(http.ResponseWriter, *http.Request) {}, answer{head: okHead}},
		"no content":             {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204); _, _ = io.WriteString(w, "no") }, answer{head: ":status: 204\n"}},
		"not modified": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/x")
			w.Header().Set("Etag", "x")
			w.WriteHeader(304)
		}, answer{head: ":status: 304\netag: x\n"}},
		"long": {"GET", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) }, answer{head: okHead, body: long}},
		"too short": {"GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "ab")
		}, answer{reset: "INTERNAL_ERROR"}},
		"too long":   {"GET", tooLong, answer{head: okHead + "content-length: 1\n", body: "a"}},
		"panic":      {"GET", func(http.ResponseWriter, *http.Request) { panic("a bug") }, answer{reset: "INTERNAL_ERROR"}},
		"cut":        {"GET", cutOff, answer{head: okHead, body: "half", reset: "INTERNAL_ERROR"}},
		"trailers":   {"GET", trailers, answer{head: okHead + "trailer: X-Sum\ncontent-length: 3\n", body: "sum", trailers: "x-sum: 7\nx-more: 8\n"}},
		"no answer":  {"GET", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, answer{reset: "INTERNAL_ERROR"}},
		"interim":    {"GET", interim, answer{interim: []string{":status: 103\nlink: </x>\n"}, head: okHead + "link: </x>\ncontent-length: 1\n", body: "x"}},
		"in two":     {"GET", inTwo, answer{head: okHead, body: "onetwo"}},
		"late field": {"GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.Header().Set("X-Late", "1") }, answer{head: ":status: 201\ncontent-length: 0\n"}},
	}
	for name, one := range cases {
		t.Run(name, func(t *testing.T) {
			c := serve(t, one.h).dial(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 20})
			_ = c.WriteWindowUpdate(0, 1<<20)
			c.ask(1, true, ":method: "+one.method, ":scheme: https", ":authority: a.test", ":path: /")
			if got := c.answer(1); fmt.Sprint(got) != fmt.Sprint(one.want) {
				t.Errorf("%.300v\nnot\n%.300v", got, one.want)
			}
			c.ask(3, true, get("/")...) // the connection is whole
			if got := c.answer(3); got.gone != "" {
				t.Errorf("then %+v", got)
			}
		})
	}
}

func tooLong(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1")
	_, _ = io.WriteString(w, "a")
	if _, err := io.WriteString(w, "b"); !errors.Is(err, http.ErrContentLength) {
		panic("more than was announced")
	}
}

func cutOff(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "half")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func trailers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	_, _ = io.WriteString(w, "sum")
	w.Header().Set("X-Sum", "7")
	w.Header().Set(http.TrailerPrefix+"X-More", "8")
}

func interim(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Link", "</x>")
	w.WriteHeader(103)
	_, _ = io.WriteString(w, "x")
}

func inTwo(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "one")
	_ = http.NewResponseController(w).Flush()
	_, _ = io.WriteString(w, "two")
}

// echo answers with the body, and what was left of it.
func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%d %s %v %d %v", r.ContentLength, b, err, len(r.Header["Expect"]), r.Trailer)
}

func TestBodies(t *testing.T) {
	s := serve(t, echo)
	for name, one := range map[string]struct {
		fields []string
		parts  []string
		tail   []string // trailers; nil ends with the last part
		want   answer
	}{
		"unknown length":             {nil, []string{"ab", "", "cd"}, nil, answer{body: "-1 abcd <nil> 0 map[]"}},
		"its length":                 {[]string{"content-length: 4"}, []string{"ab", "cd"}, nil, answer{body: "4 abcd <nil> 0 map[]"}},
		"too much":                   {[]string{"content-length: 3"}, []string{"ab", "cd"}, nil, answer{reset: "PROTOCOL_ERROR"}},
		"too little":                 {[]string{"content-length: 5"}, []string{"ab", "cd"}, nil, answer{reset: "PROTOCOL_ERROR"}},
		"trailers":                   {[]string{"trailer: x-t, host"}, []string{"ab"}, []string{"x-t: 1", "x-u: 2"}, answer{body: "-1 ab <nil> 0 map[Host:[] X-T:[1]]"}},
		"trailers behind too little": {[]string{"content-length: 5"}, []string{"ab"}, []string{"x-t: 1"}, answer{reset: "PROTOCOL_ERROR"}},
		"trailers that are a head":   {nil, []string{"ab"}, []string{":path: /"}, answer{reset: "PROTOCOL_ERROR"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial()
			c.ask(1, false, post("/", one.fields...)...)
			for i, part := range one.parts {
				_ = c.WriteData(1, one.tail == nil && i == len(one.parts)-1, []byte(part))
			}
			if one.tail != nil {
				_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(one.tail...), EndHeaders: true, EndStream: true})
			}
			got := c.answer(1)
			got.head = ""
			if fmt.Sprint(got) != fmt.Sprint(one.want) {
				t.Errorf("%+v\nnot\n%+v", got, one.want)
			}
		})
	}
}

// A client that waits to be asked for the body is (RFC 9110 section 10.1.1),
// unless it has its answer.
func TestExpectContinue(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(403)
			return
		}
		echo(w, r)
	})
	c := s.dial()
	c.ask(1, false, post("/", "expect: 100-continue")...)
	c.until(func(f h2.Frame) bool {
		h, ok := f.(*h2.HeadersFrame)
		return ok && strings.Contains(c.lines(h), ":status: 100")
	})
	_ = c.WriteData(1, true, []byte("body"))
	if got := c.answer(1); got.body != "-1 body <nil> 0 map[]" {
		t.Errorf("%+v", got)
	}
	c.ask(3, false, post("/no", "expect: 100-continue")...)
	if got := c.answer(3); !strings.HasPrefix(got.head, ":status: 403") || len(got.interim) > 0 {
		t.Errorf("%+v", got)
	}
	c.until(func(f h2.Frame) bool { // nobody will read what it may send
		r, ok := f.(*h2.RSTStreamFrame)
		return ok && r.StreamID == 3 && r.ErrCode == h2.ErrCodeNo
	})
	_ = c.WriteData(3, false, []byte("sent before it heard"))
	c.ask(5, true, get("/")...)
	if got := c.answer(5); !strings.HasPrefix(got.head, okHead) {
		t.Errorf("then %+v", got)
	}
}

// What is no request is refused, alone (RFC 9113 section 8.1.1).
func TestMalformedRequests(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("served %v %q", r, r.Header) })
	for _, lines := range [][]string{
		{":method: GET", ":scheme: https", ":authority: a.test"},
		{":method: GET", ":path: /", ":authority: a.test"},
		{":scheme: https", ":path: /", ":authority: a.test"},
		{":method: ", ":scheme: https", ":path: /", ":authority: a.test"},
		{":method: GET", ":scheme: ftp", ":path: /", ":authority: a.test"},
		{":method: GET", ":scheme: https", ":path: ", ":authority: a.test"},
		{":method: GET", ":scheme: https", ":path: x", ":authority: a.test"},
		{":method: GET", ":scheme: https", ":path: http://b.test/", ":authority: a.test"},
		{":method: GET", ":scheme: https", ":path: /%zz", ":authority: a.test"},
		{":method: GET / HTTP/1.1", ":scheme: https", ":path: /", ":authority: a.test"},
		{":method: GET", ":scheme: https", ":path: /", ":authority: u@a.test"},
		{":method: GET", ":scheme: https", ":path: /", ":authority: a test"},
		{":method: CONNECT", ":scheme: https", ":path: /", ":authority: a.test"},
		{":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /", ":authority: a.test"},
		get("/", "host: a.test", "host: a.test"), get("/", "Upper: x"), get("/", "a b: x"), get("/", "x: a\r\nb"), get("/", ":late: x"),
		get("/", "content-length: 1"), get("/", "content-length: x"), get("/", "content-length: -1"), get("/", "content-length: 0", "content-length: 0", "content-length: 3"),
	} {
		c := s.dial()
		c.ask(1, true, lines...)
		if got := c.answer(1); got.reset != "PROTOCOL_ERROR" || got.gone != "" {
			t.Errorf("%q: %+v", lines, got)
		}
	}
}

// Some requests get an answer that no handler makes.
func TestRefusedRequests(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("served %v", r.Header) })
	for status, more := range map[string][]string{
		"400 Bad Request": {"connection: keep-alive"}, "400 Bad Request ": {"transfer-encoding: chunked"}, "400 Bad Request  ": {"te: gzip"}, "400 Bad Request   ": {"upgrade: h2c"},
		"431 Request Header Fields Too Large":  {"x-a: " + strings.Repeat("a", 17<<10), "x-b: " + strings.Repeat("a", 16<<10)},
		"431 Request Header Fields Too Large ": {":path: /" + strings.Repeat("a", 33_050)},
	} {
		status = strings.TrimSpace(status)
		c := s.dial()
		lines := get("/", more...)
		if strings.HasPrefix(more[0], ":path") {
			lines = append(lines[:3:3], more[0])
		}
		block := c.block(lines...)
		_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:min(len(block), 16<<10)], EndHeaders: len(block) <= 16<<10})
		for rest := block[min(len(block), 16<<10):]; len(rest) > 0; {
			n := min(len(rest), 16<<10)
			_ = c.WriteContinuation(1, n == len(rest), rest[:n])
			rest = rest[n:]
		}
		if got := c.answer(1); got.body != status || !strings.HasPrefix(got.head, ":status: "+status[:3]) || !strings.Contains(got.head, "x-extra: yes\n") {
			t.Errorf("%q: %+v", status, got)
		}
		c.until(func(f h2.Frame) bool { r, ok := f.(*h2.RSTStreamFrame); return ok && r.ErrCode == h2.ErrCodeNo })
	}
}

// What a connection must not be made to do ends it, with the reason (RFC 9113
// section 5.4.1).
func TestConnectionErrors(t *testing.T) {
	for name, one := range map[string]struct {
		code string
		do   func(c *client)
	}{
		"an even stream":        {"PROTOCOL_ERROR", func(c *client) { c.ask(2, true, get("/")...) }},
		"a stream that went by": {"PROTOCOL_ERROR", func(c *client) { c.ask(5, true, get("/")...); c.answer(5); c.ask(3, true, get("/")...) }},
		"data of no stream":     {"PROTOCOL_ERROR", func(c *client) { _ = c.WriteData(1, false, nil) }},
		"a window of no stream": {"PROTOCOL_ERROR", func(c *client) { _ = c.WriteWindowUpdate(1, 1) }},
		"a reset of no stream":  {"PROTOCOL_ERROR", func(c *client) { _ = c.WriteRSTStream(1, 0) }},
		"a promise": {"PROTOCOL_ERROR", func(c *client) {
			_ = c.WritePushPromise(h2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}},
		"a block nobody began": {"PROTOCOL_ERROR", func(c *client) { _ = c.WriteContinuation(1, true, nil) }},
		"a frame within a block": {"PROTOCOL_ERROR", func(c *client) {
			_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(get("/")...)})
			_ = c.WritePing(false, [8]byte{})
		}},
		"a block that is none": {"COMPRESSION_ERROR", func(c *client) {
			_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}},
		"a large frame":           {"FRAME_SIZE_ERROR", func(c *client) { _ = c.WriteRawFrame(h2.FrameData, 0, 1, make([]byte, 16<<10+1)) }},
		"a window too wide":       {"FLOW_CONTROL_ERROR", func(c *client) { _ = c.WriteWindowUpdate(0, windowMost) }},
		"windows of streams":      {"FLOW_CONTROL_ERROR", func(c *client) { _ = c.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1 << 31}) }},
		"the same setting twice":  {"PROTOCOL_ERROR", func(c *client) { s := h2.Setting{ID: h2.SettingMaxFrameSize, Val: 1 << 14}; _ = c.WriteSettings(s, s) }},
		"no preface":              {"PROTOCOL_ERROR", nil},
		"another's unread window": {"FLOW_CONTROL_ERROR", func(c *client) { overflow(c) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					<-r.Context().Done()
				}
			})
			c := s.dialSilent()
			if one.do == nil {
				_, _ = io.WriteString(c.Conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
			} else {
				c = s.dial()
				one.do(c)
			}
			if got := c.answer(99); got.gone != one.code {
				t.Errorf("%+v, not %s", got, one.code)
			}
		})
	}
}

// overflow sends more than the windows of three streams together allow.
func overflow(c *client) {
	for id := uint32(1); id <= 5; id += 2 {
		c.ask(id, false, post("/")...)
		for range 30 {
			_ = c.WriteData(id, false, make([]byte, 16<<10))
		}
	}
}

// A stream's fault ends the stream.
func TestStreamErrors(t *testing.T) {
	for name, one := range map[string]struct {
		code string
		do   func(c *client)
	}{
		"depends on itself":     {"PROTOCOL_ERROR", func(c *client) { _ = c.WritePriority(1, h2.PriorityParam{StreamDep: 1}) }},
		"says more at its end":  {"STREAM_CLOSED", func(c *client) { c.ask(1, true, post("/")...); _ = c.WriteData(1, true, nil) }},
		"has a second head":     {"STREAM_CLOSED", func(c *client) { c.ask(1, true, post("/")...); c.ask(1, true, get("/")...) }},
		"goes on with a head":   {"PROTOCOL_ERROR", func(c *client) { c.ask(1, false, post("/")...); c.ask(1, false, "x: y") }},
		"has too wide a window": {"FLOW_CONTROL_ERROR", func(c *client) { c.ask(1, false, post("/")...); _ = c.WriteWindowUpdate(1, windowMost) }},
		"has no increment": {"PROTOCOL_ERROR", func(c *client) {
			c.ask(1, false, post("/")...)
			_ = c.WriteRawFrame(h2.FrameWindowUpdate, 0, 1, make([]byte, 4))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					<-r.Context().Done()
				}
			})
			c := s.dial()
			one.do(c)
			if got := c.answer(1); got.reset != one.code {
				t.Errorf("%+v, not %s", got, one.code)
			}
			c.ask(3, true, get("/")...)
			if got := c.answer(3); got.head == "" {
				t.Errorf("then %+v", got)
			}
		})
	}
}

// Go's own client, many requests at a time, bodies both ways.
func TestManyAtATime(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, i*1000)
			r, err := http.NewRequestWithContext(t.Context(), "POST", "http://a.test/", io.NopCloser(bytes.NewReader(body)))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes of %d: %v", len(got), len(body), err)
			}
		})
	}
	all.Wait()
}

// A deadline in a century is none.
func TestFarDeadlines(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().AddDate(300, 0, 0)); err != nil {
			t.Error(err)
		}
	})
	c := s.dial()
	c.ask(1, true, get("/")...)
	if got := c.answer(1); got.reset != "" {
		t.Errorf("%+v", got)
	}
}

func TestDeadlines(t *testing.T) {
	ended := make(chan error, 3)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		var err error
		switch r.URL.Path {
		case "/read":
			_ = rc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			_, err = r.Body.Read(make([]byte, 1))
		case "/past":
			_ = rc.SetReadDeadline(time.Now().Add(-time.Second))
			_, err = r.Body.Read(make([]byte, 1))
		case "/write":
			_ = rc.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			_, err = w.Write(make([]byte, 1<<20))
		}
		ended <- err
	})
	c := s.dial()
	for i, path := range []string{"/read", "/past", "/write"} {
		c.ask(uint32(2*i+1), false, post(path)...)
		err := <-ended
		if path == "/write" {
			if !errors.Is(err, errReset) {
				t.Errorf("%s: %v", path, err)
			}
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := c.answer(5); got.reset != "INTERNAL_ERROR" {
		t.Errorf("%.200v", got)
	}
}
