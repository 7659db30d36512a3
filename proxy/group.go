package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatehouse/proxy/upstream"
	"gatehouse/web"
)

// outbound is the judged request as the upstream package takes it.
type outbound = upstream.Request

// dialGroup makes the upstream group of a route.
func dialGroup(p *Proxy, rt *route) (group, error) {
	return upstream.New(upstream.Options{
		URLs: rt.cfg.Upstream, Timeout: rt.cfg.Timeout, Balance: rt.cfg.Balance, Sticky: rt.cfg.Sticky, Health: rt.cfg.Health,
		OnHealth: func(address string, up bool) { p.setUp(rt, address, up) }, Now: p.deps.Now,
	})
}

// upstreamError maps what the upstream package says went wrong.
func upstreamError(err error) *web.Error {
	switch {
	case errors.Is(err, upstream.ErrNoUpstream):
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "no_upstream", Detail: "The application is not available at the moment; please try again.", RetryAfter: 5 * time.Second, Cause: err}
	// A connect that timed out is a connect that failed.
	case errors.Is(err, upstream.ErrConnect):
		return &web.Error{Status: http.StatusBadGateway, Code: "upstream_unreachable", Detail: "The application cannot be reached.", Cause: err}
	case errors.Is(err, upstream.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return &web.Error{Status: http.StatusGatewayTimeout, Code: "upstream_timeout", Detail: "The application did not answer in time.", Cause: err}
	default:
		return &web.Error{Status: http.StatusBadGateway, Code: "upstream_protocol", Detail: "The application's answer could not be understood.", Cause: err}
	}
}
