package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// fleet is what deploy/cluster describes, run from the files in it: three
// instances behind HAProxy, with addresses, secrets and the application
// replaced, and nothing else.
type fleet struct {
	t     *testing.T
	gates []*gatetest.Gate
	pg    *servertest.Postgres
	front string // where HAProxy takes TLS
	trust *tls.Config
}

const fleetHost = "wiki.example.com"

func startFleet(t *testing.T, upstream string) *fleet {
	t.Helper()
	f := &fleet{t: t, pg: servertest.StartPostgres(t), front: gatetest.FreeAddr(t)}
	redis := servertest.StartRedis(t, "--requirepass", "sesame")
	dir := t.TempDir()
	newCert(t, dir, fleetHost)
	pem, err := os.ReadFile(filepath.Join(dir, "gate.crt"))
	if err != nil {
		t.Fatal(err)
	}
	f.trust = &tls.Config{RootCAs: x509.NewCertPool()}
	f.trust.RootCAs.AppendCertsFromPEM(pem)
	env := []string{"GATEHOUSE_PG_URL=" + f.pg.Database("") + "?sslmode=disable", "GATEHOUSE_REDIS_PASSWORD=sesame", "GATEHOUSE_ENCRYPTION_KEY=" + sealKey}
	https, plain, admin := freePort(t), freePort(t), freePort(t)
	balance := []string{"bind :8443", "bind " + f.front, "bind :8080", "bind " + gatetest.FreeAddr(t), "check port 9180", "check port " + admin}
	for i := range 3 {
		g, ip := gatetest.New(t, ""), fmt.Sprintf("127.0.1.%d", i+1)
		g.HTTPS, g.HTTP, g.Admin, g.Env = ip+":"+https, ip+":"+plain, ip+":"+admin, env
		name := fmt.Sprintf("gate%d", i+1)
		balance = append(balance, name+":8443", g.HTTPS, name+":8080", g.HTTP)
		conf := replaced(t, "gatehouse.yaml", `":8443"`, g.HTTPS, `":8080"`, g.HTTP, `":9180"`, g.Admin, "/var/lib/gatehouse", filepath.Join(g.Dir, "data"),
			"/etc/gatehouse/tls/tls.crt", filepath.Join(dir, "gate.crt"), "/etc/gatehouse/tls/tls.key", filepath.Join(dir, "gate.key"), "redis:6379", redis.Addr, "http://wiki:8080", upstream)
		if err := os.WriteFile(g.File(), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		f.gates = append(f.gates, g)
	}
	var wg sync.WaitGroup
	for _, g := range f.gates {
		wg.Go(g.Run)
	}
	wg.Wait()
	servertest.StartHAProxy(t, replaced(t, "haproxy.cfg", balance...), f.front)
	return f
}

// replaced is a deployed file with words in it replaced, all of which it has.
func replaced(t *testing.T, name string, pairs ...string) string {
	t.Helper()
	text := string(deployed(t, name))
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s has no %s", name, pairs[i])
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(gatetest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// client comes through the load balancer.
func (f *fleet) client(http2 bool) *gatetest.Client {
	return gatetest.NewClient(f.t, fleetHost, http2, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, f.front)
	}, f.trust)
}

// visitors are the clients of a fleet. A request of theirs fails when it gets
// no answer, or another one than 200: nobody asks for anything they may not.
type visitors struct {
	paced
	f       *fleet
	asked   atomic.Int64
	renewed atomic.Int64
	mu      sync.Mutex
	failed  []string
}

// visit starts visitors who ask about 1,000 times a second in full runs: pages
// and posts over both protocols, browsers whose sign-in is renewed on the way,
// programs that refresh, and answers that take long.
func (f *fleet) visit(email string) *visitors {
	v := &visitors{f: f, paced: paced{stop: make(chan struct{})}}
	pace := time.Duration(gatetest.Scale(100, 40)) * time.Millisecond
	token := f.client(true).Login(email, password).AccessToken
	for i := range gatetest.Scale(8, 44) {
		c, method := f.client(i%2 == 0), []string{http.MethodGet, http.MethodPost}[i/2%2]
		v.every(pace, func() { v.ask(c, method, "/page", gatetest.Bearer(token)) })
	}
	for i := range 4 {
		v.browse(pace, f.client(i%2 == 0), email)
	}
	for i := range 2 {
		v.refresh(f.client(i%2 == 0), email)
		slow := f.client(i%2 == 0)
		v.every(pace, func() { v.ask(slow, http.MethodGet, "/slow", gatetest.Bearer(token)) })
	}
	return v
}

func (v *visitors) complain(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failed = append(v.failed, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

// ask lets net/http repeat only what HTTP lets a client repeat: what never
// arrived, and a GET on a connection that was kept and is gone.
func (v *visitors) ask(c *gatetest.Client, method, path string, headers ...string) {
	v.asked.Add(1)
	body := ""
	if method == http.MethodPost {
		body = "some text"
	}
	switch a, err := c.Send(method, path, body, headers...); {
	case err != nil:
		v.complain("%s %s: %v", method, path, err)
	case a.StatusCode != http.StatusOK:
		v.complain("%s %s: %d %s", method, path, a.StatusCode, a.Text)
	}
}

// browse reads pages with cookies. Every few seconds the access token is gone,
// as if it had expired.
func (v *visitors) browse(pace time.Duration, c *gatetest.Client, email string) {
	if a := c.Form("/_auth/login", "email", email, "password", password); a.StatusCode != http.StatusSeeOther {
		v.f.t.Fatalf("sign-in: %d %s", a.StatusCode, a.Text)
	}
	at := &url.URL{Scheme: "https", Host: fleetHost, Path: "/"}
	last := time.Now()
	v.every(pace, func() {
		before := len(c.Jar.Cookies(at))
		if expire := time.Since(last) > 3*time.Second; expire {
			c.Jar.SetCookies(at, []*http.Cookie{{Name: "__Host-gatehouse", Path: "/", Secure: true, MaxAge: -1}})
			last = time.Now()
			v.renewed.Add(1)
		}
		v.ask(c, http.MethodGet, "/page", "Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
		if after := len(c.Jar.Cookies(at)); after != before {
			v.complain("a browser has %d cookies, had %d", after, before)
		}
	})
}

// refresh uses a token pair as a program does.
func (v *visitors) refresh(c *gatetest.Client, email string) {
	tok := c.Login(email, password)
	v.every(3*time.Second, func() {
		v.asked.Add(1)
		next, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
		if status != http.StatusOK {
			v.complain("a refresh got %d", status)
			return
		}
		tok = next
		v.renewed.Add(1)
		v.ask(c, http.MethodGet, "/page", gatetest.Bearer(tok.AccessToken))
	})
}

// end stops the visitors and reports what failed.
func (v *visitors) end(t *testing.T, began time.Time) {
	t.Helper()
	v.halt()
	took := time.Since(began)
	t.Logf("%d requests in %v (%.0f a second), %d renewals, %d failed", v.asked.Load(), took.Round(time.Millisecond), float64(v.asked.Load())/took.Seconds(), v.renewed.Load(), len(v.failed))
	if v.asked.Load() < 100 || v.renewed.Load() == 0 {
		t.Error("too little was asked")
	}
	for _, text := range v.failed[:min(len(v.failed), 20)] {
		t.Error(text)
	}
}
