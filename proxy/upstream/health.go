package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// watch asks an address for its health path until the group is closed.
func (g *Group) watch(a *address) {
	tick := time.NewTicker(g.o.Health.Interval)
	defer tick.Stop()
	for {
		sick := g.probe(a) != nil
		if g.ctx.Err() != nil {
			return // a check that was cut off says nothing
		}
		if a.sick.Swap(sick) != sick {
			g.tell(a, !sick)
		}
		select {
		case <-g.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (g *Group) probe(a *address) error {
	ctx, cancel := context.WithTimeout(g.ctx, g.o.Health.Timeout)
	defer cancel()
	resp, err := a.client.roundTrip(ctx, &Request{Method: http.MethodGet, Target: g.o.Health.Path, Header: http.Header{"User-Agent": {"gatehouse-health"}}})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("health check: %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	return err
}
