package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/config"
)

// certSource finds certificates. All methods may be called concurrently.
type certSource interface {
	get(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// covers reports whether the certificate shown to sni is good for host.
	covers(sni, host string) bool
	// challenge returns the handler of an authority's http-01 request, or nil.
	challenge(r *http.Request) http.Handler
	// files are watched; refresh is called when one changed, and now and then.
	files() []string
	refresh() error
}

// newCerts builds the one source the configuration names.
func (s *Server) newCerts(cfg *config.Config) (certSource, error) {
	t := cfg.TLS
	switch {
	case len(t.Certificates) > 0:
		return newCertFiles(t.Certificates, s.now)
	case t.ACME != nil:
		if old := s.state.Load(); old != nil {
			if src, ok := old.certs.(*acmeCerts); ok && src.same(t.ACME) {
				return src, nil // it holds orders in progress
			}
		}
		return newACMECerts(t.ACME, filepath.Join(cfg.DataDir, "acme"), s.opts.ACMETransport, s.log)
	case t.SelfSigned:
		return newLocalCA(cfg.DataDir, cfg.Hosts(), s.now)
	case cfg.Listen.HTTPS == "":
		return noCerts{}, nil
	}
	return nil, errors.New("tls: one of certificates, acme or self_signed is needed")
}

// keepCerts refreshes the current source until ctx ends.
func (s *Server) keepCerts(ctx context.Context) {
	ok, expiry := s.metrics.certOK, s.metrics.certExpiry
	ok.Set(1)
	refresh := func() {
		src := s.state.Load().certs
		if err := src.refresh(); err != nil {
			ok.Set(0)
			s.log.LogAttrs(ctx, slog.LevelError, "certificate could not be renewed; the old one stays", slog.Any("error", err))
			return
		}
		ok.Set(1)
		if e, has := src.(interface{ expires() time.Time }); has {
			expiry.Set(float64(e.expires().Unix()))
		}
	}
	refresh()
	w := fileWatch{
		files:    func() []string { return s.state.Load().certs.files() },
		poll:     10 * time.Second,
		debounce: 200 * time.Millisecond,
		changed:  refresh,
		log:      s.log,
	}
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	w.run(ctx, hourly.C)
}

// noCerts is the source when there is no https listener.
type noCerts struct{}

func (noCerts) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("no certificate is configured")
}
func (noCerts) covers(string, string) bool           { return true }
func (noCerts) challenge(*http.Request) http.Handler { return nil }
func (noCerts) files() []string                      { return nil }
func (noCerts) refresh() error                       { return nil }

// leafCovers reports whether the certificate is good for the host.
func leafCovers(c *tls.Certificate, host string) bool {
	return c != nil && c.Leaf != nil && c.Leaf.VerifyHostname(host) == nil
}

// exactHosts drops wildcards and sorts.
func exactHosts(hosts []string) []string {
	var out []string
	for _, h := range hosts {
		if h != "" && h[0] != '*' {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
