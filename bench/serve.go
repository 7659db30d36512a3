package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// serveFlags are those of the small servers this program plays itself.
type serveFlags struct{ listen, upstream, cert, key, public string }

// serve plays one of them: the sink for uploads, the JWT service, a Go reverse
// proxy without any check, or a Go server that answers by itself.
func serve(args []string) error {
	if len(args) == 0 {
		return errors.New("serve what?")
	}
	var f serveFlags
	set := flag.NewFlagSet("serve", flag.ContinueOnError)
	set.StringVar(&f.listen, "listen", "", "host:port")
	set.StringVar(&f.upstream, "upstream", "", "URL")
	set.StringVar(&f.cert, "cert", "", "certificate file")
	set.StringVar(&f.key, "key", "", "key file")
	set.StringVar(&f.public, "public", "", "PEM file of the ES256 key; empty means HS256")
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "sink":
		return listen(f, http.HandlerFunc(sink))
	case "jwt":
		return serveJWT(f)
	case "go-bare":
		return serveBare(f)
	case "go-plain", "go-tuned":
		return serveProxy(f, args[0] == "go-tuned")
	}
	return fmt.Errorf("nothing is called %q", args[0])
}

func listen(f serveFlags, h http.Handler) error {
	s := &http.Server{Addr: f.listen, Handler: h, ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if f.cert != "" {
		return s.ListenAndServeTLS(f.cert, f.key)
	}
	return s.ListenAndServe()
}

// sink reads a body to its end and says how long it was.
func sink(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, "broken body", http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, strconv.FormatInt(n, 10)) // the client went away
}

func serveJWT(f serveFlags) error {
	var v verifier
	if f.public != "" {
		text, err := os.ReadFile(f.public)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return errors.New("the public key is no PEM")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		var ok bool
		if v.ec, ok = key.(*ecdsa.PublicKey); !ok {
			return errors.New("the public key is not ECDSA")
		}
	}
	return listen(f, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := v.verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h := w.Header()
		h.Set("X-Forwarded-User", c.Subject)
		h.Set("X-Forwarded-Email", c.Email)
		h.Set("X-Forwarded-Groups", strings.Join(c.Groups, ","))
	}))
}

// serveProxy is httputil.ReverseProxy, bare or with what is known to help.
func serveProxy(f serveFlags, tuned bool) error {
	target, err := url.Parse(f.upstream)
	if err != nil {
		return err
	}
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
		r.Out.Host = r.In.Host
	}}
	if tuned {
		p.Transport = &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute, DisableCompression: true}
		p.BufferPool = &buffers{}
	}
	return listen(f, p)
}

type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
