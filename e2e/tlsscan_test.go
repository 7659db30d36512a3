//go:build apps

package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// T118 with the tool others use: sslscan finds no old protocol, no suite
// without forward secrecy and AEAD, no compression, renegotiation or
// Heartbleed.
func TestT118_SslscanFindsNothing(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, strings.ReplaceAll(appRoute(up.URL()), "open.test", "localhost"))
	out, err := exec.Command("sslscan", "--no-colour", "--sni-name=localhost", g.HTTPS).CombinedOutput()
	if err != nil {
		t.Fatalf("sslscan: %v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		`(?m)^SSLv2\s+disabled`, `(?m)^SSLv3\s+disabled`, `(?m)^TLSv1\.0\s+disabled`, `(?m)^TLSv1\.1\s+disabled`, `(?m)^TLSv1\.2\s+enabled`, `(?m)^TLSv1\.3\s+enabled`,
		`(?i)Server supports TLS Fallback SCSV|SCSV`, `(?i)session renegotiation (is )?not supported`, `(?m)^TLSv1\.3 not vulnerable to heartbleed`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("sslscan does not say %s:\n%s", want, text)
		}
	}
	suites := regexp.MustCompile(`(?m)^(?:Preferred|Accepted)\s+(TLSv1\.[0-3])\s+\d+ bits\s+(\S+)`).FindAllStringSubmatch(text, -1)
	if len(suites) < 4 {
		t.Fatalf("only %d suites were found:\n%s", len(suites), text)
	}
	for _, s := range suites {
		modern := strings.HasPrefix(s[2], "TLS_") || strings.HasPrefix(s[2], "ECDHE-")
		if !modern || !regexp.MustCompile(`GCM|CHACHA20`).MatchString(s[2]) {
			t.Errorf("%s %s is accepted", s[1], s[2])
		}
	}
}
