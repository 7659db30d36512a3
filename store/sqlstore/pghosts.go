//go:build !embedded

package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgHosts connects to the one of several hosts that takes writes. It begins
// with the host that did last, and waits for none alone: a machine that is gone
// says nothing, and another may take its place at any moment.
type pgHosts struct {
	each []driver.Connector
	good atomic.Int64
}

// pgPatience is how long one host may keep the others from being asked.
const pgPatience = 200 * time.Millisecond

func newHosts(cfg *pgx.ConnConfig, opts ...stdlib.OptionOpenDB) *pgHosts {
	ways := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
	h := &pgHosts{}
	for i := 0; i < len(ways); {
		one := cfg.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = ways[i].Host, ways[i].Port, ways[i].TLSConfig, nil
		for i++; i < len(ways) && ways[i].Host == one.Host && ways[i].Port == one.Port; i++ { // with TLS and without
			one.Fallbacks = append(one.Fallbacks, ways[i])
		}
		h.each = append(h.each, stdlib.GetConnector(*one, opts...))
	}
	return h
}

// Connect implements driver.Connector. It gives up when no host will do and
// none leaves it waiting; while one does, the others are asked again.
func (h *pgHosts) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := h.good.Load()
	r := &race{pgHosts: h, answers: make(chan answer), errs: make([]error, len(h.each))}
	for i := range h.each {
		r.idle = append(r.idle, (int(first)+i)%len(h.each))
	}
	r.ask(ctx)
	tick := time.NewTicker(pgPatience)
	defer tick.Stop()
	for r.waiting > 0 {
		select {
		case <-ctx.Done():
			return nil, errors.Join(append(r.errs, ctx.Err())...)
		case <-tick.C:
			for range len(r.idle) {
				r.ask(ctx)
			}
		case a := <-r.answers:
			if a.err == nil {
				h.good.Store(int64(a.host))
				return a.conn, nil
			}
			r.refused(ctx, a)
		}
	}
	return nil, errors.Join(r.errs...)
}

// race is one Connect.
type race struct {
	*pgHosts
	answers chan answer
	idle    []int // hosts that were not asked yet, then those that refused
	begun   int   // hosts that were asked at least once
	waiting int
	errs    []error // the last of each host
}

type answer struct {
	host int
	conn driver.Conn
	err  error
}

// ask asks the next host.
func (r *race) ask(ctx context.Context) {
	host := r.idle[0]
	r.idle = r.idle[1:]
	r.begun++
	r.waiting++
	go func() {
		conn, err := r.each[host].Connect(ctx)
		select {
		case r.answers <- answer{host, conn, err}:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close() // another was faster
			}
		}
	}()
}

// refused goes on at once to a host that was not asked yet.
func (r *race) refused(ctx context.Context, a answer) {
	r.waiting--
	r.errs[a.host] = a.err
	r.idle = append(r.idle, a.host)
	if r.begun < len(r.each) {
		r.ask(ctx)
	}
}

// Driver implements driver.Connector.
func (h *pgHosts) Driver() driver.Driver { return h.each[0].Driver() }
