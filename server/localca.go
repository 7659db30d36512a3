package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gatehouse/config"
)

// Lifetimes of the local CA and of what it issues.
const (
	caLife    = 10 * 365 * 24 * time.Hour
	leafLife  = 90 * 24 * time.Hour
	leafRenew = 30 * 24 * time.Hour
)

// localCA is a certificate authority of this installation alone, for trying
// out. A browser or curl trusts it with ca.crt; ca.key never leaves data_dir.
type localCA struct {
	dir   string
	hosts []string
	now   func() time.Time
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey

	mu   sync.RWMutex
	leaf *tls.Certificate
}

func newLocalCA(dir string, hosts []string, now func() time.Time) (*localCA, error) {
	c := &localCA{dir: dir, hosts: hosts, now: now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("local CA in %s: %w", dir, err)
	}
	return c, c.refresh()
}

// open loads the authority, or makes it when neither file exists.
func (c *localCA) open() error {
	certFile, keyFile := filepath.Join(c.dir, "ca.crt"), filepath.Join(c.dir, "ca.key")
	_, certErr := os.Stat(certFile)
	_, keyErr := os.Stat(keyFile)
	if errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		return c.create(certFile, keyFile)
	}
	pair, err := loadPair(config.Certificate{CertFile: certFile, KeyFile: keyFile})
	if err != nil {
		return fmt.Errorf("%w; restore both files, or remove both to make a new authority", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return errors.New("ca.crt is not an authority made here; remove ca.crt and ca.key to make a new one")
	}
	if c.now().After(pair.Leaf.NotAfter) {
		return c.create(certFile, keyFile)
	}
	c.ca, c.key = pair.Leaf, key
	return nil
}

func (c *localCA) create(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl, err := c.template(pkix.Name{CommonName: "gatehouse local CA " + c.now().UTC().Format(time.DateOnly)}, caLife)
	if err != nil {
		return err
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.MaxPathLenZero = true, true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	if err := writePair(certFile, keyFile, key, der); err != nil {
		return err
	}
	c.key = key
	c.ca, err = x509.ParseCertificate(der)
	return err
}

func (c *localCA) template(name pkix.Name, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{SerialNumber: serial, Subject: name,
		NotBefore: c.now().Add(-time.Hour), NotAfter: c.now().Add(life)}, nil
}

// names are the configured hosts and the ways to say "this machine".
func (c *localCA) names() []string {
	out := append(slices.Clone(c.hosts), "localhost", "*.localhost", "127.0.0.1", "::1")
	slices.Sort(out)
	return slices.Compact(out)
}

// refresh implements certSource: it issues a leaf when there is none, when the
// hosts changed and when the end is near. The leaf is kept on disk, so that a
// restart does not void what a browser was told.
func (c *localCA) refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.names()
	certFile, keyFile := filepath.Join(c.dir, "leaf.crt"), filepath.Join(c.dir, "leaf.key")
	if c.leaf == nil {
		if pair, err := loadPair(config.Certificate{CertFile: certFile, KeyFile: keyFile}); err == nil {
			c.leaf = pair // a missing or broken one is made again below
		}
	}
	if c.good(names) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl, err := c.template(pkix.Name{CommonName: "gatehouse"}, leafLife)
	if err != nil {
		return err
	}
	if tmpl.NotAfter.After(c.ca.NotAfter) {
		tmpl.NotAfter = c.ca.NotAfter
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.ca, key.Public(), c.key)
	if err != nil {
		return fmt.Errorf("issue local certificate: %w", err)
	}
	if err := writePair(certFile, keyFile, key, der, c.ca.Raw); err != nil {
		return fmt.Errorf("keep local certificate: %w", err)
	}
	pair, err := loadPair(config.Certificate{CertFile: certFile, KeyFile: keyFile})
	if err != nil {
		return err
	}
	c.leaf = pair
	return nil
}

// good reports whether the leaf is ours, long enough, and for all names.
func (c *localCA) good(names []string) bool {
	if c.leaf == nil || c.leaf.Leaf.CheckSignatureFrom(c.ca) != nil {
		return false
	}
	left := c.leaf.Leaf.NotAfter.Sub(c.now())
	if left < leafRenew || c.leaf.Leaf.NotBefore.After(c.now()) {
		return false
	}
	have := slices.Clone(c.leaf.Leaf.DNSNames)
	for _, ip := range c.leaf.Leaf.IPAddresses {
		have = append(have, ip.String())
	}
	slices.Sort(have)
	return slices.Equal(have, names)
}

// get implements certSource.
func (c *localCA) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.leaf, nil
}

// covers implements certSource.
func (c *localCA) covers(_, host string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return leafCovers(c.leaf, host)
}

// challenge implements certSource.
func (c *localCA) challenge(*http.Request) http.Handler { return nil }

// files implements certSource.
func (c *localCA) files() []string { return nil }

func (c *localCA) expires() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.leaf.Leaf.NotAfter
}

// writePair writes both files, the key first and for the owner alone; each
// appears whole or not at all.
func writePair(certFile, keyFile string, key *ecdsa.PrivateKey, chain ...[]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	var text []byte
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return writeFile(certFile, 0o644, text)
}

func writeFile(path string, mode fs.FileMode, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // made with 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
