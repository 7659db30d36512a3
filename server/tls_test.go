package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// writeCert makes a self-signed pair for the names and returns its files.
func writeCert(t *testing.T, dir, name string, until time.Time, hosts ...string) config.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: hosts,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Certificate{CertFile: filepath.Join(dir, name+".crt"), KeyFile: filepath.Join(dir, name+".key")}
	if err := writePair(c.CertFile, c.KeyFile, key, der); err != nil {
		t.Fatal(err)
	}
	return c
}

// shown returns the certificate a client with that SNI gets.
func (g *gate) shown(sni string, change func(*tls.Config)) (tls.ConnectionState, error) {
	cfg := &tls.Config{ServerName: sni, InsecureSkipVerify: true} //nolint:gosec // the test looks at the certificate itself
	if change != nil {
		change(cfg)
	}
	c, err := tls.Dial("tcp", g.addrs.HTTPS, cfg)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

func TestT118_VersionsAndSuites(t *testing.T) {
	g := start(t, nil)
	for _, c := range []struct {
		name string
		v    uint16
		s    []uint16
		ok   bool
	}{
		{"1.0", tls.VersionTLS10, nil, false},
		{"1.1", tls.VersionTLS11, nil, false},
		{"1.2 GCM", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, true},
		{"1.2 ChaCha", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, true},
		{"1.2 CBC", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}, false},
		{"1.2 RSA key exchange", tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, false},
		{"1.3", tls.VersionTLS13, nil, true},
	} {
		_, err := g.shown(testHost, func(t *tls.Config) { t.MinVersion, t.MaxVersion, t.CipherSuites = c.v, c.v, c.s })
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, proto := range []string{"h2", "http/1.1"} {
		st, err := g.shown(testHost, func(t *tls.Config) { t.NextProtos = []string{proto} })
		if err != nil || st.NegotiatedProtocol != proto {
			t.Errorf("ALPN %s: %q %v", proto, st.NegotiatedProtocol, err)
		}
	}
}

func TestCertificateBySNI(t *testing.T) {
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	g := start(t, func(o *Options) {
		o.Config.TLS = config.TLS{Certificates: []config.Certificate{
			writeCert(t, dir, "app", later, testHost), writeCert(t, dir, "other", later, "other.example.com"), writeCert(t, dir, "wild", later, "*.wild.example"),
		}}
	})
	for sni, want := range map[string]string{testHost: "app", "OTHER.example.com": "other", "x.wild.example": "wild", "x.y.wild.example": "app", "nobody.example": "app", "": "app"} {
		st, err := g.shown(sni, nil)
		if err != nil || st.PeerCertificates[0].Subject.CommonName != want {
			t.Errorf("%q: %v, want %s", sni, err, want)
		}
	}
}

func TestT122_HostOfAnotherCertificateIsMisdirected(t *testing.T) {
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	pool := x509.NewCertPool()
	g := start(t, func(o *Options) {
		o.Config.TLS = config.TLS{Certificates: []config.Certificate{
			writeCert(t, dir, "app", later, testHost), writeCert(t, dir, "other", later, "other.example.com"),
		}}
	})
	g.roots = pool
	pem, err := os.ReadFile(filepath.Join(dir, "app.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(pem)
	both(t, func(t *testing.T, h2 bool) {
		c := g.client(h2)
		if resp, _ := g.get(c, "GET", "https://"+testHost+"/", nil); resp.StatusCode != 200 {
			t.Errorf("own host: %d", resp.StatusCode)
		}
		resp, _ := g.get(c, "GET", "https://"+testHost+"/", nil, "Host", "other.example.com")
		if resp.StatusCode != 421 || resp.Header.Get("Gatehouse-Response") != "misdirected" {
			t.Errorf("host of another certificate: %d", resp.StatusCode)
		}
	})
	// One certificate for both hosts: browsers join their connections.
	g = start(t, nil)
	if resp, _ := g.get(g.client(true), "GET", "https://"+testHost+"/", nil, "Host", "other.example.com"); resp.StatusCode != 200 {
		t.Errorf("host of the same certificate: %d", resp.StatusCode)
	}
}

func TestT121_CertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	var pair config.Certificate
	g := start(t, func(o *Options) {
		pair = writeCert(t, dir, "app", later, testHost)
		o.Config.TLS = config.TLS{Certificates: []config.Certificate{pair}}
	})
	serial := func() string {
		st, err := g.shown(testHost, nil)
		if err != nil {
			t.Fatal(err)
		}
		return st.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	metric := func(want string) {
		t.Helper()
		eventually(t, "metric "+want, func() bool {
			_, text := g.admin("/metrics")
			return strings.Contains(text, "gatehouse_certificate_last_reload_success "+want)
		})
	}
	metric("1")

	if err := os.WriteFile(pair.CertFile, []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	metric("0")
	if serial() != first {
		t.Fatal("a bad file replaced the certificate")
	}
	if len(g.log.records(t, "certificate could not be renewed; the old one stays")) == 0 {
		t.Error("nothing was logged")
	}
	writeCert(t, dir, "app", time.Now().Add(-time.Hour), testHost)
	eventually(t, "expired one refused", func() bool { return strings.Contains(g.log.String(), "expired on") })
	if serial() != first {
		t.Fatal("an expired certificate replaced a good one")
	}
	writeCert(t, dir, "app", later, testHost)
	eventually(t, "new certificate", func() bool { return serial() != first })
	metric("1")
	_, text := g.admin("/metrics")
	if strings.Contains(text, "gatehouse_certificate_expiry_timestamp_seconds 0\n") {
		t.Error("no expiry is reported")
	}
}

func TestT138_KeysOthersCanReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	pair := writeCert(t, dir, "app", time.Now().Add(time.Hour), testHost)
	if err := os.Chmod(pair.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := newCertFiles([]config.Certificate{pair}, time.Now)
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("err = %v", err)
	}
	if err := os.Chmod(pair.KeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := newCertFiles([]config.Certificate{pair}, time.Now); err != nil {
		t.Errorf("a group's key: %v", err)
	}
	pair.KeyFile += ".missing"
	if _, err := newCertFiles([]config.Certificate{pair}, time.Now); err == nil || !strings.Contains(err.Error(), pair.KeyFile) {
		t.Errorf("err = %v", err)
	}
}

func TestLocalCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	now := time.Now()
	hosts := []string{testHost, "*.apps.example"}
	open := func() *localCA {
		t.Helper()
		c, err := newLocalCA(dir, hosts, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	for _, f := range []string{"ca.key", "leaf.key"} {
		fi, err := os.Stat(filepath.Join(dir, f))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, fi.Mode(), err)
		}
	}
	pemText, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pemText)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !ca.IsCA || !ca.MaxPathLenZero {
		t.Fatalf("ca.crt: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, name := range []string{testHost, "x.apps.example", "localhost", "app.localhost", "127.0.0.1", "::1"} {
		if _, err := c.leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.covers("", name) {
			t.Errorf("covers(%s) is false", name)
		}
	}
	first := c.leaf.Leaf.SerialNumber.String()
	if again := open(); again.leaf.Leaf.SerialNumber.String() != first || !again.ca.Equal(c.ca) {
		t.Error("a restart made new certificates")
	}
	now = now.Add(leafLife - leafRenew + time.Hour)
	if err := c.refresh(); err != nil || c.leaf.Leaf.SerialNumber.String() == first || !c.expires().After(now.Add(leafRenew)) {
		t.Errorf("not renewed: %v", err)
	}
	second := c.leaf.Leaf.SerialNumber.String()
	hosts = append(hosts, "new.example")
	if c = open(); c.leaf.Leaf.SerialNumber.String() == second || !c.covers("", "new.example") {
		t.Error("not renewed for a new host")
	}
	if err := os.WriteFile(filepath.Join(dir, "leaf.crt"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if open().leaf == nil {
		t.Error("a broken leaf is not replaced")
	}
	now = now.Add(caLife)
	if again := open(); again.ca.Equal(c.ca) {
		t.Error("an expired authority stays")
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := newLocalCA(dir, hosts, time.Now); err == nil || !strings.Contains(err.Error(), "remove both") {
		t.Errorf("half an authority: %v", err)
	}
}

func TestReloadSwapsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	g := start(t, nil)
	before := g.state.Load()
	bad := *g.opts.Config
	bad.TLS = config.TLS{Certificates: []config.Certificate{{CertFile: filepath.Join(dir, "no.crt"), KeyFile: filepath.Join(dir, "no.key")}}}
	bad.Listen.TrustedProxies = prefixes("0.0.0.0/0")
	if err := g.Load(&bad); err == nil || g.state.Load() != before {
		t.Fatalf("a bad configuration changed something: %v", err)
	}
	good := bad
	good.TLS = config.TLS{Certificates: []config.Certificate{writeCert(t, dir, "app", time.Now().Add(time.Hour), testHost)}, HSTS: config.HSTS{MaxAge: time.Hour}}
	commit, err := g.Prepare(&good)
	if err != nil || g.state.Load() != before {
		t.Fatalf("prepare: %v", err)
	}
	commit()
	st, err := g.shown(testHost, nil)
	if err != nil || st.PeerCertificates[0].Subject.CommonName != "app" {
		t.Errorf("the new certificate is not shown: %v", err)
	}
	if g.state.Load().hsts[0] != "max-age=3600" {
		t.Errorf("hsts = %q", g.state.Load().hsts)
	}
}

func TestPublicPort(t *testing.T) {
	for _, c := range []struct{ issuer, listen, want string }{
		{"https://a.example", ":8443", ""}, {"https://a.example:443", ":8443", ""}, {"https://a.example:9443", ":8443", ":9443"}, {"", ":8443", ":8443"}, {"", ":443", ""},
	} {
		var cfg config.Config
		cfg.Tokens.Issuer, cfg.Listen.HTTPS = c.issuer, c.listen
		if got := publicPort(&cfg); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestNoTLSWithoutTheListener(t *testing.T) {
	o, _ := testOptions(t)
	o.Config.Listen.HTTPS, o.Config.TLS = "", config.TLS{}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	src := s.state.Load().certs
	if _, err := src.get(nil); err == nil || src.refresh() != nil || src.files() != nil || src.challenge(nil) != nil || !src.covers("a", "b") {
		t.Error("noCerts does something")
	}
}
