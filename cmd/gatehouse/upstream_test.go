package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// lines is a flag that may be given more than once.
type lines []string

func (l *lines) String() string     { return strings.Join(*l, "\n") }
func (l *lines) Set(v string) error { *l = append(*l, v); return nil }

// upstream starts the app behind the gateway. The body of each answer is the
// request as it came; /health answers 200 while the file of -alive exists.
func upstream(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("app", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	alive := flags.String("alive", "", "file that makes /health answer 200")
	name := flags.String("name", "app", "value of the header App")
	var headers lines
	flags.Var(&headers, "header", "header of the answer")
	if err := flags.Parse(args); neg || err != nil || flags.NArg() != 1 {
		ts.Fatalf("usage: app [flags] ADDRESS")
	}
	l, err := net.Listen("tcp", flags.Arg(0))
	ts.Check(err)
	aliveFile := ts.MkAbs(*alive)
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *alive != "" && r.URL.Path == "/health" {
			if _, err := os.Stat(aliveFile); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		w.Header().Set("App", *name)
		for _, h := range headers {
			key, value, _ := strings.Cut(h, ": ")
			w.Header().Add(key, value)
		}
		echo(w, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }() // ends with Close
	ts.Defer(func() { _ = srv.Close(); <-done })
}

// echo answers with the request; ?wait=10s first waits for the caller to go.
func echo(w http.ResponseWriter, r *http.Request) {
	dump, err := httputil.DumpRequest(r, true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if d, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(dump) // the client went away
}

// cert makes a self-signed certificate.
func cert(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: cert CERT_FILE KEY_FILE HOST...")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: args[2:],
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	ts.Check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(errors.Join(
		os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
		os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)))
}
