package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/web"
)

func TestDispatch(t *testing.T) {
	g := start(t, func(o *Options) { o.Config.UI.ForwardAuthAliases = true })
	both(t, func(t *testing.T, h2 bool) {
		c := g.client(h2)
		for _, tc := range []struct {
			method, url string
			status      int
			body, code  string
		}{
			{"GET", "https://app.example.com/", 200, "proxy", ""},
			{"GET", "https://app.example.com/_auth", 200, "own", ""},
			{"GET", "https://app.example.com/_auth/", 200, "own", ""},
			{"GET", "https://app.example.com/_auth/login?x=1", 200, "own", ""},
			{"GET", "https://app.example.com/_auth/verify", 200, "verify", ""},
			{"GET", "https://app.example.com/_auth/verify/", 200, "own", ""},
			{"GET", "https://app.example.com/_authx", 200, "proxy", ""},
			{"GET", "https://app.example.com/%5fauth/login", 200, "proxy", ""},
			{"GET", "https://app.example.com/validate", 200, "verify", ""},
			{"GET", "https://app.example.com/oauth2/auth", 200, "verify", ""},
			{"PROPFIND", "https://app.example.com/dav", 200, "proxy", ""},
			{"GET", "https://APP.example.com/", 200, "proxy", ""},
			{"GET", "https://app.example.com:8443/", 200, "proxy", ""},
			{"TRACE", "https://app.example.com/", 405, "", "method_not_allowed"},
		} {
			resp, body := g.get(c, tc.method, tc.url, nil)
			if resp.StatusCode != tc.status || (tc.body != "" && body != tc.body) || resp.Header.Get("Gatehouse-Response") != tc.code {
				t.Errorf("%s %s: %d %q code %q", tc.method, tc.url, resp.StatusCode, body, resp.Header.Get("Gatehouse-Response"))
			}
		}
		for _, path := range []string{"/", "/_auth/login", "/_auth/verify"} {
			resp, _ := g.get(c, "GET", "https://app.example.com"+path, nil, "Host", "evil.example")
			if resp.StatusCode != 421 || resp.Header.Get("Gatehouse-Response") == "" {
				t.Errorf("unknown host, %s: %d", path, resp.StatusCode)
			}
		}
	})
}

func TestRawRequests(t *testing.T) {
	g := start(t, nil)
	for _, tc := range []struct {
		name, text string
		status     int
	}{
		{"options of the server", "OPTIONS * HTTP/1.1\r\nHost: app.example.com\r\n\r\n", 200},
		{"connect", "CONNECT app.example.com:443 HTTP/1.1\r\nHost: app.example.com:443\r\n\r\n", 405},
		{"star with get", "GET * HTTP/1.1\r\nHost: app.example.com\r\n\r\n", 400},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: app.example.com\r\nHost: app.example.com\r\n\r\n", 400},
		{"host with a path", "GET / HTTP/1.1\r\nHost: app.example.com/x\r\n\r\n", 400},
		{"host with a user", "GET / HTTP/1.1\r\nHost: a@app.example.com\r\n\r\n", 400},
		{"host with a bad port", "GET / HTTP/1.1\r\nHost: app.example.com:x\r\n\r\n", 400},
		{"absolute form names the host", "GET https://evil.example/ HTTP/1.1\r\nHost: app.example.com\r\n\r\n", 421},
		{"absolute form of ours", "GET https://app.example.com/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, _ := send(t, g.raw(testHost), tc.text)
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tc.status)
			}
		})
	}
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]string{
		"a.example": "a.example", "A.Example:8443": "a.example", "[::1]:1": "[::1]", "[::1]": "[::1]", "localhost": "localhost", "127.0.0.1:80": "127.0.0.1",
		"": "", ":80": "", "a:": "", "a:1234567": "", "a..b": "", ".a": "", "a b": "", "[::1": "", "[1.2.3.4]": "", "[::1%eth0]": "", "a/b": "", "ä.example": "", "a,b": "",
		strings.Repeat("a", 254): "",
	} {
		got, ok := hostOf(in)
		if ok != (want != "") || (ok && got != want) {
			t.Errorf("hostOf(%q) = %q, %v", in, got, ok)
		}
	}
}

func TestRequestIDIsOurs(t *testing.T) {
	seen := map[string]bool{}
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, web.RecordOf(w).ID) })
	})
	both(t, func(t *testing.T, h2 bool) {
		c := g.client(h2)
		for range 20 {
			_, id := g.get(c, "GET", "https://"+testHost+"/", nil, "X-Request-Id", "chosen-by-client")
			if len(id) != 32 || seen[id] {
				t.Fatalf("request id %q", id)
			}
			seen[id] = true
		}
	})
}

