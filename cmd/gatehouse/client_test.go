package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// ask is the client of the scripts. It connects to $HTTPS or $HTTP whatever
// the URL names, or to $ADMIN for localhost, and trusts the local CA.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	out, err := answer(ts, args)
	if err != nil {
		if !neg {
			ts.Fatalf("ask: %v", err)
		}
		ts.Logf("ask: %v", err)
		return
	}
	_, _ = ts.Stdout().Write([]byte(out)) // a strings.Builder
	if neg {
		ts.Fatalf("ask got an answer")
	}
}

// answer makes the request args describe and returns the printed answer.
func answer(ts *testscript.TestScript, args []string) (string, error) {
	flags := flag.NewFlagSet("ask", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	body := flags.String("d", "", "body")
	ca := flags.String("ca", "data/ca.crt", "certificate to trust")
	size := flags.Int("size", 0, "send a body of so many bytes instead")
	proxied := flags.String("proxy-protocol", "", "say the connection comes from this address")
	if err := flags.Parse(args); err != nil || flags.NArg() < 2 {
		return "", errors.Join(err, errors.New("usage: ask [flags] METHOD URL [header...]"))
	}
	text := *body
	if *size > 0 {
		text = strings.Repeat("x", *size)
	}
	req, err := http.NewRequest(flags.Arg(0), flags.Arg(1), strings.NewReader(text))
	if err != nil {
		return "", err
	}
	for _, h := range flags.Args()[2:] {
		key, value, _ := strings.Cut(h, ": ")
		req.Header[key] = append(req.Header[key], value) // the name as written
	}
	tr := transport(ts, req.URL.Scheme == "https", req.URL.Hostname(), ts.MkAbs(*ca), *proxied)
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var out strings.Builder
	fmt.Fprintln(&out, resp.StatusCode)
	for _, key := range slices.Sorted(maps.Keys(resp.Header)) {
		for _, v := range resp.Header[key] {
			fmt.Fprintf(&out, "%s: %s\n", key, v)
		}
	}
	fmt.Fprintln(&out)
	_, err = io.Copy(&out, resp.Body)
	return out.String(), err
}

func transport(ts *testscript.TestScript, secure bool, host, ca, proxied string) *http.Transport {
	addr := ts.Getenv("HTTPS")
	switch {
	case host == "localhost":
		addr = ts.Getenv("ADMIN")
	case !secure:
		addr = ts.Getenv("HTTP")
	}
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(ca); err == nil {
		roots.AppendCertsFromPEM(pem) // without one the handshake says so
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil && proxied != "" {
			_, err = fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 1111 443\r\n", proxied)
		}
		return c, err
	}
	return &http.Transport{DialContext: dial, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
}

// holding is the request a script left waiting.
type holding struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

type held struct{} // key of the script's holding

func hold(ts *testscript.TestScript, neg bool, args []string) {
	h, ok := ts.Value(held{}).(*holding)
	if neg || len(args) != 2 || !ok || h.done != nil {
		ts.Fatalf("usage: hold METHOD URL, once")
	}
	req, err := http.NewRequestWithContext(h.ctx, args[0], args[1], nil)
	ts.Check(err)
	tr := transport(ts, true, req.URL.Hostname(), ts.MkAbs("data/ca.crt"), "")
	h.done = make(chan struct{})
	go func() {
		defer close(h.done)
		for h.ctx.Err() == nil { // an answer means that somebody else was there before
			if resp, err := tr.RoundTrip(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		tr.CloseIdleConnections()
	}()
}

func release(ts *testscript.TestScript, neg bool, args []string) {
	h, ok := ts.Value(held{}).(*holding)
	if neg || len(args) > 0 || !ok || h.done == nil {
		ts.Fatalf("usage: release, after hold")
	}
	h.cancel()
	<-h.done
}
