package upstream

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

// h2app serves HTTP/2, with or without TLS, and shows what it got.
func h2app(t *testing.T, secure bool, h http.HandlerFunc) *Group {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	u := config.UpstreamURL{Scheme: "h2c"}
	if secure {
		srv.EnableHTTP2 = true
		srv.Config.Protocols.SetHTTP2(true)
		srv.StartTLS()
		u.Scheme = "https"
	} else {
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
	}
	t.Cleanup(srv.Close)
	u.Host = srv.Listener.Addr().String()
	u.Raw = u.Scheme + "://" + u.Host
	g, err := New(Options{URLs: []config.UpstreamURL{u}, Timeout: config.RouteTimeout{Connect: 5 * time.Second, ResponseHeader: 300 * time.Millisecond, Idle: 5 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	if secure {
		roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		e := g.addrs[0].client.(either)
		for _, c := range []*tls.Config{e.h1.tls, e.h2.dialer.tls} {
			c.RootCAs, c.ServerName = roots, "example.com"
		}
	}
	return g
}

func TestHTTP2CarriesWhatGRPCNeeds(t *testing.T) {
	for _, secure := range []bool{false, true} {
		g := h2app(t, secure, func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Host != "app.test" {
				t.Errorf("got %s, TE %q, host %s", r.Proto, r.Header.Get("Te"), r.Host)
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write(b)
			w.Header().Set("Grpc-Status", "0")
		})
		o := send(t, g, &Request{Method: "POST", Target: "/svc/Call", Host: "app.test", Header: http.Header{"Te": {"trailers"}, "Content-Type": {"application/grpc"}},
			Body: io.NopCloser(strings.NewReader("\x00\x00\x00\x00\x02hi")), ContentLength: -1, HTTP2: true})
		if o.err != nil || o.cut != nil || o.body != "\x00\x00\x00\x00\x02hi" || o.trailer.Get("Grpc-Status") != "0" {
			t.Errorf("TLS %v: %+v", secure, o)
		}
	}
}

func TestHTTPSSpeaksHTTP1ToEverythingElse(t *testing.T) {
	g := h2app(t, true, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	for range 2 {
		wantOK(t, get(t, g, "/"), "HTTP/1.1")
	}
}

func TestT058_HTTP2KeepsTheBytesOfATarget(t *testing.T) {
	var got string
	g := h2app(t, false, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	for _, target := range []string{"/", "/a?b", "/a?", "/a%2fb;c=1?q=%zz&&x", "//x/y", "//app.test/y?z", "/proxy/http://x/", "///", "/%23%3F?a=?"} {
		if o := send(t, g, &Request{Method: "GET", Target: target, Host: "app.test"}); o.err != nil || got != target {
			t.Errorf("%s arrived as %q, %v", target, got, o.err)
		}
	}
}

func TestHTTP2Failures(t *testing.T) {
	hang := make(chan struct{})
	g := h2app(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			<-hang
		case "/cut":
			_, _ = io.WriteString(w, "abc")
			panic(http.ErrAbortHandler)
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	})
	wantErr(t, get(t, g, "/silent"), ErrTimeout)
	close(hang)
	wantErr(t, get(t, g, "/abort"), ErrProtocol)
	if o := get(t, g, "/cut"); o.err == nil && o.cut == nil {
		t.Errorf("a cut body looked whole: %q", o.body)
	}
	dead := nobody(t)
	dead.Scheme = "h2c"
	g2, err := New(Options{URLs: []config.UpstreamURL{dead}, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g2.Close)
	wantErr(t, get(t, g2, "/"), ErrConnect)
}

func TestFU1_BadTLSIsAFailedConnect(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler()) // a certificate nobody trusts
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = nil
	for _, h2 := range []bool{false, true} {
		u := config.UpstreamURL{Scheme: "https", Host: srv.Listener.Addr().String(), Raw: srv.URL}
		g, err := New(Options{URLs: []config.UpstreamURL{u}, Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, send(t, g, &Request{Method: "GET", Target: "/", HTTP2: h2}), ErrConnect)
		g.Close()
	}
}