func TestT020_T017_RecordSaysWhoCalls(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Config.Listen.TrustedProxies = prefixes("127.0.0.1/32")
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := web.RecordOf(w)
			fmt.Fprint(w, rec.Client, " ", rec.PeerTrusted, " ", rec.Secure)
		})
	})
	if _, got := g.get(g.client(false), "GET", "https://"+testHost+"/", nil, "X-Forwarded-For", "203.0.113.5"); got != "203.0.113.5 true true" {
		t.Errorf("https: %s", got)
	}
	if _, got := g.get(g.client(false), "GET", "http://"+testHost+"/", nil, "X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"); got != "203.0.113.5 true true" {
		t.Errorf("plain behind a TLS proxy: %s", got)
	}
	// forward-auth is asked by its own address.
	if resp, got := g.get(g.client(false), "GET", "https://"+testHost+"/_auth/verify", nil, "X-Forwarded-Proto", "http"); resp.StatusCode != 200 || got != "verify" {
		t.Errorf("verify about a request that came in clear: %d %s", resp.StatusCode, got)
	}
	if resp, got := g.get(g.client(false), "GET", "https://"+testHost+"/_auth/verify", nil, "Host", "127.0.0.1:8443"); resp.StatusCode != 200 || got != "verify" {
		t.Errorf("verify of a trusted proxy by address: %d %s", resp.StatusCode, got)
	}
}

func TestT042_BothFramingsEndTheConnection(t *testing.T) {
	var bodies []string
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(b))
			w.Header().Set("Connection", "keep-alive")
			_, _ = io.WriteString(w, "ok")
		})
	})
	c := g.raw(testHost)
	resp, br := send(t, c, "POST / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
	if resp.StatusCode == 200 && !resp.Close {
		t.Error("the connection stays open after Content-Length with Transfer-Encoding")
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	if rest, err := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("a second answer came: %q (%v)", rest, err)
	}
	if len(bodies) != 1 || bodies[0] != "abc" {
		t.Errorf("the handler saw %q", bodies)
	}
}

func TestT042_OneFramingKeepsTheConnection(t *testing.T) {
	g := start(t, nil)
	c := g.raw(testHost)
	for range 2 {
		for _, framed := range []string{"Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"} {
			resp, _ := send(t, c, "POST / HTTP/1.1\r\nHost: app.example.com\r\n"+framed)
			if resp.StatusCode != 200 || resp.Close {
				t.Fatalf("%q: status %d, close %v", framed, resp.StatusCode, resp.Close)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
	}
}

func TestT076_T119_PlainHTTP(t *testing.T) {
	asked := false
	g := start(t, func(o *Options) {
		tell := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = true
			http.SetCookie(w, &http.Cookie{Name: "x", Value: "y"})
		})
		o.Own, o.Proxy, o.Verify = tell, tell, tell
		o.Config.Tokens.Issuer = "https://app.example.com:8443"
	})
	c := g.client(false)
	nav := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}
	for _, tc := range []struct {
		name, method, url string
		header            []string
		status            int
		location          string
	}{
		{"navigation", "GET", "http://app.example.com/a%20b?x=1&y=%2F", nav, 308, "https://app.example.com:8443/a%20b?x=1&y=%2F"},
		{"head", "HEAD", "http://app.example.com/", nav, 308, "https://app.example.com:8443/"},
		{"own page", "GET", "http://app.example.com/_auth/login", nav, 308, "https://app.example.com:8443/_auth/login"},
		{"double slash stays a path", "GET", "http://app.example.com//evil.example/", nav, 308, "https://app.example.com:8443//evil.example/"},
		{"program", "GET", "http://app.example.com/", []string{"Accept", "application/json"}, 403, ""},
		{"bearer", "GET", "http://app.example.com/", append(nav[:4:4], "Authorization", "Bearer secret-token"), 403, ""},
		{"form", "POST", "http://app.example.com/_auth/login", nav, 403, ""},
		{"unknown host", "GET", "http://app.example.com/", append(nav[:4:4], "Host", "evil.example"), 421, ""},
		{"stranger claims https", "GET", "http://app.example.com/", []string{"X-Forwarded-Proto", "https"}, 403, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := g.get(c, tc.method, tc.url, nil, tc.header...)
			if resp.StatusCode != tc.status || resp.Header.Get("Location") != tc.location {
				t.Errorf("%d, Location %q, want %d %q", resp.StatusCode, resp.Header.Get("Location"), tc.status, tc.location)
			}
			if resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Strict-Transport-Security") != "" {
				t.Errorf("headers that plain http must not have: %v", resp.Header)
			}
			if resp.Header.Get("Gatehouse-Response") == "" || strings.Contains(body, "secret-token") {
				t.Errorf("answer %v %q", resp.Header, body)
			}
		})
	}
	if asked {
		t.Error("a handler was asked over plain http")
	}
	if strings.Contains(g.log.String(), "secret-token") {
		t.Error("the credential is in the log")
	}
}

