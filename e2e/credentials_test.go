package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// spelled are other texts of a token, the token itself last.
func spelled(raw string) []string {
	parts := strings.Split(raw, ".")
	std := func(s string) string {
		b, _ := base64.RawURLEncoding.DecodeString(s)
		return base64.StdEncoding.EncodeToString(b)
	}
	out := []string{raw + "=", raw + "==", raw + ".", "." + raw, raw + "A", raw[:len(raw)-1], std(parts[0]) + "." + std(parts[1]) + "." + std(parts[2]),
		parts[0] + "=." + parts[1] + "." + parts[2], strings.Replace(raw, ".", "..", 1), raw + "." + parts[2], `"` + raw + `"`, parts[0] + "." + parts[1] + ".", strings.ToLower(raw), raw + "%20"}
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		out = append(out, raw[:len(raw)-1]+string(last))
	}
	for i := 7; i < len(raw); i += 29 {
		for _, c := range []string{"=", ".", "~", "+", "_"} {
			out = append(out, raw[:i]+c+raw[i:])
		}
	}
	return append(out, raw)
}

// Signed out, a token is worthless in every spelling, in the header and in the
// cookie, and no request with it reaches the app.
func TestT079_T095_ARevokedTokenHasNoOtherSpelling(t *testing.T) {
	for _, algorithm := range []string{"EdDSA", "ES256"} {
		up := gatetest.NewUpstream(t)
		g := gatetest.Start(t, "tokens: {issuer: \"https://gate.test\", algorithm: "+algorithm+"}\n"+appRoute(up.URL()))
		g.AddUser("ann@example.com", password)
		c := g.Client("app.test", true)
		tok := c.Login("ann@example.com", password)
		if got := c.Status("/", tok.AccessToken); got != 200 {
			t.Fatalf("%s: %d", algorithm, got)
		}
		if a := c.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(tok.AccessToken)); a.StatusCode != 204 {
			t.Fatalf("sign-out: %d", a.StatusCode)
		}
		before := len(up.Seen())
		for _, raw := range spelled(tok.AccessToken) {
			for _, header := range []string{gatetest.Bearer(raw), "Cookie: __Host-gatehouse=" + raw} {
				if a := c.Must(http.MethodGet, "/", "", header); a.StatusCode != 401 && a.StatusCode != 400 {
					t.Errorf("%s: %.20s…%q: %d", algorithm, header, raw[len(raw)-8:], a.StatusCode)
				}
			}
		}
		if after := len(up.Seen()); after != before {
			t.Errorf("%s: %d requests reached the app", algorithm, after-before)
		}
	}
}

// A credential that is broken in any way is no credential: on a protected route
// nothing reaches the app, on a public one nobody's identity does.
func TestT151_BrokenCredentialsReachNobody(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	closed, open := g.Client("app.test", true), g.Client("open.test", true)
	closed.Jar, open.Jar = nil, nil
	tok := closed.Login("ann@example.com", password)
	_, stranger, _ := ed25519.GenerateKey(nil)
	parts := strings.Split(tok.AccessToken, ".")
	forged := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(stranger, []byte(parts[0]+"."+parts[1])))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
	var all [][]string
	for _, raw := range append(spelled(tok.AccessToken)[:40], forged, none, "x", "null", "undefined", ".", "..", "eyJ9.e30.x", tok.RefreshToken, strings.Repeat("a", 9000), strings.Repeat(".", 9000)) {
		if raw != tok.AccessToken {
			all = append(all, []string{gatetest.Bearer(raw)}, []string{"Cookie: __Host-gatehouse=" + raw}, []string{"Cookie: __Host-gatehouse-refresh=" + raw + "x; __Host-gatehouse=" + raw})
		}
	}
	for _, line := range []string{"Bearer", "Bearer ", "Bearer  " + tok.AccessToken, "Bearer\t" + tok.AccessToken, "Bearer " + tok.AccessToken + ", Bearer x", "Token " + tok.AccessToken, "Basic " + tok.AccessToken, tok.AccessToken, "Bearer=" + tok.AccessToken, "Bearer:" + tok.AccessToken} {
		all = append(all, []string{"Authorization: " + line})
	}
	all = append(all, []string{gatetest.Bearer(tok.AccessToken), gatetest.Bearer(tok.AccessToken)}, []string{"Cookie: __Host-gatehouse=" + tok.AccessToken + "; __Host-gatehouse=x"})
	for _, headers := range all {
		before := len(up.Seen())
		a, err := closed.Send(http.MethodGet, "/", "", headers...)
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode != 401 && a.StatusCode != 400 || len(up.Seen()) != before {
			t.Errorf("protected, %.60q: %d", headers, a.StatusCode)
		}
		a, err = open.Send(http.MethodGet, "/", "", headers...)
		if err != nil {
			t.Fatal(err)
		}
		if seen := up.Last(); len(up.Seen()) > before && (strings.Contains(seen, "X-Forwarded-User") || strings.Contains(seen, "X-Forwarded-Email")) {
			t.Errorf("public, %.60q: %d, an identity went out:\n%s", headers, a.StatusCode, seen)
		}
	}
}

