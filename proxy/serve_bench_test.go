package proxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/web"
)

// ready knows everybody.
type ready struct{ id *identity.Identity }

func (a ready) Authenticate(*http.Request, *web.Record, bool) (identity.Result, error) {
	return identity.Result{OwnBearer: true, Via: identity.ViaBearer, Identity: a.id}, nil
}

// atOnce answers without a connection.
type atOnce struct{ head http.Header }

func (atOnce) Start() {}
func (atOnce) Close() {}
func (a atOnce) RoundTrip(context.Context, *outbound) (*http.Response, string, error) {
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.head, ContentLength: 1 << 10,
		Body: io.NopCloser(io.LimitReader(endless{}, 1<<10))}, "app:80", nil
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// nowhere takes an answer.
type nowhere struct{ head http.Header }

func (n nowhere) Header() http.Header         { return n.head }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// All that is done for a request here, without the gate and the upstream client.
func BenchmarkServe(b *testing.B) {
	app := atOnce{http.Header{"Server": {"nginx"}, "Date": {"Mon, 30 Nov 2026 12:00:00 GMT"}, "Content-Type": {"application/octet-stream"}, "Content-Length": {"1024"}, "Connection": {"keep-alive"}}}
	ui, err := web.New(web.Options{Prefix: "/_auth", Title: "Sign in"})
	if err != nil {
		b.Fatal(err)
	}
	cfg := &config.Config{UI: config.UI{Prefix: "/_auth"}, IdentityHeaders: config.IdentityHeaders{Preset: "x-forwarded"},
		Routes: []config.Route{{Name: "app", Host: "app.test", Path: "/", Access: signedIn(), HostHeader: "preserve", RewriteResponse: true, OnStale: "deny",
			Upstream: config.Upstreams{{Raw: "http://app", Scheme: "http", Host: "app:80"}}}}}
	p, err := newProxy(Deps{Config: cfg, Auth: ready{hotIdentity()}, Assert: fakeAsserter{}, UI: ui, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()},
		func(*Proxy, *route) (group, error) { return app, nil })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /1k HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer x\r\n\r\n")))
	if err != nil {
		b.Fatal(err)
	}
	rec := &web.Record{ID: "0123456789abcdef0123456789abcdef", Client: netip.MustParseAddr("192.0.2.7"), Secure: true, Start: time.Now()}
	w := nowhere{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.head)
		p.ServeHTTP(recorder{w, rec}, r)
	}
	if rec.Err != nil || !strings.HasPrefix(w.head.Get("Server"), "nginx") {
		b.Fatal(rec.Err, w.head)
	}
}
