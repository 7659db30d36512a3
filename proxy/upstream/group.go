// Package upstream carries one decided request to an app and brings the answer
// back. It decides which of several addresses gets it and what counts as an
// answer; it refuses to know users, rules and cookies, and writes only what it
// was given: exact target bytes, its own framing, nothing of the client's.
package upstream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/config"
)

// The failures; every error of RoundTrip wraps one, or the context's.
var (
	// ErrConnect says that no connection could be made: nothing was sent.
	ErrConnect = errors.New("upstream cannot be reached")
	// ErrTimeout says that the app made no progress in time.
	ErrTimeout = errors.New("upstream is too slow")
	// ErrProtocol says that the answer broke HTTP, or its connection broke.
	ErrProtocol = errors.New("upstream answer is broken")
	// ErrNoUpstream says that every address is set aside.
	ErrNoUpstream = errors.New("no upstream is up")
)

// Request is one outbound request, fully decided.
type Request struct {
	Method        string
	Target        string      // path and query, byte for byte
	Host          string      // "" means the chosen address
	Header        http.Header // end-to-end fields only
	Body          io.ReadCloser
	ContentLength int64  // -1 unknown
	Upgrade       string // "websocket" or ""
	Affinity      string // for hash_user and sticky
	HTTP2         bool   // cannot do without, as gRPC
}

// Options is what a Group is made of.
type Options struct {
	URLs     []config.UpstreamURL
	Timeout  config.RouteTimeout
	Balance  string
	Sticky   bool
	Health   *config.Health
	OnHealth func(address string, up bool) // told of every change; may be nil
	Now      func() time.Time
}

// Group is the addresses of one route. It is safe for concurrent use.
type Group struct {
	o      Options
	addrs  []*address
	next   atomic.Uint64
	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // the life of the health checks
	wg     sync.WaitGroup
}

// address is one address of the app and what is known of it.
type address struct {
	url      config.UpstreamURL
	client   roundTripper
	inFlight atomic.Int64
	sick     atomic.Bool  // by the active check
	failures atomic.Int64 // connects that failed in a row
	retryAt  atomic.Int64 // Unix nanoseconds; set aside until then
}

// roundTripper sends to one address.
type roundTripper interface {
	roundTrip(ctx context.Context, r *Request) (*http.Response, error)
	close()
}

// New makes a group; it opens no connection.
func New(o Options) (*Group, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("a route without upstream")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Group{o: o, ctx: ctx, cancel: cancel}
	for _, u := range o.URLs {
		a := &address{url: u}
		a.client = newRoundTripper(u, o.Timeout, func() { g.connected(a) })
		g.addrs = append(g.addrs, a)
	}
	return g, nil
}

// Start begins the active health checks, if there are any.
func (g *Group) Start() {
	if g.o.Health == nil {
		return
	}
	for _, a := range g.addrs {
		g.wg.Go(func() { g.watch(a) })
	}
}

// Close ends the checks and the idle connections; requests in flight finish.
func (g *Group) Close() {
	g.cancel()
	g.wg.Wait()
	for _, a := range g.addrs {
		a.client.close()
	}
}

// RoundTrip sends r to one address and returns its answer and the address.
// When connecting fails nothing was sent, and the next address is tried. The
// caller closes the body; a 101 answer's body is a Conn.
func (g *Group) RoundTrip(ctx context.Context, r *Request) (*http.Response, string, error) {
	var tried []*address
	var last error
	for {
		a, err := g.choose(r.Affinity, tried)
		if err != nil {
			return nil, "", cmp.Or(last, err)
		}
		a.inFlight.Add(1)
		resp, err := a.client.roundTrip(ctx, r)
		if err == nil {
			resp.Body = a.counted(resp.Body)
			return resp, a.url.Raw, nil
		}
		a.inFlight.Add(-1)
		if !errors.Is(err, ErrConnect) || ctx.Err() != nil {
			return nil, a.url.Raw, err
		}
		g.failed(a)
		tried, last = append(tried, a), err
	}
}

// counted lowers the in-flight count when the body is closed.
func (a *address) counted(body io.ReadCloser) io.ReadCloser {
	if conn, ok := body.(*Conn); ok {
		conn.onClose = sync.OnceFunc(func() { a.inFlight.Add(-1) })
		return conn
	}
	return &countedBody{ReadCloser: body, address: a}
}

type countedBody struct {
	io.ReadCloser
	address *address
	closed  atomic.Bool
}

// Close implements io.Closer.
func (b *countedBody) Close() error {
	if !b.closed.Swap(true) {
		defer b.address.inFlight.Add(-1)
	}
	return b.ReadCloser.Close()
}
