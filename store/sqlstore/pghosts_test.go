package sqlstore

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/internal/servertest"
)

// pgGoneHost names first a host that takes connections and says nothing. It is
// tried when nothing is known, and not for every connection while the other works.
func pgGoneHost(t *testing.T, server *servertest.Postgres) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	var tried atomic.Int32
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			defer c.Close() // when the test is over
			tried.Add(1)
		}
	}()
	p := openPostgres(t, strings.Replace(server.Database(""), server.Addr, lis.Addr().String()+","+server.Addr, 1))
	if tried.Load() == 0 {
		t.Error("the first host was not tried")
	}
	// On a busy machine the other may not do either for a moment, and both are tried.
	eventually(t, "a connection to the other host alone", func() bool {
		before := tried.Load()
		p.outdate() // so that the next one connects
		return p.Ping(t.Context()) == nil && tried.Load() == before
	})
}

// pgSilent has the machine fall silent that all connections lead to. Once it is
// given up, idle ones are thrown away instead of being waited for, probe after
// probe.
func pgSilent(t *testing.T, server *servertest.Postgres) {
	way := servertest.Between(t, server.Addr)
	p := openPostgres(t, strings.Replace(server.Database(""), server.Addr, way.Addr, 1))
	if err := p.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := p.born.Load()
	way.BlackHole()
	for range pgFailures {
		p.circuit.Failed(errWaited) // what that many acts would say after two seconds each
	}
	if p.born.Load() == old {
		t.Error("connections that stand may still be used")
	}
	way.Heal()
	eventually(t, "it answers again", func() bool { return p.Ping(t.Context()) == nil })
}
