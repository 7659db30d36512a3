package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// T118: nothing below TLS 1.2, and of 1.2 only forward-secret AEAD suites.
func TestT118_OldTLSIsRefused(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	try := func(change func(*tls.Config)) error {
		cfg := g.TLSConfig()
		cfg.ServerName = "open.test"
		change(cfg)
		raw, err := g.Dial(t.Context(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Close() }()
		return tls.Client(raw, cfg).HandshakeContext(t.Context())
	}
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if err := try(func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v }); err == nil {
			t.Errorf("%s is accepted", tls.VersionName(v))
		}
	}
	for _, s := range append(tls.InsecureCipherSuites(), tls.CipherSuites()...) {
		good := slices.Contains(s.SupportedVersions, tls.VersionTLS13) ||
			strings.HasPrefix(s.Name, "TLS_ECDHE_ECDSA_") && (strings.Contains(s.Name, "_GCM_") || strings.Contains(s.Name, "CHACHA20"))
		err := try(func(c *tls.Config) {
			c.MinVersion, c.MaxVersion, c.CipherSuites = tls.VersionTLS12, tls.VersionTLS12, []uint16{s.ID}
		})
		if !good && err == nil {
			t.Errorf("%s is accepted", s.Name)
		}
		if good && err != nil && !slices.Contains(s.SupportedVersions, tls.VersionTLS13) {
			t.Errorf("%s is refused: %v", s.Name, err)
		}
	}
	if err := try(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
}

// T119 and T076: in clear, a browser is sent to https and a program is told
// so; credentials reach nobody, and an unknown host goes nowhere.
func TestT119_T076_PlainHTTPTakesNothing(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	tok := g.Client("app.test", true).Login("ann@example.com", password)
	seen := len(up.Seen())
	plain := func(method, host, path, body string, headers ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+g.HTTP+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	for _, tc := range []struct {
		method, host, path, body string
		headers                  []string
		status                   int
		location                 string
	}{
		{"GET", "app.test", "/x?a=1&b=%2F", "", []string{"Accept: text/html"}, 308, "https://app.test/x?a=1&b=%2F"},
		{"GET", "app.test:80", "//evil.test/", "", []string{"Accept: text/html"}, 308, "https://app.test//evil.test/"},
		{"GET", "app.test", "/api", "", []string{"Accept: application/json", gatetest.Bearer(tok.AccessToken)}, 403, ""},
		{"POST", "app.test", "/_auth/login", `{"email":"ann@example.com","password":"` + password + `"}`, []string{"Content-Type: application/json"}, 403, ""},
		{"POST", "app.test", "/", "x", []string{"Accept: text/html"}, 403, ""},
		{"GET", "evil.test", "/", "", []string{"Accept: text/html"}, 421, ""},
		{"GET", "app.test", "/metrics", "", nil, 403, ""},
	} {
		resp := plain(tc.method, tc.host, tc.path, tc.body, tc.headers...)
		if resp.StatusCode != tc.status || resp.Header.Get("Location") != tc.location {
			t.Errorf("%s http://%s%s: %d to %q, want %d to %q", tc.method, tc.host, tc.path, resp.StatusCode, resp.Header.Get("Location"), tc.status, tc.location)
		}
		if len(resp.Header["Set-Cookie"]) > 0 || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s http://%s%s: cookies %v, HSTS %q in clear", tc.method, tc.host, tc.path, resp.Header["Set-Cookie"], resp.Header.Get("Strict-Transport-Security"))
		}
	}
	if len(up.Seen()) != seen {
		t.Errorf("the app saw a request that came in clear:\n%s", up.Last())
	}
}

// T120, T144 and T145: every https answer says HSTS once, whoever made it; none
// says what it was made with, and ours are never stored.
func TestT120_T144_T145_HeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstreamFunc(t, func(head string) string {
		if strings.HasPrefix(head, "GET /break") {
			return "no HTTP at all\r\n\r\n"
		}
		return "HTTP/1.1 404 Not Found\r\nStrict-Transport-Security: max-age=0\r\nGatehouse-Response: forged\r\nContent-Length: 3\r\n\r\napp"
	})
	g := gatetest.Start(t, appRoute(up.URL())+"  - {name: down, host: down.test, upstream: \"http://127.0.0.1:1\", access: public}\n")
	for _, tc := range []struct {
		host, path string
		status     int
		ours       bool
	}{
		{"open.test", "/", 404, false}, {"open.test", "/break", 502, true}, {"down.test", "/", 502, true},
		{"app.test", "/", 401, true}, {"open.test", "/%00", 400, true}, {"app.test", "/_auth/login", 200, true},
		{"app.test", "/_auth/nothing", 404, true}, {"app.test", "/_auth/jwks.json", 200, false},
		{"open.test", "/metrics", 404, false}, {"open.test", "/debug/pprof/", 404, false}, {"open.test", "/healthz", 404, false},
	} {
		for _, http2 := range []bool{false, true} {
			a := g.Client(tc.host, http2).Must(http.MethodGet, tc.path, "")
			if a.StatusCode != tc.status {
				t.Errorf("%s%s: %d, want %d", tc.host, tc.path, a.StatusCode, tc.status)
			}
			if hsts := a.Header["Strict-Transport-Security"]; len(hsts) != 1 || hsts[0] != "max-age=31536000" {
				t.Errorf("%s%s: HSTS %q", tc.host, tc.path, hsts)
			}
			for _, name := range []string{"Server", "X-Powered-By"} {
				if a.Header.Get(name) != "" {
					t.Errorf("%s%s: %s: %s", tc.host, tc.path, name, a.Header.Get(name))
				}
			}
			if tc.ours && (a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Gatehouse-Response") == "") {
				t.Errorf("%s%s: Cache-Control %q, Gatehouse-Response %q", tc.host, tc.path, a.Header.Get("Cache-Control"), a.Header.Get("Gatehouse-Response"))
			}
			if strings.Contains(a.Text, "127.0.0.1") || strings.Contains(a.Text, "go1.") || a.Header.Get("Gatehouse-Response") == "forged" {
				t.Errorf("%s%s shows too much: %v %s", tc.host, tc.path, a.Header, a.Text)
			}
		}
	}
}

