package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// newCert writes a pair for the hosts of tests and names, each file whole or not at
// all, and returns its serial number.
func newCert(t *testing.T, dir string, names ...string) *big.Int {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: append([]string{"open.test", "app.test", "ruled.test"}, names...),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"gate.key": {Type: "PRIVATE KEY", Bytes: secret}, "gate.crt": {Type: "CERTIFICATE", Bytes: der}} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	return tmpl.SerialNumber
}

// T121: certificates are replaced again and again under load, by a change of
// the files, by SIGHUP and by broken files in between. No handshake fails.
func TestT121_CertificatesChangeUnderLoadWithoutAFailure(t *testing.T) {
	t.Parallel()
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, "tls: {certificates: [{cert_file: gate.crt, key_file: gate.key}]}\n"+appRoute(up.URL()))
	newCert(t, g.Dir)
	g.Run()
	shown := func(ctx context.Context) (*big.Int, error) {
		raw, err := g.Dial(ctx, "tcp", "")
		if err != nil {
			return nil, err
		}
		defer func() { _ = raw.Close() }()
		c := tls.Client(raw, &tls.Config{ServerName: "open.test", InsecureSkipVerify: true}) //nolint:gosec // which one it is, is the question
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber, nil
	}
	stop := make(chan struct{})
	var done, failed atomic.Int64
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := shown(t.Context()); err != nil {
					failed.Add(1)
				}
				done.Add(1)
			}
		})
	}
	for round := range gatetest.Scale(3, 30) {
		if err := os.WriteFile(filepath.Join(g.Dir, "gate.crt"), []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		within(t, "the broken certificate is told", func() bool {
			return strings.Contains(metrics(t, g), "gatehouse_certificate_last_reload_success 0")
		})
		serial := newCert(t, g.Dir)
		if round%2 == 1 {
			g.Signal(syscall.SIGHUP)
		}
		within(t, "the new certificate is shown", func() bool {
			got, err := shown(t.Context())
			return err == nil && got.Cmp(serial) == 0
		})
	}
	close(stop)
	load.Wait()
	if failed.Load() > 0 || done.Load() < 10 {
		t.Errorf("%d of %d handshakes failed", failed.Load(), done.Load())
	}
}
