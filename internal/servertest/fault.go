package servertest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"gatehouse/internal/gatetest"
)

// Fault stands between a program and a server, and makes the way bad.
type Fault struct {
	Addr  string // where the program connects to
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// silence turns off what toxics log on their own, to no logger of ours.
var silence = sync.OnceFunc(func() { zerolog.SetGlobalLevel(zerolog.Disabled) })

// Between starts one in front of an address.
func Between(t testing.TB, addr string) *Fault {
	t.Helper()
	silence()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.New(io.Discard))
	f := &Fault{Addr: gatetest.FreeAddr(t), t: t}
	f.proxy = toxiproxy.NewProxy(server, "fault", f.Addr, addr)
	if err := f.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.proxy.Stop)
	return f
}

// Cut refuses connections and ends those that stand.
func (f *Fault) Cut() { f.proxy.Stop() }

// BlackHole takes everything and lets nothing through.
func (f *Fault) BlackHole() { f.both("timeout", `{"timeout": 0}`) }

// Slow adds a delay to every answer.
func (f *Fault) Slow(ms int) { f.add("downstream", "latency", fmt.Sprintf(`{"latency": %d}`, ms)) }

// Reset breaks every connection soon after its first bytes.
func (f *Fault) Reset() { f.both("reset_peer", `{"timeout": 1}`) }

// Trickle lets one KiB a second through.
func (f *Fault) Trickle() { f.add("downstream", "bandwidth", `{"rate": 1}`) }

// Heal ends whatever was done.
func (f *Fault) Heal() {
	f.t.Helper()
	f.proxy.Toxics.ResetToxics(context.Background())
	if err := f.proxy.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted {
		f.t.Fatal(err)
	}
}

func (f *Fault) both(kind, attributes string) {
	f.t.Helper()
	f.add("upstream", kind, attributes)
	f.add("downstream", kind, attributes)
}

func (f *Fault) add(stream, kind, attributes string) {
	f.t.Helper()
	text := fmt.Sprintf(`{"name": "%s %s", "type": %q, "stream": %q, "attributes": %s}`, kind, stream, kind, stream, attributes)
	if _, err := f.proxy.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		f.t.Fatal(err)
	}
}
