package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gatehouse/config"
	"gatehouse/server/http1"
	"gatehouse/server/http2"

	"github.com/pires/go-proxyproto"
	"golang.org/x/crypto/acme"
)

// Prepare checks everything of cfg that this package acts on and returns what
// puts it in force. Nothing has changed when it returns an error, and commit
// cannot fail: several parts can prepare first and commit together.
func (s *Server) Prepare(cfg *config.Config) (commit func(), err error) {
	trusted := unmapPrefixes(cfg.Listen.TrustedProxies)
	if cfg.Listen.ProxyProtocol && len(trusted) == 0 {
		return nil, errors.New("listen.proxy_protocol needs listen.trusted_proxies: with nobody to believe, the header would be refused from everybody")
	}
	certs, err := s.newCerts(cfg)
	if err != nil {
		return nil, err
	}
	next := &state{trusted: trusted, hsts: []string{hstsValue(cfg.TLS.HSTS)}, access: cfg.Log.Access, port: publicPort(cfg), certs: certs}
	return func() {
		if a, ok := certs.(*acmeCerts); ok {
			a.serve(cfg.Hosts()) // the source outlives a reload: it holds orders in progress
		}
		s.state.Store(next)
	}, nil
}

// hstsValue formats RFC 6797 section 6.1.
func hstsValue(h config.HSTS) string {
	v := fmt.Sprintf("max-age=%d", int64(h.MaxAge.Seconds()))
	if h.IncludeSubdomains {
		v += "; includeSubDomains"
	}
	if h.Preload {
		v += "; preload"
	}
	return v
}

// serving is one listener and what serves its connections: net/http for the
// admin listener, and for the others http1, with http2 behind TLS.
type serving struct {
	name string
	lis  net.Listener
	srv  *http.Server
	one  *http1.Server
	two  *http2.Server
	door *door // to both; nil without TLS
}

// Run binds the listeners and serves until ctx ends; then it drains: readiness
// goes off, after listen.drain_delay no new connection is taken, requests in
// flight get 25 s. It returns nil after a drain, and the error of a listener
// that could not be bound or that failed.
func (s *Server) Run(ctx context.Context) error {
	all, err := s.bind(ctx)
	if err != nil {
		return err
	}
	bg, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	slow := func(kind string) { s.metrics.slow.WithLabelValues(kind).Inc() }
	background.Go(func() { s.watch.run(bg, slow) })
	background.Go(func() { s.conns.run(bg, s.opts.Patience.Sweep, slow) })
	background.Go(func() { s.keepCerts(bg) })
	defer background.Wait()
	defer stop()

	failed := make(chan error, len(all))
	for _, v := range all {
		background.Go(func() { failed <- v.serve(bg) })
		if v.one != nil {
			background.Go(func() { v.one.Run(bg) })
		}
		if v.two != nil {
			background.Go(func() { v.two.Run(bg) })
		}
	}
	s.notify("READY=1")
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("https", s.addrs.HTTPS), slog.String("http", s.addrs.HTTP), slog.String("admin", s.addrs.Admin))
	select {
	case <-ctx.Done():
		err = s.leave(context.WithoutCancel(ctx), failed)
	case err = <-failed:
	}
	s.drain(context.WithoutCancel(ctx), all)
	return err
}

// leave says that this instance goes, and serves on until whoever spreads the
// connections can have noticed. Every answer ends its connection meanwhile
// (GOAWAY in HTTP/2), so that clients come back elsewhere by themselves instead
// of losing a request to a connection that is closed while they send it.
func (s *Server) leave(ctx context.Context, failed <-chan error) error {
	s.draining.Store(true)
	delay := s.opts.Config.Listen.DrainDelay
	if delay <= 0 {
		return nil
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "leaving", slog.Duration("drain_delay", delay))
	select {
	case <-s.opts.After(delay):
		return nil
	case err := <-failed:
		return err
	}
}

