package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// kid reads the key id out of an access token.
func kid(t *testing.T, token string) string {
	t.Helper()
	head, err := base64.RawURLEncoding.DecodeString(strings.SplitN(token, ".", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	var h struct {
		Kid string `json:"kid"`
	}
	if err := json.Unmarshal(head, &h); err != nil || h.Kid == "" {
		t.Fatalf("%s: %v", head, err)
	}
	return h.Kid
}

// Sockets, event streams, polls, downloads and uploads of a session end with
// it, whatever ended it and wherever; those of others go on.
func TestT132_T134_StreamsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	do := func(want int, method, path, body, token string) {
		t.Helper()
		if a := c.Must(method, path, body, gatetest.Bearer(token), "Content-Type: application/json"); a.StatusCode != want {
			t.Fatalf("%s %s: %d %s", method, path, a.StatusCode, a.Text)
		}
	}
	command := func(args ...string) func(string, gatetest.Tokens) {
		return func(email string, tok gatetest.Tokens) {
			args := slices.Clone(args)
			for i := range args {
				args[i] = strings.NewReplacer("EMAIL", email, "SID", tok.User.Sid, "KID", kid(t, tok.AccessToken)).Replace(args[i])
			}
			g.Must("another-password-of-hers\n", args...)
		}
	}
	other := c.Login(register(t, c, "bystander@example.com"), password)
	bystander := app.holdAll(t, g, other.AccessToken)
	for i, cause := range []struct {
		name string
		end  func(email string, tok gatetest.Tokens)
	}{
		{"logout", func(_ string, tok gatetest.Tokens) { do(204, "POST", "/_auth/logout", "", tok.AccessToken) }},
		{"session deleted", func(_ string, tok gatetest.Tokens) {
			do(204, "DELETE", "/_auth/sessions/"+tok.User.Sid, "", tok.AccessToken)
		}},
		{"password changed", func(_ string, tok gatetest.Tokens) {
			do(200, "POST", "/_auth/password", `{"current_password":"`+password+`","new_password":"another-password-of-hers"}`, tok.AccessToken)
		}},
		{"refresh token used twice", func(_ string, tok gatetest.Tokens) {
			next, _ := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
			_, _ = post(c, "/_auth/refresh", map[string]string{"refresh_token": next.RefreshToken})
			_, _ = post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
		}},
		{"session revoked by command", command("session", "revoke", "SID")},
		{"sessions of the user revoked by command", command("session", "revoke", "--user", "EMAIL")},
		{"user disabled by command", command("user", "disable", "EMAIL")},
		{"user deleted by command", command("user", "delete", "EMAIL")},
		{"password set by command", command("user", "set-password", "EMAIL")},
		{"groups changed by command", command("user", "set-groups", "EMAIL", "others")},
		{"key revoked by command", command("key", "revoke", "KID")}, // last: the bystander needs another key
	} {
		email := register(t, c, fmt.Sprintf("user%d@example.com", i))
		tok := c.Login(email, password)
		if strings.HasPrefix(cause.name, "key ") {
			g.Must("", "key", "rotate")
			within(t, "tokens of another key", func() bool {
				other = c.Login("bystander@example.com", password)
				return kid(t, other.AccessToken) != kid(t, tok.AccessToken)
			})
			bystander = app.holdAll(t, g, other.AccessToken)
		}
		mine := app.holdAll(t, g, tok.AccessToken)
		cause.end(email, tok)
		acknowledged := time.Now()
		took := lastEnd(t, mine, 10*time.Second).Sub(acknowledged)
		t.Logf("%s: the last of %d streams ended %v after the answer", cause.name, len(mine), took.Round(time.Millisecond))
		if gatetest.Full() && took > time.Second {
			t.Errorf("%s: that is over one second", cause.name)
		}
		if mine[0].code != 1008 {
			t.Errorf("%s: the socket got close code %d, want 1008", cause.name, mine[0].code)
		}
		if c.Status("/", tok.AccessToken) != http.StatusUnauthorized {
			t.Errorf("%s: the token is still accepted", cause.name)
		}
		for _, h := range bystander {
			if h.ended() {
				t.Errorf("%s: the bystander's %s ended too", cause.name, h.what)
			}
		}
	}
	if app.full.Load() != 0 {
		t.Errorf("%d broken uploads looked whole to the app", app.full.Load())
	}
}

// register makes an account and returns its address.
func register(t *testing.T, c *gatetest.Client, email string) string {
	t.Helper()
	if _, status := post(c, "/_auth/register", map[string]string{"email": email, "password": password}); status != http.StatusCreated {
		t.Fatalf("register %s: %d", email, status)
	}
	return email
}

// A reload leaves streams alone, also when it changes or removes their route;
// signing out ends them all the same.
func TestStreamsOutliveReloads(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	tok := c.Login(register(t, c, "ann@example.com"), password)
	mine := app.holdAll(t, g, tok.AccessToken)
	route := func(host, more string) string {
		return strings.Replace(appRoute(app.URL), "{name: app, host: app.test,", "{name: app, host: "+host+more+",", 1)
	}
	for i, body := range []string{
		strings.Replace(appRoute(app.URL), "host: open.test", "host: opener.test", 1), // another route
		route("app.test", ", timeout: {idle: 4m}"),
		route("app.test", ", access: deny"),
		route("moved.test", ""),
	} {
		g.Configure(body)
		within(t, "the reload", func() bool { return strings.Count(g.Log(), `"msg":"configuration reloaded"`) == i+1 })
	}
	if got := c.Status("/", tok.AccessToken); got != http.StatusMisdirectedRequest {
		t.Errorf("the removed host answers %d", got)
	}
	for _, h := range mine {
		if h.ended() {
			t.Errorf("the reload ended the %s", h.what)
		}
	}
	moved := g.Client("moved.test", true)
	if a := moved.Must("POST", "/_auth/logout", "", gatetest.Bearer(tok.AccessToken), "Content-Type: application/json"); a.StatusCode != 204 {
		t.Fatalf("logout: %d", a.StatusCode)
	}
	lastEnd(t, mine, 10*time.Second)
}

// Bar: 1,000 sockets of 100 users; ten users sign out.
func TestT132_ManySocketsCloseForThoseWhoLeave(t *testing.T) {
	users, leave := gatetest.Scale(10, 100), gatetest.Scale(2, 10)
	app := newStreamApp(t)
	g := gatetest.Start(t, appRoute(app.URL))
	c := g.Client("app.test", true)
	cfg := socketConfig(g)
	tokens := make([]gatetest.Tokens, users)
	each(users, 4, func(i int) {
		var status int
		if tokens[i], status = post(c, "/_auth/register", map[string]string{"email": fmt.Sprintf("user%d@example.com", i), "password": password}); status != http.StatusCreated {
			t.Errorf("register: %d", status)
		}
	})
	if t.Failed() {
		return
	}
	sockets := make([][]*held, users)
	for i, tok := range tokens {
		for range 10 {
			sockets[i] = append(sockets[i], holdSocket(t, g, cfg, tok.AccessToken))
		}
	}
	var mu sync.Mutex
	var took []time.Duration
	each(leave, leave, func(i int) {
		if got := logout(c, tokens[i].AccessToken); got != http.StatusNoContent {
			t.Errorf("logout: %d", got)
		}
		answered := time.Now()
		lastEnd(t, sockets[i], 10*time.Second)
		mu.Lock()
		defer mu.Unlock()
		for _, h := range sockets[i] {
			took = append(took, h.at.Sub(answered))
			if h.code != 1008 {
				t.Errorf("close code %d, want 1008", h.code)
			}
		}
	})
	for _, theirs := range sockets[leave:] {
		for _, h := range theirs {
			if h.ended() {
				t.Error("a socket of somebody else ended")
			}
		}
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d sockets of %d users; %d users left: time from the answer to the end p50 %v, p99 %v, max %v (negative: before the answer)",
		users*10, users, leave, took[len(took)/2], p99, took[len(took)-1])
	if gatetest.Full() && p99 > time.Second {
		t.Errorf("p99 %v, want at most 1 s", p99)
	}
}

// A socket needs what every request needs; with a cookie also an origin of the
// route's list, since any page can make a browser open one.
func TestT130_T131_SocketHandshakes(t *testing.T) {
	t.Parallel()
	app := newStreamApp(t)
	g := gatetest.Start(t, strings.Replace(appRoute(app.URL), "{name: app, host: app.test,", "{name: app, host: app.test, websocket: {origins: [same, \"https://friend.test\"]},", 1))
	c := g.Client("app.test", true)
	email := register(t, c, "ann@example.com")
	gone := c.Login(email, password)
	if got := logout(c, gone.AccessToken); got != http.StatusNoContent {
		t.Fatal(got)
	}
	bearer := gatetest.Bearer(c.Login(email, password).AccessToken)
	browser := g.Client("app.test", true)
	browser.Form("/_auth/login", "email", email, "password", password)
	var cookie string
	for _, ck := range browser.Jar.Cookies(browser.Must("GET", "/", "").Request.URL) {
		if ck.Name == "__Host-gatehouse" {
			cookie = "Cookie: " + ck.Name + "=" + ck.Value
		}
	}
	if cookie == "" {
		t.Fatal("no cookie after signing in")
	}
	const own = "Origin: https://app.test"
	cfg := socketConfig(g)
	for _, try := range []struct {
		status  int
		headers []string
	}{
		{401, nil},
		{401, []string{own}},
		{401, []string{gatetest.Bearer("garbage")}},
		{401, []string{gatetest.Bearer(gone.AccessToken)}},
		{401, []string{"Cookie: __Host-gatehouse=" + gone.AccessToken, own}},
		{401, []string{"Sec-WebSocket-Protocol: bearer, " + strings.TrimPrefix(bearer, "Authorization: Bearer ")}},
		{403, []string{cookie}},
		{403, []string{cookie, "Origin: null"}},
		{403, []string{cookie, "Origin: https://evil.test"}},
		{403, []string{cookie, "Origin: https://app.test.evil.test"}},
		{403, []string{cookie, "Origin: https://evilapp.test"}},
		{403, []string{cookie, "Origin: https://sub.app.test"}},
		{403, []string{cookie, "Origin: http://app.test"}},
		{403, []string{cookie, "Origin: https://app.test:8443"}},
		{403, []string{cookie, own, "Origin: https://evil.test"}},
		{403, []string{cookie, "Origin: https://evil.test", own}},
		{101, []string{cookie, own}},
		{101, []string{cookie, "Origin: https://friend.test"}},
		{101, []string{bearer}},
		{101, []string{bearer, "Origin: https://evil.test"}},
	} {
		before := app.open.Load()
		conn, _, status, err := shake(g, cfg, try.headers...)
		if err != nil {
			t.Fatal(err)
		}
		if status != try.status {
			t.Errorf("%.90q: %d, want %d", try.headers, status, try.status)
		}
		if status == http.StatusSwitchingProtocols {
			within(t, "the app has it", func() bool { return app.open.Load() == before+1 })
		} else if app.open.Load() != before {
			t.Errorf("%.90q reached the app", try.headers)
		}
		_ = conn.Close()
		within(t, "the app has none", func() bool { return app.open.Load() == before })
	}
}
