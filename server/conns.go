package server

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// connTable knows every client connection: it caps their number, and ends
// those whose client does not take what is written to it. A connection over
// the cap is served one 503; beyond a second mark it is closed at once.
type connTable struct {
	limit, hard int64
	stall       time.Duration
	tick        atomic.Int64 // coarse clock, nanoseconds; 0 is never
	open        atomic.Int64 // of https and http together
	corks       sync.Pool    // *[]byte
	paced       prometheus.Counter
	turns       *turns

	mu    sync.Mutex
	conns map[*conn]struct{}
	kinds map[string]*atomic.Int64
}

func newConnTable(limit int, stall time.Duration, reg prometheus.Registerer) (*connTable, error) {
	if limit <= 0 {
		limit = limitFromFiles()
	}
	t := &connTable{limit: int64(limit), hard: int64(limit + limit/8 + 8), stall: stall,
		conns: map[*conn]struct{}{}, kinds: map[string]*atomic.Int64{}}
	t.tick.Store(1)
	t.corks.New = func() any { return new([]byte) }
	var err error
	if t.paced, err = register(reg, prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gatehouse_paced_reads_total", Help: "Reads that waited because their HTTP/2 client sends much and wants little."})); err != nil {
		return nil, err
	}
	for _, kind := range []string{"https", "http", "admin"} {
		n := new(atomic.Int64)
		t.kinds[kind] = n
		if err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gatehouse_open_connections", Help: "Open connections.",
			ConstLabels: prometheus.Labels{"kind": kind},
		}, func() float64 { return float64(n.Load()) })); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// limitFromFiles leaves half of the open files to upstreams and some to the
// store.
func limitFromFiles() int {
	var rl syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rl); err != nil || rl.Cur > 1<<20 {
		return 1 << 16
	}
	return max(16, (int(rl.Cur)-64)/2)
}

// shedding reports whether a connection may be over the cap.
func (t *connTable) shedding() bool { return t.open.Load() > t.limit }

// run ends stalled connections until ctx ends.
func (t *connTable) run(ctx context.Context, every time.Duration, slow func(kind string)) {
	start := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := start; ; last = time.Now() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := int64(time.Since(start)) + 1
		if stoodStill(last, every) {
			t.tick.Store(now)
			continue
		}
		t.sweep(now, slow)
	}
}

func (t *connTable) sweep(now int64, slow func(kind string)) {
	t.tick.Store(now)
	var stalled []*conn
	t.mu.Lock()
	for c := range t.conns {
		c.pace.passed()
		if c.overstays(now) {
			c.endTurn()
		}
		if since := c.writing.Load(); since != 0 && now-since > int64(t.stall) {
			stalled = append(stalled, c)
		}
	}
	t.mu.Unlock()
	for _, c := range stalled {
		slow("connection")
		_ = c.Close() // the writer sees the outcome
	}
}

// listener counts what it accepts.
type listener struct {
	net.Listener
	table *connTable
	kind  string
	shed  prometheus.Counter
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, table: l.table, kind: l.table.kinds[l.kind], capped: l.kind != "admin"}
		c.pace.off.Store(!c.capped) // the admin listener speaks HTTP/1 alone
		if c.capped {
			n := l.table.open.Add(1)
			c.over = n > l.table.limit
			if c.over {
				l.shed.Inc()
			}
			if n > l.table.hard {
				l.table.open.Add(-1)
				_ = raw.Close() // nobody was promised anything yet
				continue
			}
		}
		c.kind.Add(1)
		l.table.mu.Lock()
		l.table.conns[c] = struct{}{}
		l.table.mu.Unlock()
		return c, nil
	}
}

// conn is one client connection: it notes when a write began, at the price of
// two atomic stores, and keeps its account and its turn.
type conn struct {
	net.Conn
	newcomer
	table   *connTable
	kind    *atomic.Int64
	capped  bool
	over    bool // accepted above the cap
	writing atomic.Int64
	once    sync.Once
	cork    cork
	pace    pace
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.endTurn()
	n, err := c.Conn.Read(p)
	wait, enough := c.pace.read(n)
	if enough != nil {
		_ = c.Close() // whoever reads from it hears why
		return 0, enough
	}
	if wait > 0 {
		c.table.paced.Inc()
		time.Sleep(wait)
	}
	if n > 0 && c.capped {
		c.takeTurn()
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.endTurn()
	if c.cork.keep(p) {
		return len(p), nil
	}
	return c.send(p)
}

func (c *conn) send(p []byte) (int, error) {
	c.writing.Store(c.table.tick.Load())
	n, err := c.Conn.Write(p)
	c.writing.Store(0)
	return n, err
}

// CloseWrite ends our direction, which crypto/tls and upgraded connections use.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.closed.Store(true)
	c.endTurn()
	c.once.Do(func() {
		c.table.mu.Lock()
		delete(c.table.conns, c)
		c.table.mu.Unlock()
		c.kind.Add(-1)
		if c.capped {
			c.table.open.Add(-1)
		}
	})
	return c.Conn.Close()
}

// closeAll ends what is left: upgraded connections nobody closed.
func (t *connTable) closeAll() {
	t.mu.Lock()
	rest := make([]*conn, 0, len(t.conns))
	for c := range t.conns {
		rest = append(rest, c)
	}
	t.mu.Unlock()
	for _, c := range rest {
		_ = c.Close() // the drain is over
	}
}
