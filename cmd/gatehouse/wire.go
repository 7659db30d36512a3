package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gatehouse/authn"
	"gatehouse/authn/password"
	"gatehouse/authn/revoked"
	"gatehouse/authn/token"
	"gatehouse/config"
	"gatehouse/proxy"
	"gatehouse/server"
	"gatehouse/store"
	"gatehouse/web"
)

// revocationMargin is how long past its expiry a revocation stays in memory.
const revocationMargin = 24 * time.Hour

// accounts is the sign-in side: what serve and the operator's commands share.
type accounts struct {
	store   database
	audit   *server.Audit
	ring    *token.Ring
	mirror  *revoked.Mirror
	hasher  *password.Hasher
	service *authn.Service
	cluster *cluster // nil for a single instance
}

// gateway is one wired gateway.
type gateway struct {
	*accounts
	app     *app
	log     *slog.Logger
	logs    *server.Logs
	cfg     atomic.Pointer[config.Config]
	proxy   *proxy.Proxy
	server  *server.Server
	watcher *server.Watcher
}

// opening is how serve and the operator's commands differ.
type opening struct {
	hashing password.Options
	mirror  bool // the mirror will be loaded: begin with it as soon as possible
}

// openAccounts opens the store and everything that works on it.
func openAccounts(ctx context.Context, cfg *config.Config, log *slog.Logger, reg prometheus.Registerer, o opening) (_ *accounts, err error) {
	a := &accounts{mirror: revoked.New(nil, revocationMargin, log, time.Now)}
	if err = a.mirror.Register(reg); err != nil {
		return nil, err
	}
	var beside func(context.Context, store.Revocations)
	if o.mirror {
		beside = a.mirror.Preload
	}
	if a.store, err = openDatabase(ctx, cfg.Store, log, beside); err != nil {
		return nil, err
	}
	a.mirror.SetSource(a.store.Revocations())
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.audit, err = server.OpenAudit(cfg.Log.AuditFile, log, time.Now); err != nil {
		return nil, err
	}
	keys, err := sealedKeys(a.store, cfg)
	if err != nil {
		return nil, err
	}
	if a.ring, err = token.NewRing(keys, cfg.Tokens, cfg.Sessions.MaxLifetime, log, time.Now); err != nil {
		return nil, err
	}
	if a.hasher, err = password.NewHasher(o.hashing); err != nil {
		return nil, err
	}
	rules, err := password.NewRules(cfg.Accounts.Password, contextWords(cfg))
	if err != nil {
		return nil, err
	}
	metrics, err := authn.NewMetrics(reg, a.hasher.Queue)
	if err != nil {
		return nil, err
	}
	limiter, err := a.share(cfg, log, reg)
	if err != nil {
		return nil, err
	}
	a.service, err = authn.NewService(authn.Deps{
		Users: a.store.Users(), Lister: a.store.Users(), Sessions: a.store.Sessions(), Revocations: a.store.Revocations(),
		Limiter: limiter, Keys: keys, Ring: a.ring, Mirror: a.mirror, Hasher: a.hasher, Rules: rules,
		Log: log, Audit: a.audit.Logger(), Metrics: metrics, Now: time.Now,
	}, cfg)
	return a, err
}

// contextWords are the names no password may be built on.
func contextWords(cfg *config.Config) []string {
	words := []string{strings.TrimPrefix(cfg.Tokens.Issuer, "https://")}
	for _, r := range cfg.Routes {
		words = append(words, r.Host)
	}
	return words
}

func (a *accounts) close() error {
	var err error
	if a.hasher != nil {
		a.hasher.Close()
	}
	if a.audit != nil {
		err = a.audit.Close()
	}
	if a.cluster != nil {
		err = errors.Join(err, a.cluster.close())
	}
	return errors.Join(err, a.store.Close())
}

// wire builds a gateway and loads what must be known before the first request
// is accepted: keys and revocations.
func (a *app) wire(ctx context.Context, cfg *config.Config, logs *server.Logs, hasher []string) (_ *gateway, err error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g := &gateway{app: a, log: logs.Log, logs: logs}
	g.cfg.Store(cfg)
	if g.accounts, err = openAccounts(ctx, cfg, logs.Log, reg, opening{hashing: password.Options{Command: hasher, Log: logs.Log}, mirror: true}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.accounts.close())
		}
	}()
	if g.cluster != nil {
		if err = g.cluster.join(ctx); err != nil {
			return nil, err
		}
	}
	if err = g.ring.Load(ctx); err != nil {
		return nil, err
	}
	if err = g.mirror.Load(ctx); err != nil {
		return nil, err
	}
	ui, err := newUI(cfg)
	if err != nil {
		return nil, err
	}
	gate := authn.NewGate(g.service)
	g.proxy, err = proxy.New(proxy.Deps{Config: cfg, Auth: gate, Assert: g.ring, UI: ui, Log: logs.Log, Registry: reg, Now: time.Now, Limited: g.service.Metrics.Limited})
	if err != nil {
		return nil, err
	}
	g.mirror.OnRevoke(g.closeStreams)
	if err = g.listen(cfg, ui, authn.NewHandler(g.service, gate, ui, cfg.UI.Prefix), reg); err != nil {
		return nil, errors.Join(err, g.closeProxy())
	}
	return g, nil
}

