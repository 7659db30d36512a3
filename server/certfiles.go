package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/config"
)

// certFiles serves certificates from PEM files. A set that cannot be read
// completely is not used at all; the one before stays.
type certFiles struct {
	pairs []config.Certificate
	now   func() time.Time
	set   atomic.Pointer[certSet]
}

// certSet is one consistent reading.
type certSet struct {
	all    []*tls.Certificate
	byName map[string]*tls.Certificate
}

func newCertFiles(pairs []config.Certificate, now func() time.Time) (*certFiles, error) {
	c := &certFiles{pairs: pairs, now: now}
	return c, c.refresh()
}

// refresh implements certSource.
func (c *certFiles) refresh() error {
	set := &certSet{byName: map[string]*tls.Certificate{}}
	var errs []error
	for _, p := range c.pairs {
		cert, err := loadPair(p)
		if err == nil && c.now().After(cert.Leaf.NotAfter) {
			err = fmt.Errorf("%s expired on %s", p.CertFile, cert.Leaf.NotAfter.UTC().Format(time.DateOnly))
			if c.set.Load() == nil {
				err = nil // an expired certificate is still better than no start; clients will say so
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		set.add(cert)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	c.set.Store(set)
	return nil
}

// loadPair reads one pair. A key that everybody on the machine can read is
// refused: it has to be considered known (T138).
func loadPair(p config.Certificate) (*tls.Certificate, error) {
	fi, err := os.Stat(p.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls key: %w", err)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("tls key %s is readable by others (mode %04o); run chmod 600 on it", p.KeyFile, fi.Mode().Perm())
	}
	cert, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls certificate %s with key %s: %w", p.CertFile, p.KeyFile, err)
	}
	return &cert, nil
}

func (s *certSet) add(c *tls.Certificate) {
	s.all = append(s.all, c)
	names := c.Leaf.DNSNames
	if len(names) == 0 && len(c.Leaf.IPAddresses) == 0 && c.Leaf.Subject.CommonName != "" {
		names = []string{c.Leaf.Subject.CommonName}
	}
	for _, n := range names {
		n = strings.ToLower(n)
		if _, taken := s.byName[n]; !taken {
			s.byName[n] = c
		}
	}
}

// find picks by name, then by wildcard; the first certificate is the default.
func (s *certSet) find(name string) *tls.Certificate {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if c, ok := s.byName[name]; ok {
		return c
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if c, ok := s.byName["*."+parent]; ok {
			return c
		}
	}
	return s.all[0]
}

// get implements certSource. Of several certificates for one name the one the
// client can use wins.
func (c *certFiles) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	set := c.set.Load()
	best := set.find(hello.ServerName)
	if hello.SupportsCertificate(best) == nil || len(set.all) == 1 {
		return best, nil
	}
	for _, other := range set.all {
		if leafCovers(other, hello.ServerName) && hello.SupportsCertificate(other) == nil {
			return other, nil
		}
	}
	return best, nil
}

// covers implements certSource.
func (c *certFiles) covers(sni, host string) bool {
	return leafCovers(c.set.Load().find(sni), host)
}

// challenge implements certSource.
func (c *certFiles) challenge(*http.Request) http.Handler { return nil }

// files implements certSource.
func (c *certFiles) files() []string {
	var out []string
	for _, p := range c.pairs {
		out = append(out, p.CertFile, p.KeyFile)
	}
	return out
}

// expires is the earliest end of the certificates in use.
func (c *certFiles) expires() time.Time {
	var first time.Time
	for _, cert := range c.set.Load().all {
		if t := cert.Leaf.NotAfter; first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first
}
