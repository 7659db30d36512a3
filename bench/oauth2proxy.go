package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// oauth2Proxy starts oauth2-proxy with an OpenID provider of ours, and signs in
// once as a browser does. The session is in the cookie, or in Redis.
func (r *rig) oauth2Proxy(name string, redis bool) (*peer, error) {
	p := &peer{name: name, guards: true}
	provider, err := r.provider()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--provider=oidc", "--oidc-issuer-url=" + provider, "--client-id=bench", "--client-secret=bench", "--email-domain=*", "--skip-provider-button",
		"--cookie-secret=" + base64.URLEncoding.EncodeToString([]byte(secret)), "--upstream=http://" + r.app, "--tls-cert-file=" + r.path("tls.crt"), "--tls-key-file=" + r.path("tls.key"),
		"--http-address=", "--request-logging=false", "--auth-logging=false", "--standard-logging=false", "--reverse-proxy=false", "--cookie-expire=4h", "--scope=openid email",
	}
	if redis {
		if err := r.serving(p, func(addr string) (string, []string, error) {
			_, port, err := net.SplitHostPort(addr)
			args = append(args, "--session-store-type=redis", "--redis-connection-url=redis://"+addr)
			return "redis-server", []string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir}, err
		}); err != nil {
			return nil, err
		}
	}
	if err := r.serving(p, func(addr string) (string, []string, error) {
		return "oauth2-proxy", append(args, "--https-address="+addr, "--redirect-url=https://"+addr+"/oauth2/callback"), nil
	}); err != nil {
		return nil, err
	}
	p.cookie, err = browse(p.addr)
	return p, err
}

// browse follows the sign-in to its end and returns the session cookie.
func browse(addr string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	c := client(false)
	c.Jar, c.CheckRedirect = jar, nil
	resp, err := c.Get("https://" + addr + "/1k")
	if err != nil {
		return "", err
	}
	_ = resp.Body.Close() // only the cookies count
	var parts []string
	for _, cookie := range jar.Cookies(&url.URL{Scheme: "https", Host: addr, Path: "/"}) {
		if strings.HasPrefix(cookie.Name, "_oauth2_proxy") && !strings.Contains(cookie.Name, "csrf") {
			parts = append(parts, cookie.Name+"="+cookie.Value)
		}
	}
	if resp.StatusCode != http.StatusOK || len(parts) == 0 {
		return "", fmt.Errorf("signing in to oauth2-proxy ended with %d and %d cookies", resp.StatusCode, len(parts))
	}
	return strings.Join(parts, "; "), nil
}

// provider is the smallest OpenID provider that signs everybody in; it lives in
// this process until the scenario ends.
func (r *rig) provider() (issuer string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	issuer = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	answer := func(pattern string, v func(*http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v(req)) // the caller went away
		})
	}
	answer("/.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/jwks",
			"id_token_signing_alg_values_supported": []string{"RS256"}}
	})
	answer("/jwks", func(*http.Request) any {
		return map[string]any{"keys": []any{map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench", "n": b64(r.keys.rsa.N.Bytes()), "e": b64(big.NewInt(int64(r.keys.rsa.E)).Bytes())}}}
	})
	answer("/token", func(*http.Request) any {
		return map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": 14400, "id_token": r.idToken(issuer)}
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, req *http.Request) {
		q := req.URL.Query()
		http.Redirect(w, req, q.Get("redirect_uri")+"?code=x&state="+url.QueryEscape(q.Get("state")), http.StatusFound)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			progress("the OpenID provider ended: %v", err)
		}
	}()
	go func() {
		<-r.ctx.Done()
		_ = s.Close() // the run is over
	}()
	return issuer, nil
}

func (r *rig) idToken(issuer string) string {
	c := newClaims()
	body, _ := json.Marshal(map[string]any{"iss": issuer, "aud": "bench", "sub": c.Subject, "email": c.Email, "email_verified": true, "groups": c.Groups, "iat": c.Issued, "exp": c.Expires}) // plain values
	text := b64([]byte(`{"alg":"RS256","typ":"JWT","kid":"bench"}`)) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, r.keys.rsa, crypto.SHA256, sum[:])
	if err != nil {
		return "" // oauth2-proxy will refuse it
	}
	return text + "." + b64(sig)
}
