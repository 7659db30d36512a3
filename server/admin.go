package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler serves health, readiness, metrics and profiles. It exists on
// the admin listener alone (T142).
func (s *Server) adminHandler(addr net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		adminJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{Registry: s.opts.Registry}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if !peerOf(addr.String()).IsLoopback() {
		return mux
	}
	// A page in a browser on this machine can make a name resolve to
	// loopback; it cannot make the browser send an address as Host.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, ok := hostOf(r.Host)
		if _, isIP := parseEntry(host); !ok || (!isIP && host != "localhost") {
			adminJSON(w, http.StatusMisdirectedRequest, map[string]string{"status": "this listener answers to addresses and localhost"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func adminJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller went away
}

// readiness is the answer of /readyz.
type readiness struct {
	Status     string            `json:"status"` // ready, draining, failing
	Components map[string]string `json:"components"`
}

// readyz asks every component at the same time, each for two seconds at most.
// What is wrong is in the log.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	errs := make([]error, len(s.opts.Ready))
	var wg sync.WaitGroup
	for i, c := range s.opts.Ready {
		wg.Go(func() { errs[i] = c.Check(ctx) })
	}
	wg.Wait()
	out := readiness{Status: "ready", Components: map[string]string{}}
	for i, c := range s.opts.Ready {
		out.Components[c.Name] = "ok"
		if errs[i] != nil {
			out.Components[c.Name] = "failed"
			if !c.Advisory {
				out.Status = "failing"
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.String("component", c.Name), slog.Any("error", errs[i]))
		}
	}
	if s.draining.Load() {
		out.Status = "draining"
	}
	status := http.StatusOK
	if out.Status != "ready" {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	adminJSON(w, status, out)
}
