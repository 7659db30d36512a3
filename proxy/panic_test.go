package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/config"
)

// faulty is a group with a bug: in the exchange, or in the body it returns.
type faulty struct {
	group
	late bool
}

func (f faulty) RoundTrip(ctx context.Context, out *outbound) (*http.Response, string, error) {
	if !f.late {
		panic("a bug")
	}
	resp, addr, err := f.group.RoundTrip(ctx, out)
	if err == nil {
		resp.Body, resp.ContentLength = faultyBody{resp.Body}, -1
	}
	return resp, addr, err
}

type faultyBody struct{ io.ReadCloser }

func (faultyBody) Read([]byte) (int, error) { panic("a bug in the body") }

// Fault F-G6: after a panic nothing of the exchange is left: no stream, no
// place in the route's cap, no open upstream connection; and the next is served.
func TestFG6_PanicLeavesNothingBehind(t *testing.T) {
	one := 1
	g := newGate(t, nil, func(c *config.Config) { c.Routes[0].MaxInFlight = &one })
	rt := g.state.Load().routes[0]
	sound := rt.backend
	for _, late := range []bool{false, true} {
		rt.backend = &backend{faulty{sound, late}}
		if a := g.get("/", aliceBearer); a.err == nil || strings.Contains(a.body, "bug") {
			t.Errorf("late %v: %d %q, want a connection that is cut", late, a.StatusCode, a.body)
		}
		rt.backend = sound
		if g.Streams().Len() != 0 || rt.inFlight.Load() != 0 {
			t.Errorf("late %v: %d streams, %d in flight", late, g.Streams().Len(), rt.inFlight.Load())
		}
		if a := g.get("/", aliceBearer); a.StatusCode != http.StatusOK {
			t.Errorf("late %v: then %d", late, a.StatusCode)
		}
	}
}
