package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/internal/gatetest"

	"golang.org/x/net/dns/dnsmessage"
)

// pebble is a running certificate authority that speaks RFC 8555.
type pebble struct {
	directory  string
	management string
	transport  *http.Transport
}

// buildPebble builds the authority from the module of tools. Without a module
// proxy there is nothing to test against.
func buildPebble(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pebble")
	const pkg = "github.com/letsencrypt/pebble/v2/cmd/pebble"
	if out, err := exec.Command("go", "build", "-C", "../internal/tools", "-o", bin, pkg).CombinedOutput(); err != nil {
		if out2, err := exec.Command("go", "mod", "download", "-C", "../internal/tools").CombinedOutput(); err != nil {
			t.Skipf("the modules of the ACME server cannot be had: %s", out2)
		}
		t.Fatalf("build pebble: %v\n%s", err, out)
	}
	return bin
}

// startPebble runs the authority; it validates against the given ports.
func startPebble(t *testing.T, bin string, httpPort, tlsPort int) *pebble {
	t.Helper()
	dir := t.TempDir()
	pool := loopbackPair(t, dir)
	listen, manage := gatetest.FreeAddr(t), gatetest.FreeAddr(t)
	cfg, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "certificate": filepath.Join(dir, "tls.crt"), "privateKey": filepath.Join(dir, "tls.key"),
		"httpPort": httpPort, "tlsPort": tlsPort, "keyAlgorithm": "ecdsa", "retryAfter": map[string]int{"authz": 1, "order": 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		t.Fatal(err)
	}
	out := &lines{}
	cmd := exec.Command(bin, "-config", file, "-strict", "-dnsserver", loopbackDNS(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("authority: %s", out)
		}
	})
	p := &pebble{directory: "https://" + listen + "/dir", management: "https://" + manage,
		transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	t.Cleanup(p.transport.CloseIdleConnections)
	eventually(t, "the authority answers", func() bool {
		resp, err := (&http.Client{Transport: p.transport}).Get(p.directory)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == 200
	})
	return p
}

// roots returns the authority's root and intermediate.
func (p *pebble) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, path := range []string{"/roots/0", "/intermediates/0"} {
		resp, err := (&http.Client{Transport: p.transport}).Get(p.management + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !pool.AppendCertsFromPEM(text) {
			t.Fatalf("%s: %q %v", path, text, err)
		}
	}
	return pool
}

// loopbackPair writes a certificate for 127.0.0.1 and returns its pool.
func loopbackPair(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loopback"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := writePair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), key, der); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// loopbackDNS answers every question for an address with 127.0.0.1. It speaks
// TCP, as the authority does to a resolver it is told of.
func loopbackDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); answerDNS(c) })
		}
	})
	return l.Addr().String()
}

