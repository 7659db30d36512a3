//go:build !embedded

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/config"
	"gatehouse/store"
	"gatehouse/store/redisstore"
)

const (
	beatEvery = 2 * time.Second
	maxSkew   = 10 * time.Second
	skewEvery = 15 * time.Second
)

// cluster is what one instance has to do with the others.
type cluster struct {
	redis     *redisstore.Client
	instances store.Instances
	self      store.Instance
	issuer    string
	log       *slog.Logger
	now       func() time.Time
	live      atomic.Int64
	skew      atomic.Int64 // nanoseconds ahead of Redis
	policy    atomic.Pointer[error]
}

// openRedis makes the client; nil where there is no cluster.
func openRedis(cfg *config.Config, log *slog.Logger) (*redisstore.Client, error) {
	r := cfg.Redis
	if !cfg.Cluster {
		return nil, nil
	}
	addrs, database := r.Servers()
	o := redisstore.Options{
		Addrs: addrs, Database: database, Username: r.Username, Password: r.Password.Reveal(), Master: r.SentinelMaster,
		SentinelPassword: r.SentinelPassword.Reveal(), Name: strings.TrimPrefix(cfg.Tokens.Issuer, "https://"), Log: log,
	}
	if r.TLS {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if r.CAFile != "" {
			pem, err := os.ReadFile(r.CAFile)
			if err != nil {
				return nil, fmt.Errorf("redis.ca_file: %w", err)
			}
			o.TLS.RootCAs = x509.NewCertPool()
			if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("redis.ca_file: %s holds no certificate", r.CAFile)
			}
		}
	}
	return redisstore.Open(o)
}

func newCluster(cfg *config.Config, redis *redisstore.Client, instances store.Instances, log *slog.Logger) *cluster {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	now := time.Now().UTC()
	release, _ := versions()
	c := &cluster{redis: redis, instances: instances, issuer: cfg.Tokens.Issuer, log: log, now: time.Now,
		self: store.Instance{ID: strings.ToLower(rand.Text()), Host: host, Version: release, StartedAt: now, SeenAt: now}}
	c.live.Store(1)
	return c
}

// join refuses to serve beside instances this one does not fit, and announces
// it. A Redis that is away stops nobody from starting.
func (c *cluster) join(ctx context.Context) error {
	issuer, err := c.instances.Agree(ctx, "issuer", c.issuer)
	if err != nil {
		return err
	}
	if issuer != c.issuer {
		return fmt.Errorf("tokens.issuer is %s, but the instances on this database agreed on %s", c.issuer, issuer)
	}
	err = c.redis.Ping(ctx)
	if redisstore.Refuses(err) {
		return fmt.Errorf("redis refuses username and password: %w", err)
	}
	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelError, "redis does not answer; starting without it", slog.Any("error", err))
	} else if err := c.measure(ctx); err != nil {
		return err
	}
	return c.beat(ctx)
}

// errSkew says that tokens would expire at different times on different
// instances.
var errSkew = errors.New("this machine's clock and that of Redis differ by more than 10s; synchronise them")

// measure compares clocks and looks at the policy; only a clock that is off is
// an error.
func (c *cluster) measure(ctx context.Context) error {
	policy := c.redis.CheckPolicy(ctx)
	if errors.Is(policy, redisstore.ErrEvicts) {
		if old := c.policy.Swap(&policy); old == nil {
			c.log.LogAttrs(ctx, slog.LevelError, "redis is not set up for limits", slog.Any("error", policy))
		}
	} else if policy == nil {
		c.policy.Store(nil)
	}
	skew, err := c.redis.Skew(ctx, c.now)
	if err != nil {
		return nil //nolint:nilerr // Redis is away, which others report
	}
	if c.skew.Store(int64(skew)); skew.Abs() > maxSkew {
		return skewed(skew)
	}
	return nil
}

func skewed(by time.Duration) error {
	return fmt.Errorf("%w (%v)", errSkew, by.Round(time.Millisecond))
}

func (c *cluster) beat(ctx context.Context) error {
	c.self.SeenAt = time.Now().UTC()
	live, err := c.instances.Beat(ctx, c.self, c.self.SeenAt.Add(-liveFor))
	if err != nil {
		return err
	}
	c.live.Store(int64(len(live)))
	return nil
}

// Live is how many instances share the limits.
func (c *cluster) Live() int { return int(c.live.Load()) }

// run gives signs of life and watches the clock until ctx ends.
func (c *cluster) run(ctx context.Context) {
	beat, skew := time.NewTicker(beatEvery), time.NewTicker(skewEvery)
	defer beat.Stop()
	defer skew.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := c.instances.Leave(context.WithoutCancel(ctx), c.self.ID); err != nil {
				c.log.LogAttrs(ctx, slog.LevelWarn, "this instance stays listed for a while", slog.Any("error", err))
			}
			return
		case <-beat.C:
			if err := c.beat(ctx); err != nil && ctx.Err() == nil {
				c.log.LogAttrs(ctx, slog.LevelWarn, "no sign of life could be given", slog.Any("error", err))
			}
		case <-skew.C:
			if err := c.measure(ctx); err != nil {
				c.log.LogAttrs(ctx, slog.LevelError, "clocks differ", slog.Any("error", err))
			}
		}
	}
}

// ready is nil while Redis can be used as it should be. What is wrong is looked
// at again by every question, so that it is over for all once it was mended.
func (c *cluster) ready(ctx context.Context) error {
	if err := c.redis.Ping(ctx); err != nil {
		return err
	}
	if c.fit() == nil {
		return nil
	}
	if err := c.measure(ctx); err != nil {
		return err
	}
	return c.fit()
}

// fit is what the last look at Redis said of its policy and the clocks.
func (c *cluster) fit() error {
	if policy := c.policy.Load(); policy != nil {
		return *policy
	}
	if skew := time.Duration(c.skew.Load()); skew.Abs() > maxSkew {
		return skewed(skew)
	}
	return nil
}

// close ends the connections to Redis.
func (c *cluster) close() error { return c.redis.Close() }

// register adds the metrics of the cluster.
func (c *cluster) register(reg prometheus.Registerer) error {
	for name, g := range map[string]struct {
		help string
		f    func() float64
	}{
		"gatehouse_instances":          {"Instances that gave a sign of life lately.", func() float64 { return float64(c.live.Load()) }},
		"gatehouse_clock_skew_seconds": {"How far this machine's clock is ahead of that of Redis.", func() float64 { return time.Duration(c.skew.Load()).Seconds() }},
	} {
		if err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: g.help}, g.f)); err != nil {
			return fmt.Errorf("register metrics of the cluster: %w", err)
		}
	}
	return c.redis.Register(reg)
}

// share connects what a cluster shares, and returns its limiter.
func (a *accounts) share(cfg *config.Config, log *slog.Logger, reg prometheus.Registerer) (store.Limiter, error) {
	redis, err := openRedis(cfg, log)
	if err != nil || redis == nil {
		return a.store.Limiter(), err
	}
	a.cluster = newCluster(cfg, redis, a.store.Instances(), log)
	a.ring.Share()
	a.mirror.SetBell(redis.Bell())
	return redisstore.NewShared(redis.Limiter(), a.cluster.Live), a.cluster.register(reg)
}
