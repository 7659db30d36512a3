package authn

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the counters of the sign-in service.
type Metrics struct {
	authn   *prometheus.CounterVec
	limited *prometheus.CounterVec
}

// NewMetrics registers them; queue reports how many password checks wait.
func NewMetrics(reg prometheus.Registerer, queue func() int) (*Metrics, error) {
	m := &Metrics{
		authn:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_authn_total", Help: "Authentications, by method and result."}, []string{"method", "result"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatehouse_limited_total", Help: "Attempts refused by a limit."}, []string{"limit"}),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_password_hash_queue", Help: "Password checks waiting for a slot."}, func() float64 { return float64(queue()) })
	for _, c := range []prometheus.Collector{m.authn, m.limited, waiting} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register sign-in metrics: %w", err)
		}
	}
	return m, nil
}

// Authn counts one authentication.
func (m *Metrics) Authn(method, result string) { m.authn.WithLabelValues(method, result).Inc() }

// Limited counts one refusal by a limit.
func (m *Metrics) Limited(limit string) { m.limited.WithLabelValues(limit).Inc() }