func (v *serving) serve(ctx context.Context) error {
	var err error
	switch {
	case v.one == nil:
		err = v.srv.Serve(v.lis)
	case v.door == nil:
		err = acceptAll(v.lis, func(c net.Conn) { v.one.Serve(withConn(ctx, c), c, nil) })
	default:
		err = acceptAll(v.lis, func(c net.Conn) { v.door.greet(ctx, c) })
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", v.name, err)
}

// shutdown ends what serves in order, or gives ctx's error.
func (v *serving) shutdown(ctx context.Context) error {
	if v.srv != nil {
		return v.srv.Shutdown(ctx)
	}
	var two error
	var both sync.WaitGroup
	if v.two != nil {
		both.Go(func() { two = v.two.Shutdown(ctx) })
	}
	one := v.one.Shutdown(ctx)
	both.Wait()
	return errors.Join(one, two)
}

// close ends what could not end in time.
func (v *serving) close() {
	switch {
	case v.srv != nil:
		_ = v.srv.Close() // it ends either way
	case v.two != nil:
		v.two.Close()
		fallthrough
	default:
		v.one.Close()
	}
}

// bind opens every configured listener, or none.
func (s *Server) bind(ctx context.Context) ([]*serving, error) {
	var all []*serving
	l := s.opts.Config.Listen
	for _, want := range []struct{ kind, addr string }{{"https", l.HTTPS}, {"http", l.HTTP}, {"admin", l.Admin}} {
		if want.addr == "" {
			continue
		}
		v, err := s.open(ctx, want.kind, want.addr)
		if err != nil {
			for _, v := range all {
				_ = v.lis.Close() // the bind error is what matters
			}
			return nil, fmt.Errorf("listen.%s: %w", want.kind, err)
		}
		all = append(all, v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range all {
		addr := v.lis.Addr().String()
		switch v.name {
		case "https":
			s.addrs.HTTPS = addr
		case "http":
			s.addrs.HTTP = addr
		case "admin":
			s.addrs.Admin = addr
		}
	}
	close(s.ready)
	return all, nil
}

func (s *Server) open(ctx context.Context, kind, addr string) (*serving, error) {
	raw, err := listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	v := &serving{name: kind}
	v.lis = &listener{Listener: raw, table: s.conns, kind: kind, shed: s.metrics.shed}
	if kind == "admin" {
		v.srv = s.adminServer(raw.Addr())
		return v, nil
	}
	if s.opts.Config.Listen.ProxyProtocol {
		v.lis = &proxyproto.Listener{Listener: v.lis, ConnPolicy: s.proxyPolicy, ReadHeaderTimeout: s.opts.Patience.Header}
	}
	if kind == "http" {
		v.one = s.http1Server(http.HandlerFunc(s.serveChallenge))
		return v, nil
	}
	v.one, v.two = s.http1Server(s), s.http2Server(s)
	v.door = &door{config: s.tlsConfig(), patience: s.opts.Patience.Header, log: s.log, one: v.one, two: v.two}
	return v, nil
}

// proxyPolicy believes the PROXY header of trusted peers, who must send one;
// from anybody else it is not even looked for.
func (s *Server) proxyPolicy(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
	if o.Upstream != nil && contains(s.state.Load().trusted, peerOf(o.Upstream.String())) {
		return proxyproto.REQUIRE, nil
	}
	return proxyproto.SKIP, nil
}

// maxHead leaves it to the chain to refuse nearly all heads that are too large.
const maxHead = maxHeader + maxHeader/8

// adminServer sets every limit net/http leaves open by default (T123, T124).
func (s *Server) adminServer(addr net.Addr) *http.Server {
	p := s.opts.Patience
	return &http.Server{
		Handler:                      s.adminHandler(addr),
		ReadHeaderTimeout:            p.Header,
		IdleTimeout:                  p.Idle,
		MaxHeaderBytes:               maxHead,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// http1Server has the same limits.
func (s *Server) http1Server(h http.Handler) *http1.Server {
	return &http1.Server{
		Handler: h, Log: s.log, Head: s.opts.Patience.Header, Idle: s.opts.Patience.Idle, Pause: refusalPause, MaxHead: maxHead,
		Extra: func(status int) string {
			return "Gatehouse-Response: " + refusalCode(status) + "\r\nCache-Control: no-store\r\n"
		},
	}
}

// http2Server has them too, and those of streams (T125).
func (s *Server) http2Server(h http.Handler) *http2.Server {
	return &http2.Server{
		Handler: h, Log: s.log, Head: s.opts.Patience.Header, Idle: s.opts.Patience.Idle, MaxHead: maxHead,
		Silence: time.Minute, Answer: 15 * time.Second, Streams: 100,
		Extra: func(status int, h http.Header) {
			h["Gatehouse-Response"] = []string{refusalCode(status)}
			h["Cache-Control"] = []string{"no-store"}
		},
	}
}

// refusalPause is what a client waits for the answer to what is no request.
const refusalPause = 100 * time.Millisecond

// refusalCode names answers to what is no request.
func refusalCode(status int) string {
	if status == http.StatusRequestHeaderFieldsTooLarge {
		return "header_too_large"
	}
	return "bad_request"
}

// tlsConfig allows TLS 1.2 and 1.3, and of 1.2 only forward-secret AEAD suites
// (T118).
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:                  []string{"h2", "http/1.1", acme.ALPNProto},
		DynamicRecordSizingDisabled: true, // small first records cost more than they give behind HTTP/1.1
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.state.Load().certs.get(hello)
		},
	}
}

// serveChallenge lets a certificate authority's http-01 request through, which
// comes to the plain listener alone.
func (s *Server) serveChallenge(w http.ResponseWriter, r *http.Request) {
	if h := s.state.Load().certs.challenge(r); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	s.ServeHTTP(w, r)
}

// drain ends everything in order. The admin listener goes last: it is how
// others learn that this instance is leaving.
func (s *Server) drain(ctx context.Context, all []*serving) {
	s.draining.Store(true)
	s.notify("STOPPING=1")
	s.log.LogAttrs(ctx, slog.LevelInfo, "draining")
	ctx, cancel := context.WithTimeout(ctx, s.opts.Patience.Drain)
	defer cancel()

	var public sync.WaitGroup
	for _, v := range all {
		if v.name == "admin" {
			continue
		}
		_ = v.lis.Close() // Shutdown closes it again; upgrades end after the last accept
		public.Go(func() {
			// Closing the listener a second time is an error too, and no matter.
			if err := v.shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
				s.log.LogAttrs(ctx, slog.LevelWarn, "requests were cut off at the end of the drain", slog.String("listener", v.name))
				v.close() // what could not end in time
			}
		})
	}
	if s.opts.OnDrain != nil {
		done := make(chan struct{})
		go func() { defer close(done); s.opts.OnDrain(ctx) }()
		public.Go(func() {
			select {
			case <-done:
			case <-ctx.Done():
			}
		})
	}
	public.Wait()
	for _, v := range all {
		if v.name == "admin" {
			v.close() // nobody waits for metrics
		}
	}
	s.conns.closeAll()
}
