package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/config"
)

// http2 speaks HTTP/2 through net/http, without TLS (h2c) or with it, for gRPC
// apps.
type http2 struct {
	*dialer
	scheme string
	tr     *http.Transport
}

func newHTTP2(u config.UpstreamURL, t config.RouteTimeout, connected func()) *http2 {
	p := new(http.Protocols)
	h := &http2{dialer: newDialer(u, t, "h2", connected), scheme: "http"}
	h.tr = &http.Transport{
		Protocols: p, DisableCompression: true, MaxResponseHeaderBytes: maxResponseHead, IdleConnTimeout: idleFor, ResponseHeaderTimeout: t.ResponseHeader,
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx) }
	if u.Scheme == "https" {
		h.scheme, h.tr.DialTLSContext = "https", dial
		p.SetHTTP2(true)
	} else {
		h.tr.DialContext = dial
		p.SetUnencryptedHTTP2(true)
	}
	return h
}

func (h *http2) close() { h.tr.CloseIdleConnections() }

func (h *http2) roundTrip(ctx context.Context, r *Request) (*http.Response, error) {
	host := r.Host
	if host == "" {
		host = h.url.Host
	}
	path, query, hasQuery := strings.Cut(r.Target, "?")
	if strings.HasPrefix(path, "//") {
		path = "//" + host + path // net/http takes scheme and host off again, and leaves the bytes alone
	}
	req := (&http.Request{
		Method: r.Method, URL: &url.URL{Scheme: h.scheme, Host: h.url.Host, Opaque: path, RawQuery: query, ForceQuery: hasQuery && query == ""},
		Host: host, Header: r.Header.Clone(), Body: r.Body, ContentLength: r.ContentLength, Proto: "HTTP/2.0", ProtoMajor: 2,
	}).WithContext(ctx)
	if r.Body == nil {
		req.ContentLength = 0
	}
	if _, has := req.Header["User-Agent"]; !has {
		req.Header["User-Agent"] = []string{""} // net/http would add its own
	}
	resp, err := h.tr.RoundTrip(req)
	if err != nil {
		return nil, h.failure(ctx, err)
	}
	return resp, nil
}

func (h *http2) failure(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("upstream exchange: %w", ctx.Err())
	case errors.Is(err, ErrConnect):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return fmt.Errorf("%w: %w", ErrProtocol, err)
}

// either speaks HTTP/1.1 over TLS, and HTTP/2 for what cannot do without.
type either struct {
	h1 *client
	h2 *http2
}

func (e either) close() {
	e.h1.close()
	e.h2.close()
}

func (e either) roundTrip(ctx context.Context, r *Request) (*http.Response, error) {
	if r.HTTP2 {
		return e.h2.roundTrip(ctx, r)
	}
	return e.h1.roundTrip(ctx, r)
}

// newRoundTripper picks what speaks to an address.
func newRoundTripper(u config.UpstreamURL, t config.RouteTimeout, connected func()) roundTripper {
	switch u.Scheme {
	case "h2c":
		return newHTTP2(u, t, connected)
	case "https":
		return either{newClient(u, t, connected), newHTTP2(u, t, connected)}
	default:
		return newClient(u, t, connected)
	}
}