// T122: a connection that was opened with a certificate for one host does not
// serve a host the certificate is not for.
func TestT122_RequestForAnotherCertificatesHost(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, "tls: {certificates: [{cert_file: gate.crt, key_file: gate.key}, {cert_file: other/gate.crt, key_file: other/gate.key}]}\n"+
		appRoute(up.URL())+"  - {name: other, host: other.test, upstream: \""+up.URL()+"\", access: public}\n")
	newCert(t, g.Dir)
	other := filepath.Join(g.Dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	newCert(t, other, "other.test")
	g.Run()
	for _, http2 := range []bool{false, true} {
		c := &http.Transport{DialContext: g.Dial, ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its names are the question
		defer c.CloseIdleConnections()
		for _, x := range []struct {
			opened, asked string
			status        int
		}{
			{"other.test", "other.test", 200}, {"open.test", "other.test", 421}, {"other.test", "open.test", 200}, {"app.test", "open.test", 200}, {"app.test", "unlisted.test", 421},
		} {
			up.Forget()
			req, err := http.NewRequest(http.MethodGet, "https://"+x.opened+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = x.asked
			resp, err := c.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != x.status {
				t.Errorf("%s on a connection for %s, http2 %v: %d, want %d", x.asked, x.opened, http2, resp.StatusCode, x.status)
			}
			if seen := up.Last(); (seen != "") != (x.status == 200) {
				t.Errorf("%s on a connection for %s, http2 %v: the app saw %q", x.asked, x.opened, http2, seen)
			}
		}
	}
}

// T135: whatever a client sends, one request is one line of the log, and
// nothing in it can rewrite the terminal or the line.
func TestT135_OneRequestIsOneLine(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	c := g.Client("open.test", true)
	evil := "\u202egpj.exe\u2028{\"level\":\"ERROR\"}\u009b31m"
	c.Must(http.MethodGet, "/%0d%0a%1b%5b31m", "")
	c.Must(http.MethodGet, "/caf%C3%A9%E2%80%AE", "", "User-Agent: "+evil, "Referer: "+evil)
	c.JSON("/_auth/login", map[string]string{"email": evil + "@example.com", "password": "wrong"}, nil, "User-Agent: "+evil)
	c.JSON("/_auth/login", map[string]string{"email": "a\nb@example.com", "password": "wrong"}, nil)
	if code := g.Stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	requests := 0
	for line := range strings.Lines(g.Log()) {
		var event struct {
			Msg string `json:"msg"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("a line that is no JSON object: %q", line)
		}
		if event.Msg == "request" {
			requests++
		}
		if strings.ContainsAny(line, "\u202e\u2028\u009b\x1b\r") {
			t.Errorf("a line with raw control characters: %q", line)
		}
	}
	if requests != 4 {
		t.Errorf("%d lines for 4 requests:\n%s", requests, g.Log())
	}
}

// T142: what is for the operator is on the admin listener alone, and that
// answers to no name a web page could have made up.
func TestT142_AdminIsElsewhere(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	c := g.Client("app.test", true)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/_auth/metrics", "/_auth/debug/pprof/"} {
		if a := c.Must(http.MethodGet, path, ""); a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the public port: %d", path, a.StatusCode)
		}
		req, err := http.NewRequest(http.MethodGet, "http://"+g.Admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "rebound.example.com"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s under a name that was rebound: %d, want 421", path, resp.StatusCode)
		}
	}
}

// T126 and T150: built by a Go that has the fixes for floods of key updates and
// of frames.
func TestT126_T150_BuiltByACurrentGo(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t, "")
	out := g.Must("", "version")
	m := regexp.MustCompile(`go1\.(\d+)(?:\.(\d+))?`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no Go version in %q", out)
	}
	var minor, patch int
	if _, err := fmt.Sscan(m[1], &minor); err != nil {
		t.Fatal(err)
	}
	if m[2] != "" {
		if _, err := fmt.Sscan(m[2], &patch); err != nil {
			t.Fatal(err)
		}
	}
	if minor < 26 || minor == 26 && patch < 6 {
		t.Errorf("built by %s, want go1.26.6 or newer", m[0])
	}
}