func TestT014_T015_T016_OneCredentialInItsPlace(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password)
	g.AddUser("bob@example.com", password)
	c := g.Client("app.test", false)
	ann, bob := c.Login("ann@example.com", password), c.Login("bob@example.com", password)
	for what, headers := range map[string][]string{
		"two users": {gatetest.Bearer(ann.AccessToken), "Cookie: __Host-gatehouse=" + bob.AccessToken}, "two lines": {gatetest.Bearer(ann.AccessToken), gatetest.Bearer(bob.AccessToken)},
		"a list": {"Authorization: Bearer " + ann.AccessToken + ", Bearer " + bob.AccessToken}, "a tab": {"Authorization: Bearer\t" + ann.AccessToken}, "two spaces": {"Authorization: Bearer  " + ann.AccessToken},
	} {
		if a := c.Must(http.MethodGet, "/x", "", headers...); a.StatusCode != 400 {
			t.Errorf("%s: %d, want 400", what, a.StatusCode)
		}
	}
	for what, req := range map[string][3]string{
		"query": {"GET", "/x?access_token=" + ann.AccessToken, ""}, "query, POST": {"POST", "/x?token=" + ann.AccessToken, ""}, "form": {"POST", "/x", "access_token=" + ann.AccessToken}, "own endpoint": {"GET", "/_auth/me?access_token=" + ann.AccessToken, ""},
	} {
		if a := c.Must(req[0], req[1], req[2], "Content-Type: application/x-www-form-urlencoded"); a.StatusCode != 401 {
			t.Errorf("%s: %d, want 401", what, a.StatusCode)
		}
	}
	if n := len(up.Seen()); n != 0 {
		t.Errorf("%d requests reached the app", n)
	}
	if a := c.Must(http.MethodGet, "/x", "", "Authorization: bEARER "+ann.AccessToken); a.StatusCode != 200 {
		t.Errorf("a scheme has no case: %d", a.StatusCode)
	}
	if code := g.Stop(); code != 0 || !strings.Contains(g.Log(), `"path":"/x"`) { // access lines come late
		t.Errorf("exit %d, and no line of a request:\n%s", code, g.Log())
	}
	for name, secret := range map[string]string{"access token": ann.AccessToken, "refresh token": ann.RefreshToken, "password": password} {
		if strings.Contains(g.Log(), secret) {
			t.Errorf("the log holds the %s", name)
		}
	}
}

// Many people at once over both protocols, a third of them going away in the
// middle: each request reaches the app as who sent it.
func TestT149_NobodyBecomesSomebodyElse(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	const people = 8
	var tokens [people]gatetest.Tokens
	for i := range people {
		c := g.Client("app.test", true)
		c.JSON("/_auth/register", map[string]string{"email": fmt.Sprintf("user%d@example.com", i), "password": password}, &tokens[i])
	}
	var wg sync.WaitGroup
	for i, tok := range tokens {
		for _, http2 := range []bool{false, true} {
			c := g.Client("app.test", http2)
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for range gatetest.Scale(60, 20_000) {
					c.Timeout = 30 * time.Second
					if random.IntN(3) == 0 {
						c.Timeout = time.Duration(1+random.IntN(3000)) * time.Microsecond
					}
					header := gatetest.Bearer(tok.AccessToken)
					if random.IntN(2) == 0 {
						header = "Cookie: __Host-gatehouse=" + tok.AccessToken
					}
					a, err := c.Send(http.MethodGet, "/of/"+tok.User.Sub, "", header)
					if err == nil && a.StatusCode != 200 {
						t.Errorf("person %d: %d %s", i, a.StatusCode, a.Text)
					}
				}
			})
		}
	}
	wg.Wait()
	seen := up.Seen()
	for _, head := range seen {
		_, rest, _ := strings.Cut(head, "GET /of/")
		sub, _, _ := strings.Cut(rest, " ")
		if strings.Count(head, "X-Forwarded-User: ") != 1 || !strings.Contains(head, "\r\nX-Forwarded-User: "+sub+"\r\n") {
			t.Fatalf("somebody else's identity:\n%s", head)
		}
	}
	if len(seen) < people*60 {
		t.Errorf("only %d requests reached the app", len(seen))
	}
}

// An account made again under the address of one that was deleted has nothing
// of it.
func TestT154_AnAddressAgainIsSomebodyNew(t *testing.T) {
	up := gatetest.NewUpstream(t)
	g := gatetest.Start(t, appRoute(up.URL()))
	g.AddUser("ann@example.com", password, "admins")
	c := g.Client("ruled.test", true)
	old := c.Login("ann@example.com", password)
	if got := c.Status("/admin", old.AccessToken); got != 200 {
		t.Fatalf("the admin: %d", got)
	}
	g.Must("", "user", "delete", "ann@example.com")
	g.AddUser("ANN@example.com", password)
	within(t, "the token of the deleted account is refused", func() bool { return c.Refused("/", old.AccessToken) })
	if a := c.JSON("/_auth/refresh", map[string]string{"refresh_token": old.RefreshToken}, nil); a.StatusCode != 401 {
		t.Errorf("the refresh token of before: %d", a.StatusCode)
	}
	tok := c.Login("ann@example.com", password)
	if tok.User.Sub == old.User.Sub || len(tok.User.Groups) != 0 {
		t.Errorf("the new account has %v of the old", tok.User)
	}
	if got := c.Status("/admin", tok.AccessToken); got != 403 {
		t.Errorf("the new account at /admin: %d", got)
	}
	if a := c.Must(http.MethodGet, "/_auth/sessions", "", gatetest.Bearer(tok.AccessToken)); strings.Contains(a.Text, old.User.Sid) {
		t.Error("the session of before is listed")
	}
}
