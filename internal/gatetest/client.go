package gatetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Client is one browser or program speaking to one gate.
type Client struct {
	*http.Client
	t    testing.TB
	Host string // host name asked for; the connection goes to the gate
}

// Tokens is what login, register and refresh answer to programs.
type Tokens struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int    `json:"expires_in"`
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"`
	User             struct {
		Sub    string   `json:"sub"`
		Email  string   `json:"email"`
		Groups []string `json:"groups"`
		Sid    string   `json:"sid"`
	} `json:"user"`
}

// Client returns a client with a cookie jar of its own that follows no
// redirect. http2 chooses the protocol.
func (g *Gate) Client(host string, http2 bool) *Client {
	g.t.Helper()
	return NewClient(g.t, host, http2, g.Dial, g.TLSConfig())
}

// NewClient is Client for whatever dial reaches, such as a load balancer.
func NewClient(t testing.TB, host string, http2 bool, dial func(ctx context.Context, network, addr string) (net.Conn, error), trust *tls.Config) *Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DialContext: dial, TLSClientConfig: trust.Clone(), DisableCompression: true, MaxIdleConnsPerHost: 64}
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &Client{t: t, Host: host, Client: &http.Client{
		Transport: tr, Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// URL makes an absolute URL on the client's host.
func (c *Client) URL(path string) string { return "https://" + c.Host + path }

// Answer is a response read to its end.
type Answer struct {
	*http.Response
	Text string
}

// Send performs a request with optional headers given as "Name: value".
func (c *Client) Send(method, path, body string, headers ...string) (Answer, error) {
	req, err := http.NewRequest(method, c.URL(path), strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := c.Client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return Answer{resp, string(text)}, err
}

// Must is Send that has to get an answer.
func (c *Client) Must(method, path, body string, headers ...string) Answer {
	c.t.Helper()
	a, err := c.Send(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// JSON posts v and decodes the answer's body into out, if that is not nil.
func (c *Client) JSON(path string, v, out any, headers ...string) Answer {
	c.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	a := c.Must(http.MethodPost, path, string(body), append(headers, "Content-Type: application/json")...)
	if out != nil && a.StatusCode < 300 {
		if err := json.NewDecoder(bytes.NewReader([]byte(a.Text))).Decode(out); err != nil {
			c.t.Fatalf("POST %s: %v in %q", path, err, a.Text)
		}
	}
	return a
}

// Login signs in as a program.
func (c *Client) Login(email, password string) Tokens {
	c.t.Helper()
	var tok Tokens
	if a := c.JSON("/_auth/login", map[string]string{"email": email, "password": password}, &tok); a.StatusCode != http.StatusOK {
		c.t.Fatalf("login of %s: %d %s", email, a.StatusCode, a.Text)
	}
	return tok
}

// Form posts a form as a browser on the same origin does.
func (c *Client) Form(path string, fields ...string) Answer {
	c.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return c.Must(http.MethodPost, path, form.Encode(), "Content-Type: application/x-www-form-urlencoded",
		"Origin: https://"+c.Host, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Accept: text/html")
}

// Bearer is the header that carries an access token.
func Bearer(token string) string { return "Authorization: Bearer " + token }

// Status asks for a path with a bearer token ("" for none) and returns the
// status code.
func (c *Client) Status(path, token string) int {
	c.t.Helper()
	if token == "" {
		return c.Must(http.MethodGet, path, "").StatusCode
	}
	return c.Must(http.MethodGet, path, "", Bearer(token)).StatusCode
}

// Refused reports whether a token is refused. A request that was let in before
// is cut when its token ends, and does not count.
func (c *Client) Refused(path, token string) bool {
	a, err := c.Send(http.MethodGet, path, "", Bearer(token))
	return err == nil && a.StatusCode == http.StatusUnauthorized
}
