//go:build !embedded

package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgHosts connects to the one of several hosts that takes writes. It begins
// with the host that did last: pgx begins with the first of the URL, which
// costs every connection pgDialWait when that machine is gone.
type pgHosts struct {
	each   []driver.Connector
	good   atomic.Int64
	failed atomic.Int64 // calls since then that found no host
}

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

// Connect implements driver.Connector. When no host will do, the next call
// begins with the next one: it need not wait for the one that is gone.
func (h *pgHosts) Connect(ctx context.Context) (driver.Conn, error) {
	var errs []error
	count := int64(len(h.each))
	first := h.good.Load() + h.failed.Load()
	for i := range count {
		n := (first + i) % count
		conn, err := h.each[n].Connect(ctx)
		if err == nil {
			h.good.Store(n)
			h.failed.Store(0)
			return conn, nil
		}
		if errs = append(errs, err); ctx.Err() != nil {
			return nil, errors.Join(errs...)
		}
	}
	h.failed.Add(1)
	return nil, errors.Join(errs...)
}

// Driver implements driver.Connector.
func (h *pgHosts) Driver() driver.Driver { return h.each[0].Driver() }