func TestT120_HSTSOnceOnEveryAnswer(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Config.TLS.HSTS.IncludeSubdomains = true
		o.Config.TLS.HSTS.Preload = true
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Strict-Transport-Security", "max-age=0")
			w.Header().Add("Strict-Transport-Security", "max-age=1")
			switch r.URL.Path {
			case "/panic":
				panic("x")
			case "/moved":
				w.Header().Set("Location", "/")
				w.WriteHeader(http.StatusFound)
			case "/early":
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusNotFound)
			case "/flush":
				_ = http.NewResponseController(w).Flush()
			}
		})
	})
	both(t, func(t *testing.T, h2 bool) {
		c := g.client(h2)
		for _, tc := range []struct {
			method, path, host string
			status             int
		}{
			{"GET", "/", testHost, 200}, {"GET", "/panic", testHost, 500}, {"GET", "/moved", testHost, 302}, {"GET", "/early", testHost, 404},
			{"GET", "/flush", testHost, 200}, {"GET", "/_auth/", testHost, 200}, {"GET", "/", "evil.example", 421}, {"TRACE", "/", testHost, 405},
		} {
			resp, _ := g.get(c, tc.method, "https://"+testHost+tc.path, nil, "Host", tc.host)
			got := resp.Header.Values("Strict-Transport-Security")
			if resp.StatusCode != tc.status || len(got) != 1 || got[0] != "max-age=31536000; includeSubDomains; preload" {
				t.Errorf("%s %s: %d, %q", tc.method, tc.path, resp.StatusCode, got)
			}
		}
	})
}

func TestT124_HeaderLimits(t *testing.T) {
	g := start(t, nil)
	both(t, func(t *testing.T, h2 bool) {
		c := g.client(h2)
		fields := func(n int) []string {
			var h []string
			for i := range n {
				h = append(h, fmt.Sprintf("X-%d", i), "v")
			}
			return h
		}
		for _, tc := range []struct {
			name   string
			header []string
			status int
		}{
			{"many but allowed", fields(90), 200},
			{"too many", fields(101), 431},
			{"too many lines of one name", strings.Split(strings.Repeat("Cookie|a=b|", 101)+"X|y", "|"), 431},
			{"long but allowed", []string{"X-Long", strings.Repeat("v", 30<<10)}, 200},
			{"too long", []string{"X-Long", strings.Repeat("v", 33<<10)}, 431},
		} {
			resp, body := g.get(c, "GET", "https://"+testHost+"/", nil, tc.header...)
			if h2 && tc.name == "too many lines of one name" && resp.StatusCode == 200 {
				continue // HTTP/2 joins cookie fields (RFC 9113 section 8.2.3)
			}
			if resp.StatusCode != tc.status || strings.Contains(body, "vvvv") {
				t.Errorf("%s: %d", tc.name, resp.StatusCode)
			}
		}
	})
	resp, _ := send(t, g.raw(testHost), "GET / HTTP/1.1\r\nHost: app.example.com\r\nX: "+strings.Repeat("v", 80<<10)+"\r\n\r\n")
	if resp.StatusCode != 431 || resp.Header.Get("Gatehouse-Response") != "header_too_large" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("far too long: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = send(t, g.raw(testHost), "GET / HTTP/1.1\r\n\r\n")
	if resp.StatusCode != 400 || resp.Header.Get("Gatehouse-Response") != "bad_request" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("no Host: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestPanicsAreRecovered(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/before":
				w.Header().Set("Set-Cookie", "half=done")
				panic("token-abc in the text")
			case "/runtime":
				var none []int
				_ = none[len(r.URL.Path)]
			case "/after":
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				panic(errors.New("token-abc"))
			case "/abort":
				panic(http.ErrAbortHandler)
			}
		})
	})
	both(t, func(t *testing.T, h2 bool) {
		c := g.client(h2)
		for _, path := range []string{"/before", "/runtime"} {
			resp, body := g.get(c, "GET", "https://"+testHost+path, nil)
			if resp.StatusCode != 500 || resp.Header.Get("Gatehouse-Response") != "internal_error" || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
			}
			if strings.Contains(body, "token-abc") || strings.Contains(body, "nil map") {
				t.Errorf("%s shows a cause: %s", path, body)
			}
		}
		for _, path := range []string{"/after", "/abort"} {
			resp, err := c.Get("https://" + testHost + path)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Errorf("%s looks complete", path)
			}
		}
		resp, _ := g.get(c, "GET", "https://"+testHost+"/fine", nil)
		if resp.StatusCode != 200 {
			t.Errorf("the gateway does not go on: %d", resp.StatusCode)
		}
	})
	if strings.Contains(g.log.String(), "token-abc") {
		t.Error("the panic's text is in the log")
	}
	if n := len(g.log.records(t, "panic while serving")); n != 6 {
		t.Errorf("%d panics logged, want 6", n)
	}
}

