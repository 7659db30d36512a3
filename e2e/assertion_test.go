package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// TestT010_AssertionProvesTheUserToOneRoute checks the statement as an app
// would, with nothing but the public keys.
func TestT010_AssertionProvesTheUserToOneRoute(t *testing.T) {
	t.Parallel()
	g, _, ann, _ := headerGate(t)
	c := g.Client("assert.test", true)
	a := c.Must("GET", "/", "", gatetest.Bearer(ann.AccessToken), "X-Gatehouse-Assertion: evil", "X_Gatehouse_Assertion: evil")
	var lines []string
	for _, l := range parseHead(a.Text) {
		if foldCGI(l.name) == "x-gatehouse-assertion" {
			lines = append(lines, l.value)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d assertions:\n%s", len(lines), a.Text)
	}
	var head struct{ Alg, Typ, Kid string }
	var claims struct {
		Iss, Aud, Sub, Email, Sid string
		Groups                    []string
		Iat, Exp                  int64
	}
	parts := strings.Split(lines[0], ".")
	decode(t, parts[0], &head)
	decode(t, parts[1], &claims)
	if head.Typ != "gatehouse-assertion+jwt" || claims.Aud != "assert" || claims.Sub != ann.User.Sub || claims.Sid != ann.User.Sid || claims.Email != "Ann@example.com" || strings.Join(claims.Groups, "|") != "b c|staff" {
		t.Errorf("assertion %+v %+v", head, claims)
	}
	if now := time.Now().Unix(); claims.Exp-claims.Iat > 60 || claims.Exp <= now || claims.Exp > now+61 {
		t.Errorf("lives from %d to %d", claims.Iat, claims.Exp)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !ed25519.Verify(publicKey(t, c, head.Kid), []byte(parts[0]+"."+parts[1]), signature) {
		t.Error("the signature does not hold with the public key")
	}
	for _, host := range []string{"assert.test", "app.test"} {
		if got := g.Client(host, true).Status("/", lines[0]); got != 401 {
			t.Errorf("the assertion as a token at %s: %d", host, got)
		}
	}
	if a := g.Client("app.test", true).Must("GET", "/", "", gatetest.Bearer(ann.AccessToken)); strings.Contains(a.Text, "Assertion") {
		t.Errorf("a route that did not ask for one got one:\n%s", a.Text)
	}
}

func decode(t *testing.T, part string, into any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%q: %v", part, err)
	}
}

func publicKey(t *testing.T, c *gatetest.Client, kid string) ed25519.PublicKey {
	t.Helper()
	var set struct {
		Keys []struct{ Kid, X string }
	}
	if err := json.Unmarshal([]byte(c.Must("GET", "/_auth/jwks.json", "").Text), &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if key, err := base64.RawURLEncoding.DecodeString(k.X); err == nil && k.Kid == kid {
			return key
		}
	}
	t.Fatalf("no public key %q", kid)
	return nil
}

// TestT009_GroupsReachTheAppWithoutANewLogin holds the bound on a change of
// groups, which the refresh in passing makes invisible to a browser.
func TestT009_GroupsReachTheAppWithoutANewLogin(t *testing.T) {
	t.Parallel()
	g, _, _, bob := headerGate(t)
	c := g.Client("remote.test", true)
	browser := g.Client("remote.test", true)
	if a := browser.Form("/_auth/login", "email", "bob@example.com", "password", password); a.StatusCode != 303 {
		t.Fatalf("sign-in: %d %s", a.StatusCode, a.Text)
	}
	if a := browser.Must("GET", "/", ""); a.StatusCode != 200 || strings.Contains(a.Text, "Remote-Groups") {
		t.Fatalf("before: %d\n%s", a.StatusCode, a.Text)
	}
	changed := time.Now()
	g.Must("", "user", "set-groups", "bob@example.com", "late,new")
	within(t, "the old token is refused", func() bool { return c.Refused("/", bob.AccessToken) })
	if took := time.Since(changed); took > 5*time.Second {
		t.Errorf("the change took %v", took)
	}
	within(t, "the browser's next request carries the new groups", func() bool {
		a, err := browser.Send("GET", "/", "")
		return err == nil && a.StatusCode == 200 && strings.Contains(a.Text, "\r\nRemote-Groups: late,new\r\n")
	})
}
