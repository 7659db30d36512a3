// Package server is the outside of the gateway: listeners, TLS, the outer
// chain every request passes in one visible order, the access log, the admin
// listener, reload, drain and the audit file. It decides who the client is on
// the network, whether a request is well-formed and which of three handlers
// gets it. It refuses to know users, tokens, routes and stores.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"
	"gatehouse/web"

	"github.com/prometheus/client_golang/prometheus"
)

// Options is what a Server is made of.
type Options struct {
	Config *config.Config

	Own    http.Handler // everything under ui.prefix but /verify
	Verify http.Handler // ui.prefix/verify and, when enabled, its aliases
	Proxy  http.Handler // everything else

	// KnownHost reports whether a lower-case host name without port is
	// configured. It is asked for every request.
	KnownHost func(host string) bool

	UI       *web.UI
	Log      *slog.Logger
	Access   *slog.Logger // one record per request; nil writes them to Log
	Registry *prometheus.Registry
	Ready    []ReadyCheck
	Now      func() time.Time // nil means time.Now

	// OnDrain is called once, in its own goroutine, when a drain starts, after
	// the listeners were closed. Whoever holds upgraded connections ends them
	// here: net/http does not know them any more. The drain waits for it.
	OnDrain func(ctx context.Context)

	// After makes the channel that ends listen.drain_delay; nil means time.After.
	After func(time.Duration) <-chan time.Time

	// MaxConnections caps client connections; 0 derives it from the limit on
	// open files, half of which is left for upstreams.
	MaxConnections int
	// NotifySocket is systemd's NOTIFY_SOCKET; empty means nobody listens.
	NotifySocket string
	// ACMETransport reaches the certificate authority; nil means the default.
	ACMETransport http.RoundTripper
	// Patience bounds slow peers; the zero value takes the defaults.
	Patience Patience
}

// ReadyCheck is one component of /readyz.
type ReadyCheck struct {
	Name  string
	Check func(ctx context.Context) error
	// Advisory components are reported, and take nobody out of service.
	Advisory bool
}

// Addrs are the addresses in use; empty for a listener that is off.
type Addrs struct{ HTTPS, HTTP, Admin string }

// Server serves. Make it with New, run it once.
type Server struct {
	opts  Options
	log   *slog.Logger
	now   func() time.Time
	ui    *web.UI
	state atomic.Pointer[state]

	prefix  string
	aliases bool

	metrics  *metrics
	conns    *connTable
	watch    *watchdog
	writers  sync.Pool
	draining atomic.Bool

	mu    sync.Mutex
	addrs Addrs
	ready chan struct{} // closed when the listeners are bound
}

// state is what a reload replaces, all at once.
type state struct {
	trusted []netip.Prefix
	hsts    []string // shared by all answers, never changed
	access  bool
	port    string // public https port for redirects; "" for 443
	certs   certSource
}

// New checks the options and loads the certificates. It opens no listener.
func New(o Options) (*Server, error) {
	if o.Config == nil || o.Own == nil || o.Verify == nil || o.Proxy == nil ||
		o.KnownHost == nil || o.UI == nil || o.Log == nil || o.Registry == nil {
		return nil, errors.New("server: an option is missing")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	o.Patience = o.Patience.withDefaults()
	s := &Server{opts: o, log: o.Log, now: o.Now, ui: o.UI, prefix: o.Config.UI.Prefix, ready: make(chan struct{})}
	s.aliases = o.Config.UI.ForwardAuthAliases
	var err error
	if s.metrics, err = newMetrics(o.Registry); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if s.conns, err = newConnTable(o.MaxConnections, o.Patience.Write, o.Registry); err != nil {
		return nil, fmt.Errorf("register connection metrics: %w", err)
	}
	s.watch = newWatchdog(o.Patience)
	s.conns.turns = newTurns(o.Patience.Header)
	s.writers.New = func() any { return new(writer) }
	if err := s.Load(o.Config); err != nil {
		return nil, err
	}
	return s, nil
}

// Load is Prepare and its commit in one.
func (s *Server) Load(cfg *config.Config) error {
	commit, err := s.Prepare(cfg)
	if err != nil {
		return err
	}
	commit()
	return nil
}

// Addrs reports the bound addresses; it waits until Run has bound them or ctx
// ends.
func (s *Server) Addrs(ctx context.Context) (Addrs, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return Addrs{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs, nil
}
