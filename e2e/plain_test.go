package e2e

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// plain asks the plain http listener for a host.
func plain(t *testing.T, g *gatetest.Gate, host, target string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+g.HTTP+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp
}

// TestT076_TheRedirectToHTTPSKnowsConfiguredHostsAlone tries hosts and targets
// that have turned other redirects into open ones.
func TestT076_TheRedirectToHTTPSKnowsConfiguredHostsAlone(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	navigation := []string{"Accept: text/html", "Sec-Fetch-Mode: navigate"}
	for _, host := range []string{"evil.test", "app.test.evil.test", "evil.test:80", "app.testx", "x.app.test", "app.test@evil.test", "127.0.0.1"} {
		if resp := plain(t, g, host, "/", navigation...); resp.StatusCode != 421 && resp.StatusCode != 400 || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", host, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for _, host := range []string{"app.test", "APP.test", "app.test:8080", "app.test:443"} {
		for _, target := range []string{"/", "/a?b=c", "//evil.test/", "///evil.test", "/@evil.test", "/%2f/evil.test", "/%5cevil.test", "/?//evil.test"} {
			resp := plain(t, g, host, target, navigation...)
			if to := resp.Header.Get("Location"); resp.StatusCode != 308 || to != "https://app.test"+target {
				t.Errorf("%s%s: %d to %q", host, target, resp.StatusCode, to)
			}
		}
	}
	for _, headers := range [][]string{{"Accept: application/json"}, {"Accept: text/html", "X-Forwarded-Host: evil.test", "Sec-Fetch-Mode: cors"}, {"Accept: text/html", "Authorization: Bearer x"}} {
		if resp := plain(t, g, "app.test", "/", headers...); resp.StatusCode == 308 && strings.Contains(resp.Header.Get("Location"), "evil") {
			t.Errorf("%q: to %q", headers, resp.Header.Get("Location"))
		}
	}
	if up.Last() != "" {
		t.Errorf("the app saw %q", up.Last())
	}
}