func answerDNS(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	var q dnsmessage.Message
	if _, err := io.ReadFull(c, buf); err != nil || q.Unpack(buf) != nil || len(q.Questions) != 1 {
		return
	}
	a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
	if q.Questions[0].Type == dnsmessage.TypeA {
		a.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	out, err := a.Pack()
	if err != nil {
		return
	}
	binary.BigEndian.PutUint16(size[:], uint16(len(out)))
	_, _ = c.Write(append(size[:], out...))
}

func port(t *testing.T, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

func TestACMEAgainstARealAuthority(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs an ACME server")
	}
	bin := buildPebble(t)
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			https, plain := gatetest.FreeAddr(t), gatetest.FreeAddr(t)
			httpPort, tlsPort := port(t, plain), port(t, https)
			if challenge == "http-01" {
				tlsPort = port(t, gatetest.FreeAddr(t)) // nobody answers there
			}
			ca := startPebble(t, bin, httpPort, tlsPort)
			g := start(t, func(o *Options) {
				o.Config.Listen.HTTPS, o.Config.Listen.HTTP = https, plain
				o.Config.TLS = config.TLS{ACME: &config.ACME{Email: "ops@example.com", Directory: ca.directory}}
				o.ACMETransport = ca.transport
			})
			g.roots = ca.roots(t)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("gateway: %s", g.log)
				}
			})
			// The first handshake orders; a failed challenge kind may end it.
			var leaf *x509.Certificate
			eventually(t, "a certificate", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				d := tls.Dialer{Config: &tls.Config{RootCAs: g.roots, ServerName: testHost}}
				c, err := d.DialContext(ctx, "tcp", https)
				if err != nil {
					return false
				}
				defer c.Close()
				leaf = c.(*tls.Conn).ConnectionState().PeerCertificates[0]
				return true
			})
			if err := leaf.VerifyHostname(testHost); err != nil {
				t.Error(err)
			}
			if resp, body := g.get(g.client(true), "GET", "https://"+testHost+"/", nil); resp.StatusCode != 200 || body != "proxy" {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if resp, _ := g.get(g.client(false), "GET", "https://"+testHost+"/", nil, "Host", "other.example.com"); resp.StatusCode != 421 {
				t.Errorf("a host that has its own certificate: %d", resp.StatusCode)
			}
			if _, err := g.shown("stranger.example.com", nil); err == nil {
				t.Error("a certificate for a host nobody configured")
			}
			kept, err := filepath.Glob(filepath.Join(g.dir, "acme", "*"))
			if err != nil || len(kept) < 2 {
				t.Fatalf("kept: %v %v", kept, err)
			}
			for _, f := range kept {
				if fi, err := os.Stat(f); err != nil || fi.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s is open to others: %v", f, fi.Mode())
				}
			}
			// A reload of the same section keeps the orders in progress, and a
			// restart takes the certificate from disk.
			before := g.state.Load().certs
			if err := g.Load(g.opts.Config); err != nil || g.state.Load().certs != before {
				t.Errorf("the source was replaced: %v", err)
			}
			again, err := newACMECerts(g.opts.Config.TLS.ACME, filepath.Join(g.dir, "acme"), failingTransport{}, g.opts.Log)
			if err != nil {
				t.Fatal(err)
			}
			again.serve(g.opts.Config.Hosts())
			cert, err := again.get(&tls.ClientHelloInfo{ServerName: testHost, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, SupportedVersions: []uint16{tls.VersionTLS13}, SupportedCurves: []tls.CurveID{tls.CurveP256}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}})
			if err != nil || !cert.Leaf.Equal(leaf) {
				t.Errorf("not from disk: %v", err)
			}
		})
	}
}

// failingTransport stands for an authority that cannot be reached.
type failingTransport struct{}

func (failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, fmt.Errorf("no way to %s", r.URL.Host)
}

func TestACMEFailureIsLoggedOnce(t *testing.T) {
	g := start(t, func(o *Options) {
		o.Config.TLS = config.TLS{ACME: &config.ACME{Directory: "https://ca.invalid/dir", Hosts: []string{testHost}}}
		o.ACMETransport = failingTransport{}
	})
	for range 3 {
		if _, err := g.shown(testHost, nil); err == nil {
			t.Fatal("a certificate from nowhere")
		}
		if _, err := g.shown("stranger.example.com", nil); err == nil {
			t.Fatal("a certificate for a stranger")
		}
	}
	got := g.log.records(t, "certificate could not be had")
	if len(got) != 1 || got[0]["host"] != testHost || !strings.Contains(fmt.Sprint(got[0]["error"]), "no way to ca.invalid") {
		t.Errorf("%v", got)
	}
	// What is no challenge of ours is an ordinary plain request.
	if resp, _ := g.get(g.client(false), "GET", "http://"+testHost+"/.well-known/acme-challenge/unknown", nil); resp.StatusCode != 404 && resp.StatusCode != 403 {
		t.Errorf("unknown challenge: %d", resp.StatusCode)
	}
	if resp, _ := g.get(g.client(false), "POST", "http://"+testHost+"/.well-known/acme-challenge/x", nil); resp.StatusCode != 403 {
		t.Errorf("post to a challenge: %d", resp.StatusCode)
	}
}
