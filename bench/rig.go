package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// rig is everything the scenarios share: a directory, a certificate, tokens,
// the app behind every proxy, and the processes that are running.
type rig struct {
	ctx   context.Context //nolint:containedctx // the life of one run
	o     options
	dir   string
	on    cores
	self  string // this program, which is also some of the peers
	app   string // host:port of the app
	sink  string // host:port of the app that takes uploads
	keys  *keys
	procs []*proc // of the running scenario
	base  []*proc // of the whole run
}

func newRig(ctx context.Context, o options) (*rig, error) {
	r := &rig{ctx: ctx, o: o, on: pinning(o.apart)}
	var err error
	if r.o.binary, err = filepath.Abs(o.binary); err != nil {
		return nil, err
	}
	for _, tool := range []string{r.o.binary, "wrk", "h2load", "nginx"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: run bench/install.sh and make build", err)
		}
	}
	if r.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "gatehouse-bench-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(r.dir, 0o755); err != nil { // nginx drops root
		return nil, err
	}
	if err := r.certificate(); err != nil {
		return nil, err
	}
	if r.keys, err = newKeys(r.dir); err != nil {
		return nil, err
	}
	return r, r.startApp()
}

func (r *rig) close() {
	r.stopAll()
	for _, p := range r.base {
		p.stop()
	}
	_ = os.RemoveAll(r.dir) // under /tmp
}

func (r *rig) stopAll() {
	for _, p := range r.procs {
		p.stop()
	}
	r.procs = nil
}

// run starts a process of the scenario on the proxy's cores and waits for its
// port.
func (r *rig) run(addr, name string, args ...string) (*proc, error) {
	p, err := start(r.ctx, r.on.proxy, r.dir, name, args...)
	if err != nil {
		return nil, err
	}
	r.procs = append(r.procs, p)
	return p, p.waitPort(addr)
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) (string, error) {
	path := r.path(name)
	return path, os.WriteFile(path, []byte(text), 0o644) //nolint:gosec // nginx has dropped root when it reads
}

// certificate makes the one every peer shows: ECDSA P-256.
func (r *rig) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"bench.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	sec := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, text := range map[string][]byte{"tls.crt": crt, "tls.key": sec, "tls.pem": append(crt, sec...)} {
		if err := os.WriteFile(r.path(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Bodies of the app.
const (
	small = 1 << 10
	large = 64 << 10
	huge  = 1 << 20
)

func filler(n int) string { return strings.Repeat("0123456789abcdef", n/16) }

// startApp starts nginx as the app behind every proxy, and a sink for uploads.
func (r *rig) startApp() error {
	var err error
	if r.app, err = freeAddr(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.path("www/public"), 0o755); err != nil { //nolint:gosec // nginx has dropped root when it reads
		return err
	}
	if _, err := r.write("www/64k", filler(large)); err != nil {
		return err
	}
	conf, err := r.write("app.conf", nginxHead(r.dir, "app", 1)+`
server {
  listen `+r.app+` backlog=4096;
  root `+r.path("www")+`;
  location = /1k { default_type application/octet-stream; return 200 "`+filler(small)+`"; }
  location = /public/1k { default_type application/octet-stream; return 200 "`+filler(small)+`"; }
  location = /whoami { default_type text/plain; return 200 "$http_x_forwarded_user"; }
  location ~ /r[0-9]+/1k { default_type application/octet-stream; return 200 "`+filler(small)+`"; }
}}
`)
	if err != nil {
		return err
	}
	if err := r.basic(r.app, "nginx", "-c", conf); err != nil {
		return err
	}
	if r.sink, err = freeAddr(); err != nil {
		return err
	}
	return r.basic(r.sink, r.self, "serve", "sink", "-listen", r.sink)
}

// basic starts what lives as long as the rig, off the proxy's cores.
func (r *rig) basic(addr, name string, args ...string) error {
	p, err := start(r.ctx, r.on.rest, r.dir, name, args...)
	if err != nil {
		return err
	}
	r.base = append(r.base, p)
	return p.waitPort(addr)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }() // only its number is wanted
	return l.Addr().String(), nil
}

// client speaks to peers with the certificate of the rig.
func client(http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, MaxIdleConnsPerHost: 600} //nolint:gosec // a key this program made
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
