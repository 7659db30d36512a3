package redisstore

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of failures, as labels of gatehouse_redis_errors_total.
const (
	kindTimeout = iota
	kindRefused
	kindLoading
	kindReadOnly
	kindFull
	kindAuth
	kindCluster
	kindOther
	kinds
)

func kindNames() [kinds]string {
	return [kinds]string{"timeout", "connection", "loading", "readonly", "oom", "auth", "cluster", "other"}
}

type errorCounts [kinds]atomic.Int64

func (e *errorCounts) add(kind int) { e[kind].Add(1) }

// kindOf sorts what Redis or the way to it said. All of it means unavailable.
func kindOf(err error) int {
	text := err.Error()
	for prefix, kind := range map[string]int{
		"LOADING": kindLoading, "READONLY": kindReadOnly, "OOM": kindFull, "NOAUTH": kindAuth, "WRONGPASS": kindAuth, "NOPERM": kindAuth,
		"MOVED": kindCluster, "ASK": kindCluster, "CLUSTERDOWN": kindCluster, "TRYAGAIN": kindCluster, "CROSSSLOT": kindCluster, "MASTERDOWN": kindReadOnly,
	} {
		if strings.HasPrefix(text, prefix+" ") || text == prefix {
			return kind
		}
	}
	var network net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout(), strings.Contains(text, "pool timeout"):
		return kindTimeout
	case errors.As(err, &network), strings.Contains(text, "EOF"), strings.Contains(text, "refused"), strings.Contains(text, "reset"):
		return kindRefused
	}
	return kindOther
}

// Register adds the metrics of Redis to a registry.
func (c *Client) Register(reg prometheus.Registerer) error {
	for kind, name := range kindNames() {
		err := reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gatehouse_redis_errors_total", Help: "Failures of Redis, by kind.", ConstLabels: prometheus.Labels{"kind": name},
		}, func() float64 { return float64(c.errors[kind].Load()) }))
		if err != nil {
			return err
		}
	}
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gatehouse_redis_up", Help: "1 while Redis answers."}, func() float64 {
		if c.circuit.Allow() != nil {
			return 0
		}
		return 1
	}))
}
