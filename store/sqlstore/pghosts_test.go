package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// host stands for a server: silent until the caller gives up, or one that takes
// writes after so many refusals.
type host struct {
	silent   bool
	refusals int32
	asked    atomic.Int32
	closed   atomic.Int32
}

var errStandby = errors.New("read only connection")

func (h *host) Connect(ctx context.Context) (driver.Conn, error) {
	asked := h.asked.Add(1)
	if h.silent {
		ctx, cancel := context.WithTimeout(ctx, pgDialWait)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if asked <= h.refusals {
		return nil, errStandby
	}
	return hostConn{h: h}, nil
}

func (*host) Driver() driver.Driver { return nil }

type hostConn struct {
	driver.Conn
	h *host
}

func (c hostConn) Close() error { c.h.closed.Add(1); return nil }

// A standby that is promoted while somebody waits for the machine it replaces
// is found by them, and by the next one at once.
func TestConnectFindsTheHostThatTakesWrites(t *testing.T) {
	for _, c := range []struct {
		name  string
		hosts []*host
		takes time.Duration
		found int // -1 for none
	}{
		{"the first", []*host{{}, {}}, 0, 0},
		{"the second", []*host{{refusals: 9}, {}}, 0, 1},
		{"the one before is gone", []*host{{silent: true}, {}}, pgPatience, 1},
		{"promoted meanwhile", []*host{{silent: true}, {refusals: 2}}, 3 * pgPatience, 1},
		{"promoted meanwhile, of three", []*host{{silent: true}, {silent: true}, {refusals: 1}}, 2 * pgPatience, 2},
		{"none, and all say so", []*host{{refusals: 9}, {refusals: 9}}, 0, -1},
		{"none, and one says nothing", []*host{{silent: true}, {refusals: 9}}, pgDialWait, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &pgHosts{}
				for _, one := range c.hosts {
					h.each = append(h.each, one)
				}
				began := time.Now()
				conn, err := h.Connect(t.Context())
				if took := time.Since(began); took != c.takes {
					t.Errorf("took %v, want %v", took, c.takes)
				}
				if c.found < 0 {
					if err == nil || !errors.Is(err, errStandby) {
						t.Errorf("%v, %v", conn, err)
					}
					return
				}
				if err != nil || conn.(hostConn).h != c.hosts[c.found] {
					t.Fatalf("%v, %v", conn, err)
				}
				other := &c.hosts[(c.found+1)%len(c.hosts)].asked
				before := other.Load()
				if _, err := h.Connect(t.Context()); err != nil || other.Load() != before {
					t.Errorf("the next one asked another: %v", err)
				}
			})
		})
	}
}

// Of two hosts that answer at the same moment one is kept and the other closed.
func TestConnectKeepsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &host{silent: true}, &host{}
		late := lateHost{two}
		h := &pgHosts{each: []driver.Connector{late, late, one}}
		if _, err := h.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if two.asked.Load() != 2 || two.closed.Load() != 1 {
			t.Errorf("%d connections were made and %d closed", two.asked.Load(), two.closed.Load())
		}
	})
}

// lateHost answers when the others have been asked.
type lateHost struct{ *host }

func (l lateHost) Connect(ctx context.Context) (driver.Conn, error) {
	time.Sleep(2 * pgPatience) // and goes on when the caller has given up, as a dial that is done does
	return l.host.Connect(ctx)
}
