//go:build apps

package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"gatehouse/internal/gatetest"
)

// h2spec runs the conformance suite and returns how many of its tests passed.
func h2spec(t *testing.T, host, addr string) (passed, total int) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool("h2spec"), "-t", "-k", "-h", host, "-p", port, "-o", "10").CombinedOutput()
	m := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("h2spec: %v\n%s", err, out)
	}
	total, _ = strconv.Atoi(string(m[1]))
	passed, _ = strconv.Atoi(string(m[2]))
	t.Logf("%s: %s", addr, m[0])
	return passed, total
}

// TestHTTP2Conformance holds the gateway to what a plain Go reverse proxy
// reaches in h2spec: it adds nothing that breaks the protocol.
func TestHTTP2Conformance(t *testing.T) {
	app := gatetest.NewRawApp(t, wholeApp(&requestList{}))
	target, err := url.Parse(app.URL())
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	plain.EnableHTTP2 = true
	plain.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP2(true)
	plain.StartTLS()
	t.Cleanup(plain.Close)
	g := gatetest.Start(t, "routes:\n  - {name: open, host: localhost, access: public, upstream: \""+app.URL()+"\"}\n")
	want, _ := h2spec(t, "127.0.0.1", plain.Listener.Addr().String())
	got, total := h2spec(t, "localhost", g.HTTPS)
	if got < want {
		t.Errorf("%d of %d pass, a plain proxy passes %d", got, total, want)
	}
}