func newUI(cfg *config.Config) (*web.UI, error) {
	o := web.Options{Prefix: cfg.UI.Prefix, Title: cfg.UI.Title, Issuer: cfg.Tokens.Issuer}
	if cfg.UI.LogoFile != "" {
		logo, err := os.ReadFile(cfg.UI.LogoFile)
		if err != nil {
			return nil, fmt.Errorf("ui.logo_file: %w", err)
		}
		o.Logo = logo
	}
	return web.New(o)
}

// closeStreams ends what is still open of what was just revoked.
func (g *gateway) closeStreams(e store.Revocation) {
	switch streams := g.proxy.Streams(); e.Kind {
	case store.KindSession:
		streams.CloseSession(e.Key)
	case store.KindUser:
		streams.CloseUser(e.Key, e.Generation)
	case store.KindToken:
		streams.CloseToken(e.Key)
	case store.KindKey:
		streams.CloseKey(e.Key)
		g.ring.Reload()
	}
}

func (g *gateway) listen(cfg *config.Config, ui *web.UI, own http.Handler, reg *prometheus.Registry) (err error) {
	socket, _ := g.app.env("NOTIFY_SOCKET")
	g.server, err = server.New(server.Options{
		Config: cfg, Own: own, Verify: http.HandlerFunc(g.proxy.ServeVerify), Proxy: g.proxy,
		KnownHost: g.knownHost, UI: ui, Log: g.log, Access: g.logs.Access, Registry: reg,
		Ready:   g.readyChecks(),
		OnDrain: g.proxy.Drain, NotifySocket: socket,
	})
	if err != nil {
		return err
	}
	g.watcher, err = server.NewWatcher(server.WatcherOptions{Files: g.files, Reload: g.reload, Log: g.log, Registry: reg})
	return err
}

// readyChecks are the components of /readyz. In a cluster only what one
// instance can lack alone takes it out of service: the others lack the stores
// too, and public routes need neither.
func (g *gateway) readyChecks() []server.ReadyCheck {
	checks := []server.ReadyCheck{
		{Name: "store", Check: g.store.Ping, Advisory: g.cluster != nil},
		{Name: "revocations", Check: g.fresh},
		{Name: "keys", Check: func(context.Context) error { return g.ring.Healthy() }},
	}
	if g.cluster != nil {
		checks = append(checks, server.ReadyCheck{Name: "redis", Check: g.cluster.ready, Advisory: true})
	}
	return checks
}

// knownHost knows the hosts of the routes and the issuer's own.
func (g *gateway) knownHost(host string) bool {
	return g.proxy.KnownHost(host) || host == g.cfg.Load().Tokens.IssuerHost()
}

func (g *gateway) fresh(context.Context) error {
	if g.mirror.Stale() {
		return fmt.Errorf("the revocation list is %v old", g.mirror.Age().Round(time.Second))
	}
	return nil
}

func (g *gateway) files() []string {
	file, err := filepath.Abs(g.cfg.Load().File)
	if err != nil {
		return nil // no working directory: SIGHUP still works
	}
	return []string{file}
}

// reload reads the file again and puts all of it in force, or none.
func (g *gateway) reload(ctx context.Context) error {
	old := g.cfg.Load()
	next, err := config.Load(old.File, g.app.env)
	if err != nil {
		return err
	}
	if stuck := config.RestartOnly(old, next); len(stuck) > 0 {
		return fmt.Errorf("these keys need a restart: %w", config.Problems(stuck))
	}
	rules, err := password.NewRules(next.Accounts.Password, contextWords(next))
	if err != nil {
		return err
	}
	commit, err := g.server.Prepare(next)
	if err != nil {
		return err
	}
	if err := g.proxy.Load(next); err != nil {
		return err
	}
	commit()
	if err := g.logs.SetLevel(next.Log.Level); err != nil {
		return err
	}
	g.service.Configure(next, rules)
	g.cfg.Store(next)
	g.audit.Logger().LogAttrs(ctx, slog.LevelInfo, "config.reload", slog.String("outcome", "success"))
	return nil
}

func (g *gateway) closeProxy() error {
	g.proxy.Close()
	return nil
}

func (g *gateway) close() error { return errors.Join(g.closeProxy(), g.accounts.close()) }
