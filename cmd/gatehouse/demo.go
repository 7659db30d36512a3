package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/config"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	upstream string
	dataDir  string
	https    string
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use: "demo", Short: "See it work: sign-in in front of a small built-in app, or of yours",
		Long: "Runs a whole gateway with embedded SQLite, a certificate of its own and open registration, in front of a small\n" +
			"app that has no login. It listens on loopback only and forgets everything at the end, unless --data-dir is given.",
		Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), o) },
	}
	c.Flags().StringVar(&o.upstream, "upstream", "", "your own app, as in http://127.0.0.1:3000")
	c.Flags().StringVar(&o.dataDir, "data-dir", "", "keep accounts and certificates here (default: a temporary directory)")
	c.Flags().StringVar(&o.https, "listen", "127.0.0.1:8443", "address of the https listener")
	return c
}

func (a *app) demo(ctx context.Context, o demoOptions) error {
	dir, forget, err := demoDir(o.dataDir)
	if err != nil {
		return err
	}
	defer forget()
	upstream, what := o.upstream, "your app at "+o.upstream
	if upstream == "" {
		app, err := startSample(ctx)
		if err != nil {
			return err
		}
		defer app.close()
		upstream, what = app.url, "a small built-in app without a login"
	}
	_, port, err := net.SplitHostPort(o.https)
	if err != nil {
		return usageError{fmt.Errorf("--listen %q is not an address like 127.0.0.1:8443", o.https)}
	}
	cfg, err := a.demoConfig(dir, o.https, port, upstream)
	if err != nil {
		return err
	}
	origin := "https://localhost:" + port
	ready := func() { a.printDemo(origin, what, dir, o.dataDir != "") }
	return a.serve(ctx, serveOptions{cfg: cfg, hasher: thisProgramHashes(), ready: ready, logFile: filepath.Join(dir, "demo.log")})
}

// demoDir returns a directory, and what forgets it at the end.
func demoDir(given string) (string, func(), error) {
	if given != "" {
		if err := os.MkdirAll(given, 0o700); err != nil {
			return "", nil, fmt.Errorf("make the data directory: %w", err)
		}
		return given, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "gatehouse-demo-")
	if err != nil {
		return "", nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil // the system clears what is left of it
}

// demoConfig writes the configuration a person would write, and loads it like
// any other.
func (a *app) demoConfig(dir, https, port, upstream string) (*config.Config, error) {
	if u, err := url.Parse(upstream); err != nil || u.Host == "" {
		return nil, usageError{fmt.Errorf("--upstream %q is not a URL like http://127.0.0.1:3000", upstream)}
	}
	text := fmt.Sprintf(`# Written by gatehouse demo.
listen: {https: %q, http: "", admin: ""}
tls: {self_signed: true, hsts: {max_age: 0s}}
data_dir: .
tokens: {issuer: "https://localhost:%s"}
accounts: {registration: open}
limits: {register_ip: 100/1h}
log: {format: text}
routes:
  - name: demo
    host: localhost
    upstream: %q
`, https, port, upstream)
	file := filepath.Join(dir, "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo configuration: %w", err)
	}
	cfg, err := config.Load(file, a.env)
	if err != nil {
		fmt.Fprintln(a.stderr, err)
	}
	return cfg, err
}

func (a *app) printDemo(origin, what, dir string, keeps bool) {
	keep := "Everything is forgotten when you stop (keep it with --data-dir DIR)."
	if keeps {
		keep = "Accounts are kept in " + dir + "."
	}
	fmt.Fprintf(a.stdout, `
  gatehouse is running in front of %s.

    1. Open      %s
    2. Click     "Create an account"; any address will do, nothing is sent
    3. See       how the app behind learns your name from its headers

  Your browser warns once: the certificate was made on this machine just now.
  From a terminal: curl --cacert %s %s/

  %s
  Log: %s
  Stop with Ctrl-C.

`, what, origin, filepath.Join(dir, "ca.crt"), origin, keep, filepath.Join(dir, "demo.log"))
}

// sample is the built-in app.
type sample struct {
	url string
	srv *http.Server
}

func startSample(ctx context.Context) (*sample, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the sample app: %w", err)
	}
	s := &sample{url: "http://" + l.Addr().String(), srv: &http.Server{Handler: sampleHandler(), ReadHeaderTimeout: 10 * time.Second}}
	go func() {
		if err := s.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return // the gateway answers 502 and says so
		}
	}()
	return s, nil
}

func (s *sample) close() { _ = s.srv.Close() } // nothing is in flight any more

// visitor is what the sample app learns from its request.
type visitor struct {
	Name, Email, Subject string
	Groups               string
	Lines                []string
}

func visitorOf(r *http.Request) visitor {
	v := visitor{
		Subject: r.Header.Get("X-Forwarded-User"), Email: r.Header.Get("X-Forwarded-Email"),
		Name: r.Header.Get("X-Forwarded-Preferred-Username"), Groups: r.Header.Get("X-Forwarded-Groups"),
	}
	if name, err := url.PathUnescape(v.Name); err == nil {
		v.Name = name
	}
	if v.Name == "" {
		v.Name, _, _ = strings.Cut(v.Email, "@")
	}
	v.Lines = append(v.Lines, r.Method+" "+r.URL.RequestURI(), "Host: "+r.Host)
	for _, name := range sortedKeys(r.Header) {
		for _, value := range r.Header[name] {
			v.Lines = append(v.Lines, name+": "+value)
		}
	}
	return v
}
