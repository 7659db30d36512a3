// Package proxy decides whether a request may pass, and moves its bytes: it
// matches host and path under every plausible reading, asks an Authenticator
// who is calling, judges with a pure function, and forwards what was judged
// with identity headers set last. It refuses to know tokens, keys, passwords
// and stores.
package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/web"

	"github.com/prometheus/client_golang/prometheus"
)

// Authenticator says who is calling. It never writes a response and never
// changes the request. The errors are those of package identity.
type Authenticator interface {
	Authenticate(r *http.Request, rec *web.Record, mayRenew bool) (identity.Result, error)
}

// Asserter signs X-Gatehouse-Assertion for one audience, the route's name.
type Asserter interface {
	Assertion(id *identity.Identity, audience string) (string, error)
}

// Deps is what a Proxy is made of.
type Deps struct {
	Config   *config.Config
	Auth     Authenticator
	Assert   Asserter // may be nil while no route says assertion: true
	UI       *web.UI
	Log      *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time   // nil means time.Now
	Limited  func(limit string) // counts a refusal in gatehouse_limited_total; may be nil
}

// Proxy serves everything that is not gatehouse's own. It is safe for
// concurrent use.
type Proxy struct {
	deps    Deps
	now     func() time.Time
	via     viaNames // pseudonyms in Via (RFC 9110 section 7.6.3), random per process
	metrics *metrics
	streams *Streams
	limits  *limits
	state   atomic.Pointer[table]
	buffers *sync.Pool // *[]byte of copyBuffer
	short   *sync.Pool // *[]byte of streamBuffer
	heads   sync.Pool  // *scratch
	dial    func(*route) (group, error)
	reload  sync.Mutex
}

// New builds a Proxy and loads the configuration. Close ends what it started.
func New(d Deps) (*Proxy, error) { return newProxy(d, dialGroup) }

func newProxy(d Deps, dial func(*Proxy, *route) (group, error)) (*Proxy, error) {
	if d.Config == nil || d.Auth == nil || d.UI == nil || d.Log == nil || d.Registry == nil {
		return nil, errors.New("proxy: a dependency is missing")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Limited == nil {
		d.Limited = func(string) {}
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	p := &Proxy{deps: d, now: d.Now, via: newViaNames("gatehouse-" + hex.EncodeToString(random[:]))}
	var err error
	if p.metrics, err = newMetrics(d.Registry); err != nil {
		return nil, fmt.Errorf("register proxy metrics: %w", err)
	}
	p.buffers, p.short = newBuffers(copyBuffer), newBuffers(streamBuffer)
	p.heads.New = func() any { return newScratch() }
	p.dial = func(rt *route) (group, error) { return dial(p, rt) }
	p.streams = newStreams(d.Now)
	p.limits = newLimits()
	if err := p.Load(d.Config); err != nil {
		return nil, err
	}
	return p, nil
}

// Load validates everything the configuration says about routes and swaps it
// in atomically. On an error the old configuration stays. Requests in flight
// keep the route they were matched to; upstreams whose route did not change
// keep their connections.
func (p *Proxy) Load(cfg *config.Config) error {
	p.reload.Lock()
	defer p.reload.Unlock()
	old := p.state.Load()
	next, err := buildTable(cfg, p.deps.Assert != nil)
	if err != nil {
		return err
	}
	if err := p.attach(next, old); err != nil {
		return err
	}
	p.state.Store(next)
	p.limits.configure(cfg.Limits)
	retire(next, old)
	if old != nil {
		for _, rt := range old.routes {
			if !slices.ContainsFunc(next.routes, func(n *route) bool { return n.cfg.Name == rt.cfg.Name }) {
				p.metrics.forget(rt.cfg.Name)
			}
		}
	}
	return nil
}

// Streams is the registry of running exchanges, for revocations and drain.
func (p *Proxy) Streams() *Streams { return p.streams }

// KnownHost reports whether any route is for a host (lower case, no port).
func (p *Proxy) KnownHost(host string) bool { return p.state.Load().knows(host) }

// Close stops the upstream groups. Requests still running are cancelled.
func (p *Proxy) Close() {
	p.reload.Lock()
	defer p.reload.Unlock()
	p.streams.CloseAll(closeGoingAway)
	retire(nil, p.state.Load())
}

// Drain closes upgraded connections with 1001 and returns when they are gone
// or ctx ends.
func (p *Proxy) Drain(ctx context.Context) { p.streams.drain(ctx) }
