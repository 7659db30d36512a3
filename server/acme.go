package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// acmeCerts gets certificates by RFC 8555, one per host, on first use, and
// keeps them under data_dir/acme. Only configured hosts are asked for: an
// authority counts failures against the account.
type acmeCerts struct {
	cfg   config.ACME
	hosts atomic.Pointer[[]string] // of the routes
	m     *autocert.Manager
	http  http.Handler
	log   *slog.Logger

	mu     sync.Mutex
	failed map[string]time.Time // per allowed host: when it was last logged
}

func newACMECerts(cfg *config.ACME, dir string, rt http.RoundTripper, log *slog.Logger) (*acmeCerts, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("tls.acme: %w", err)
	}
	c := &acmeCerts{cfg: *cfg, log: log, failed: map[string]time.Time{}}
	directory := cfg.Directory
	if directory == "" {
		directory = autocert.DefaultACMEDirectory
	}
	c.m = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(dir), Email: cfg.Email, HostPolicy: c.allow,
		Client: &acme.Client{DirectoryURL: directory, HTTPClient: &http.Client{Transport: rt, Timeout: time.Minute}, UserAgent: "gatehouse"},
	}
	c.http = c.m.HTTPHandler(http.NotFoundHandler())
	c.serve(nil)
	return c, nil
}

// serve puts other route hosts in force.
func (c *acmeCerts) serve(hosts []string) { c.hosts.Store(&hosts) }

func (c *acmeCerts) same(cfg *config.ACME) bool {
	return c.cfg.Email == cfg.Email && c.cfg.Directory == cfg.Directory && slices.Equal(c.cfg.Hosts, cfg.Hosts)
}

func (c *acmeCerts) names() []string {
	if len(c.cfg.Hosts) > 0 {
		return c.cfg.Hosts
	}
	return exactHosts(*c.hosts.Load())
}

// allow implements autocert.HostPolicy; a challenge comes with its port.
func (c *acmeCerts) allow(_ context.Context, hostport string) error {
	host, ok := hostOf(hostport)
	if ok && slices.Contains(c.names(), host) {
		return nil
	}
	return fmt.Errorf("host %s is not configured", printable(hostport, 253))
}

// get implements certSource. A failure is logged once a minute and host: the
// handshake error alone would say nothing of the authority's reason.
func (c *acmeCerts) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if own := inner(hello.Conn); own != nil {
		own.endTurn() // the authority may take its time
	}
	cert, err := c.m.GetCertificate(hello)
	if err == nil {
		return cert, nil
	}
	host := strings.ToLower(hello.ServerName)
	if c.allow(context.Background(), host) == nil && c.due(host) {
		c.log.Error("certificate could not be had", slog.String("host", host), slog.Any("error", err))
	}
	return nil, err
}

func (c *acmeCerts) due(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.failed[host]; ok && time.Since(last) < time.Minute {
		return false
	}
	c.failed[host] = time.Now()
	return true
}

// covers implements certSource: every certificate is for one name.
func (c *acmeCerts) covers(sni, host string) bool { return sni == host }

// challenge implements certSource.
func (c *acmeCerts) challenge(r *http.Request) http.Handler {
	if r.Method == http.MethodGet && c.allow(r.Context(), r.Host) == nil && strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/") {
		return c.http
	}
	return nil
}

// files implements certSource.
func (c *acmeCerts) files() []string { return nil }

// refresh implements certSource; the manager renews by itself.
func (c *acmeCerts) refresh() error { return nil }
