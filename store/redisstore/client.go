package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"gatehouse/store/circuit"
)

// Nothing waits longer for Redis than opWait; the rest follows from it.
const (
	opWait     = 120 * time.Millisecond
	failures   = 3
	probeEvery = 100 * time.Millisecond
)

// Options of Open.
type Options struct {
	Addrs            []string // one = single, several = Cluster, with Master = Sentinels
	Database         int      // single and Sentinel only
	Username         string
	Password         string
	Master           string // name of the master the Sentinels watch
	SentinelPassword string
	TLS              *tls.Config // nil = plain text
	Name             string      // of the cluster; part of every key
	Log              *slog.Logger

	wait time.Duration // for one operation; 0 = opWait
}

// Client is one pool of connections. It is safe for concurrent use.
type Client struct {
	o       Options
	pool    atomic.Pointer[redis.UniversalClient]
	name    string
	wait    time.Duration
	log     *slog.Logger
	circuit *circuit.Circuit
	errors  errorCounts
	once    sync.Once
	closed  error
}

// Open makes a client; it connects when it is first used.
func Open(o Options) (*Client, error) {
	if len(o.Addrs) == 0 {
		return nil, errors.New("redis: no address is given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.wait == 0 {
		o.wait = opWait
	}
	silence()
	c := &Client{name: o.Name, wait: o.wait, log: o.Log, o: o}
	pool := connect(o, idle)
	c.pool.Store(&pool)
	c.circuit = circuit.New(circuit.Options{Failures: failures, Every: probeEvery, Wait: o.wait, Probe: c.revive, Changed: c.changed})
	return c, nil
}

// idle is how many connections stand ready.
const idle = 8

func connect(o Options, idle int) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: o.Addrs, DB: o.Database, Username: o.Username, Password: o.Password,
		MasterName: o.Master, SentinelPassword: o.SentinelPassword, TLSConfig: o.TLS,
		ClientName: "gatehouse", DisableIdentity: true, Protocol: 2,
		DialTimeout: o.wait, ReadTimeout: o.wait, WriteTimeout: o.wait, PoolTimeout: o.wait,
		ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1, MaxRedirects: 3,
		PoolSize: 10, MinIdleConns: idle, ConnMaxIdleTime: 5 * time.Minute,
		Dialer: dialer(o.TLS, o.wait),
	})
}

func (c *Client) rdb() redis.UniversalClient { return *c.pool.Load() }

// silence turns the library's own log off, which knows no levels and no JSON:
// what it would say is in the errors it returns.
var silence = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

type quiet struct{}

// Printf drops a line.
func (quiet) Printf(context.Context, string, ...any) {}

// dialer connects and shakes hands within wait; the library would give each of
// several addresses of a host that time.
func dialer(secure *tls.Config, wait time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: wait, KeepAlive: 5 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if secure == nil {
			return d.DialContext(ctx, network, addr)
		}
		cfg := secure.Clone()
		if cfg.ServerName == "" {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			cfg.ServerName = host
		}
		return (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext(ctx, network, addr)
	}
}

// key is a key of this cluster's; all are in one slot, so that one script may
// use several of them.
func (c *Client) key(kind string) string { return "gatehouse:{" + c.name + "}:" + kind }

// do asks Redis within opWait, unless it is known not to answer.
func (c *Client) do(ctx context.Context, ask func(ctx context.Context) error) error {
	if err := c.circuit.Allow(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.wait)
	defer cancel()
	err := ask(limited)
	if err == nil || errors.Is(err, redis.Nil) || errors.Is(err, ErrEvicts) {
		c.circuit.Succeeded()
		return err
	}
	c.errors.add(kindOf(err))
	c.circuit.Failed(err)
	return fmt.Errorf("redis: %w", err)
}

// probe asks whether Redis can be written, which PING would not tell: it may be
// a replica, full, or still loading.
func (c *Client) probe(ctx context.Context) error { return c.write(ctx, c.rdb()) }

func (c *Client) write(ctx context.Context, rdb redis.UniversalClient) error {
	return rdb.Set(ctx, c.key("probe"), 1, time.Minute).Err()
}

// revive probes while the circuit is open. A pool of the library that could not
// connect a few times connects once a second only; another pool may succeed
// sooner, and then takes its place.
func (c *Client) revive(ctx context.Context) error {
	err := c.probe(ctx)
	var answer redis.Error
	if err == nil || errors.As(err, &answer) || ctx.Err() != nil {
		return err
	}
	scout := connect(c.o, 0)
	if err = c.write(ctx, scout); err == nil {
		pool := connect(c.o, idle)
		old := *c.pool.Swap(&pool)
		_ = old.Close() // what is under way there was lost already
	}
	_ = scout.Close()
	return err
}

func (c *Client) changed(open bool, err error) {
	if open {
		c.log.Error("redis does not answer; limits are counted by each instance alone, revocations travel by polling", slog.Any("error", err))
		return
	}
	c.log.Warn("redis answers again")
}

// Ping is nil while Redis can be used.
func (c *Client) Ping(ctx context.Context) error { return c.do(ctx, c.probe) }

// Close ends the pool and what runs in the background.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.circuit.Close()
		c.closed = c.rdb().Close()
	})
	return c.closed
}
