package proxy

import (
	"context"
	"fmt"
	"net/http"
)

// group is what a route forwards to.
type group interface {
	Start()
	Close()
	RoundTrip(ctx context.Context, out *outbound) (resp *http.Response, addr string, err error)
}

// backend is the upstream group of a route; routes of successive
// configurations share it when nothing about it changed.
type backend struct{ group }

// attach gives every route its metrics and backend. Nothing is started before
// everything could be made.
func (p *Proxy) attach(next, old *table) error {
	before := map[string]*route{}
	if old != nil {
		for _, rt := range old.routes {
			before[rt.cfg.Name] = rt
		}
	}
	var fresh []*backend
	for _, rt := range next.routes {
		rt.metrics = p.metrics.bind(rt.cfg.Name)
		for _, u := range rt.cfg.Upstream {
			p.setUp(rt, u.Raw, true)
		}
		if was := before[rt.cfg.Name]; was != nil && rt.sameBackend(was) {
			rt.backend = was.backend
			continue
		}
		g, err := p.dial(rt)
		if err != nil {
			for _, b := range fresh {
				b.Close()
			}
			return fmt.Errorf("route %q: upstream: %w", rt.cfg.Name, err)
		}
		rt.backend = &backend{g}
		fresh = append(fresh, rt.backend)
	}
	for _, b := range fresh {
		b.Start()
	}
	return nil
}

// retire closes the backends that the next table does not use.
func retire(next, old *table) {
	if old == nil {
		return
	}
	used := map[*backend]bool{}
	if next != nil {
		for _, rt := range next.routes {
			used[rt.backend] = true
		}
	}
	for _, rt := range old.routes {
		if rt.backend != nil && !used[rt.backend] {
			rt.backend.Close()
		}
	}
}

// setUp keeps gatehouse_upstream_up.
func (p *Proxy) setUp(rt *route, address string, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	p.metrics.up.WithLabelValues(rt.cfg.Name, address).Set(value)
}