func TestT135_T136_AccessLine(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Config.Listen.TrustedProxies = prefixes("127.0.0.1/32")
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := web.RecordOf(w)
			rec.Route, rec.Subject, rec.Session, rec.Verdict, rec.Upstream, rec.UpstreamTime = "wiki", "u1", "s1", "allow", "127.0.0.1:8081", 1500*time.Microsecond
			rec.Err = errors.New("line one\nline two \u202e")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "12345")
		})
	})
	both(t, func(t *testing.T, h2 bool) {
		before := len(g.log.records(t, "request"))
		g.get(g.client(h2), "GET", "https://"+testHost+"/a/%0A%E2%80%AEb?token=query-secret", nil,
			"Authorization", "Bearer header-secret", "Cookie", "__Host-gatehouse=cookie-secret", "X-Forwarded-For", "203.0.113.5",
			"User-Agent", "agent \u202e", "Referer", "https://x/?t=referer-secret")
		eventually(t, "an access line", func() bool { return len(g.log.records(t, "request")) > before })
		all := g.log.records(t, "request")
		if len(all) != before+1 {
			t.Fatalf("%d lines for one request", len(all)-before)
		}
		got := all[before]
		for key, want := range map[string]any{
			"client": "203.0.113.5", "method": "GET", "host": testHost, "path": "/a/%0A%E2%80%AEb", "status": 418.0, "bytes": 5.0, "route": "wiki",
			"subject": "u1", "session": "s1", "verdict": "allow", "upstream": "127.0.0.1:8081", "upstream_ms": 1.5,
			"user_agent": "agent %E2%80%AE", "error": "line one%0Aline two %E2%80%AE", "level": "INFO",
		} {
			if got[key] != want {
				t.Errorf("%s = %v, want %v", key, got[key], want)
			}
		}
		if id, _ := got["request_id"].(string); len(id) != 32 {
			t.Errorf("request_id = %v", got["request_id"])
		}
	})
	if text := g.log.String(); strings.Contains(text, "-secret") || strings.Contains(text, "\u202e") {
		t.Errorf("the log holds what it must not: %s", text)
	}
}

func TestAccessLogCanBeOff(t *testing.T) {
	g := start(t, func(o *Options) { o.Config.Log.Access = false })
	g.get(g.client(false), "GET", "https://"+testHost+"/", nil)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(g.log.records(t, "request")); n != 0 {
		t.Errorf("%d access lines", n)
	}
}

func TestRequestMetrics(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { web.RecordOf(w).Route = "wiki" })
	})
	c := g.client(false)
	for range 3 {
		g.get(c, "GET", "https://"+testHost+"/", nil)
	}
	g.get(c, "BREW", "https://"+testHost+"/", nil)
	g.get(c, "GET", "https://"+testHost+"/_auth/", nil)
	g.get(c, "GET", "https://"+testHost+"/", nil, "Host", "evil.example")
	want := []string{
		`gatehouse_requests_total{code="200",method="GET",route="wiki"} 3`,
		`gatehouse_requests_total{code="200",method="other",route="wiki"} 1`,
		`gatehouse_requests_total{code="200",method="GET",route="(own)"} 1`,
		`gatehouse_requests_total{code="421",method="GET",route="(none)"} 1`,
		`gatehouse_request_duration_seconds_count{route="wiki"} 4`,
		`gatehouse_open_connections{kind="https"}`,
	}
	eventually(t, "all counted", func() bool {
		_, text := g.admin("/metrics")
		for _, w := range want {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	})
	if _, text := g.admin("/metrics"); strings.Contains(text, "evil.example") || strings.Contains(text, "BREW") {
		t.Error("a label holds what a client wrote")
	}
}

func TestT145_NothingAboutTheStack(t *testing.T) {
	g := start(t, nil)
	resp, body := g.get(g.client(false), "GET", "https://"+testHost+"/", nil, "Host", "evil.example")
	for _, name := range []string{"Server", "X-Powered-By", "Via"} {
		if v := resp.Header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
	var problem struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil || len(problem.RequestID) != 32 {
		t.Errorf("no request id in %q", body)
	}
}
