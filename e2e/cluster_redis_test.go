package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis of a test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", der)
}

// F-R8: Redis over TLS is used when its certificate is the right one, and not
// at all, never in plain text, when it is not.
func TestFR8_RedisOverTLS(t *testing.T) {
	up, pg := gatetest.NewUpstream(t), servertest.StartPostgres(t)
	certFile, keyFile := selfSigned(t)
	other, _ := selfSigned(t)
	redis := servertest.StartRedisTLS(t, certFile, keyFile, "--user", "gate", "on", ">sesame", "~gatehouse:*", "+@all")
	const conf = `
store: {postgres: {url: %q}}
redis: {urls: [%q], username: gate, password: sesame, tls: true, ca_file: %q}
cluster: true
tokens: {issuer: "https://gate.test", encryption_key: "f3Lw9sKq0ZbT7yVn2HcXe5RjU8mAoP4dGiW1kNtBvYM"}
`
	for _, c := range []struct{ ca, redis string }{{certFile, "ok"}, {other, "failed"}} {
		g := gatetest.Start(t, fmt.Sprintf(conf, pg.Database(""), "redis://"+redis.Addr, c.ca)+appRoute(up.URL()))
		within(t, "redis is "+c.redis, func() bool { return component(t, g, "redis") == c.redis })
		g.AddUser("ann@example.com", password)
		client := g.Client("app.test", true)
		if got := client.Status("/", client.Login("ann@example.com", password).AccessToken); got != 200 {
			t.Errorf("with redis %s: %d", c.redis, got)
		}
	}
	wrong := strings.Replace(conf, "password: sesame", "password: wrong-word", 1)
	g := gatetest.New(t, fmt.Sprintf(wrong, pg.Database(""), "redis://"+redis.Addr, certFile)+appRoute(up.URL()))
	if _, errs, code := g.Command("", "serve"); code != 1 || !strings.Contains(errs, "redis refuses username and password") || strings.Contains(errs, "wrong-word") {
		t.Errorf("a wrong password: exit %d, %s", code, errs)
	}
}

// component is what /readyz says of one part.
func component(t *testing.T, g *gatetest.Gate, name string) string {
	t.Helper()
	text, err := get("http://" + g.Admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, `"`+name+`":"`)
	word, _, _ := strings.Cut(rest, `"`)
	return word
}

// A failover by Sentinel is followed.
func TestRedisBehindSentinel(t *testing.T) {
	up, pg := gatetest.NewUpstream(t), servertest.StartPostgres(t)
	sentinel, master, _ := servertest.StartSentinel(t, "sesame")
	const inFile = `
store: {postgres: {url: %q}}
redis: {urls: [%q], sentinel_master: gate, password_file: word, sentinel_password_file: word}
cluster: true
tokens: {issuer: "https://gate.test", encryption_key_file: seal.key}
`
	const written = `
store: {postgres: {url: %q}}
redis: {urls: [%q], sentinel_master: gate, password: sesame, sentinel_password: sesame}
cluster: true
tokens: {issuer: "https://gate.test", encryption_key_file: seal.key}
`
	at := pg.Database("")
	var gates []*gatetest.Gate
	for _, conf := range []string{inFile, written} {
		g := gatetest.New(t, "")
		for name, text := range map[string]string{"word": "sesame", "seal.key": sealKey} {
			if err := os.WriteFile(filepath.Join(g.Dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		g.Configure(fmt.Sprintf(conf, at, "redis://"+sentinel.Addr) + appRoute(up.URL()))
		g.Run()
		within(t, "redis is used", func() bool { return component(t, g, "redis") == "ok" })
		gates = append(gates, g)
	}
	master.Kill()
	// What answers now is the new master; that the old one was missed is over too soon to be waited for.
	for _, g := range gates {
		for deadline := time.Now().Add(time.Minute); component(t, g, "redis") != "ok"; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the new master is not found")
			}
		}
	}
}
