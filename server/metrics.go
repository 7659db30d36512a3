package server

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the request metrics of the contract. Children are looked up once
// per combination and kept: a lookup by labels costs more than the count.
type metrics struct {
	requests           *prometheus.CounterVec
	duration           *prometheus.HistogramVec
	badAddr            *prometheus.CounterVec
	shed               prometheus.Counter
	slow               *prometheus.CounterVec
	certOK, certExpiry prometheus.Gauge

	mu       sync.RWMutex
	counters map[requestKey]prometheus.Counter
	timers   map[string]prometheus.Observer
}

type requestKey struct {
	route, method string
	code          int
}

// register adds c to reg, or returns the equal collector that is there.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	var dup prometheus.AlreadyRegisteredError
	if errors.As(err, &dup) {
		if old, ok := dup.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

func newMetrics(reg *prometheus.Registry) (*metrics, error) {
	m := &metrics{counters: map[requestKey]prometheus.Counter{}, timers: map[string]prometheus.Observer{}}
	var errs [9]error
	m.requests, errs[0] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gatehouse_requests_total", Help: "Requests answered."}, []string{"route", "code", "method"}))
	m.duration, errs[1] = register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gatehouse_request_duration_seconds", Help: "From the head of a request to the end of its answer.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300},
	}, []string{"route"}))
	m.badAddr, errs[2] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gatehouse_forwarded_rejected_total", Help: "Forwarding headers of trusted proxies that made no sense."}, []string{"header"}))
	m.shed, errs[3] = register(reg, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gatehouse_connections_shed_total", Help: "Connections refused or answered 503 because there were too many."}))
	m.slow, errs[4] = register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gatehouse_slow_clients_total", Help: "Requests or connections ended because the client made no progress."}, []string{"kind"}))
	m.certOK, errs[7] = register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_certificate_last_reload_success", Help: "1 when the certificates in use are the newest there are."}))
	m.certExpiry, errs[8] = register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_certificate_expiry_timestamp_seconds", Help: "When the first of the certificates in use ends; 0 when unknown."}))
	_, errs[5] = register(reg, collectors.NewGoCollector())
	_, errs[6] = register(reg, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m, errors.Join(errs[:]...)
}

// observe counts one request.
func (m *metrics) observe(route, method string, code int, d time.Duration) {
	k := requestKey{route, method, code}
	m.mu.RLock()
	c, ok := m.counters[k]
	t := m.timers[route]
	m.mu.RUnlock()
	if !ok {
		c, t = m.child(k)
	}
	c.Inc()
	t.Observe(d.Seconds())
}

func (m *metrics) child(k requestKey) (prometheus.Counter, prometheus.Observer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.requests.WithLabelValues(k.route, strconv.Itoa(k.code), k.method)
	t := m.duration.WithLabelValues(k.route)
	m.counters[k], m.timers[k.route] = c, t
	return c, t
}

// methodLabel bounds the label: clients may send any token as a method.
// It is not m itself, which may be a piece of a request's head: a label is kept
// for good.
func methodLabel(m string) string {
	for _, known := range [...]string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
		"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK",
		"REPORT", "SEARCH", "MKCALENDAR", "ACL",
	} {
		if m == known {
			return known
		}
	}
	return "other"
}
