package proxy

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the families of contract section 7 that the proxy fills.
type metrics struct {
	upstream *prometheus.HistogramVec // seconds until the upstream's head
	authz    *prometheus.CounterVec
	up       *prometheus.GaugeVec
	sockets  atomic.Int64 // upgraded connections
	events   atomic.Int64 // answers of unknown length being copied
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_upstream_duration_seconds", Help: "Time until the upstream's answer began.", Buckets: prometheus.DefBuckets,
		}, []string{"route"}),
		authz: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_authz_total", Help: "Verdicts on proxied requests.",
		}, []string{"route", "verdict"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gatehouse_upstream_up", Help: "1 while an upstream is used, 0 while it is avoided.",
		}, []string{"route", "upstream"}),
	}
	for _, c := range []prometheus.Collector{m.upstream, m.authz, m.up} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	for kind, n := range map[string]*atomic.Int64{"websocket": &m.sockets, "stream": &m.events} {
		err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gatehouse_open_connections", Help: "Open connections.",
			ConstLabels: prometheus.Labels{"kind": kind},
		}, func() float64 { return float64(n.Load()) }))
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

// routeMetrics are the children of one route, bound at load time.
type routeMetrics struct {
	upstream prometheus.Observer
	verdicts [verdictCount]prometheus.Counter
}

func (m *metrics) bind(route string) *routeMetrics {
	b := &routeMetrics{upstream: m.upstream.WithLabelValues(route)}
	for v := range verdictCount {
		b.verdicts[v] = m.authz.WithLabelValues(route, v.String())
	}
	return b
}

// forget drops the series of a route that is gone.
func (m *metrics) forget(route string) {
	labels := prometheus.Labels{"route": route}
	m.upstream.DeletePartialMatch(labels)
	m.authz.DeletePartialMatch(labels)
	m.up.DeletePartialMatch(labels)
}
