package revoked

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/store"
)

// metrics are those of the contract, with their children bound once.
type metrics struct {
	kinds       [store.KindKey + 1]prometheus.Counter
	propagation prometheus.Histogram
	since       time.Time
}

// Register adds the mirror's metrics to a registry. Call it once, before Load.
func (m *Mirror) Register(reg prometheus.Registerer) error {
	kinds := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_revocations_total", Help: "Revocations put in force, by kind."}, []string{"kind"})
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_revocation_feed_age_seconds", Help: "Time since the revocation list was last known to be complete."},
		func() float64 { return m.Age().Seconds() })
	propagation := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "gatehouse_revocation_propagation_seconds", Help: "From a revocation's record to its being in force here.",
		Buckets: []float64{.001, .005, .01, .02, .05, .1, .25, .5, 1, 2, 5},
	})
	for _, c := range []prometheus.Collector{kinds, age, propagation} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register revocation metrics: %w", err)
		}
	}
	mt := &metrics{propagation: propagation, since: m.now()}
	for kind, name := range map[store.Kind]string{store.KindToken: "token", store.KindSession: "session", store.KindUser: "user", store.KindKey: "key"} {
		mt.kinds[kind] = kinds.WithLabelValues(name)
	}
	m.metrics.Store(mt)
	return nil
}

// took counts an entry; what was there before the start is no propagation, and
// there may be a million of it to ask the clock for.
func (mt *metrics) took(e store.Revocation, now func() time.Time) {
	if c := mt.kinds[e.Kind]; c != nil {
		c.Inc()
	}
	if e.CreatedAt.After(mt.since) {
		mt.propagation.Observe(max(now().Sub(e.CreatedAt).Seconds(), 0))
	}
}
