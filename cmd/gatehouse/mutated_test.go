package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/proxy"
)

// strictConfig is stricter than the defaults throughout, so that a value that
// is lost shows.
const strictConfig = `listen:
  https: "127.0.0.1:0"
  http: ""
  admin: ""
  trusted_proxies: [10.0.0.1/32]
tls: {self_signed: true}
tokens:
  issuer: https://gate.test
  access_ttl: 2m
  leeway: 5s
sessions:
  idle_timeout: 30m
  max_lifetime: 8h
  refresh_grace: 5s
accounts:
  registration: closed
  password: {min_length: 16, blocklist: true, require_digit: true}
limits:
  login_account: 3/1m
  login_ip: 10/1m
  register_ip: 1/1h
  refresh_session: 10/1m
  requests_ip: 50/1s
  requests_user: 20/1s
routes:
  - name: wiki
    host: wiki.test
    upstream: http://127.0.0.1:1
    access: signed_in
    rules:
      - path: /static
        access: public
      - path: /admin
        access:
          groups: [admins]
          networks: [10.0.0.0/8]
          max_auth_age: 1h
      - path: /api
        methods: [POST]
        access: deny
    authorization: strip
    max_body: 1MiB
    max_in_flight: 10
    timeout: {idle: 10s}
    websocket: {origins: [same]}
    on_stale: deny
    allow_cross_site: false
    remove_request_headers: [X-Debug]
  - name: vault
    host: vault.test
    upstream: http://127.0.0.1:1
    access: deny
`

// mutations are mistakes of the hand: what stands before => is replaced by
// what stands behind it, ~ is a line break.
const mutations = `access: signed_in => acess: signed_in
access: signed_in => access: signed-in
access: signed_in => access: Signed_In
access: signed_in => access: [signed_in]
access: signed_in => access:
access: signed_in => access: null
access: signed_in => access: ""
access: signed_in => access: true
access: signed_in => access: {}
access: signed_in => access: {groups: []}
access: signed_in => access: {groups: null}
access: signed_in => access: {groups: [""]}
access: signed_in => access: {group: [staff]}
access: signed_in => access: {users: []}
access: signed_in => access: {email_domains: []}
access: signed_in => access: {networks: []}
access: signed_in => access: {networks: [""]}
access: signed_in => access: {max_auth_age: 0}
access: signed_in => access: {max_auth_age: -1h}
access: signed_in => access: {max_auth_age: 5}
access: signed_in => access: publik
access: signed_in => access: signed_in~    access: public
    access: signed_in~ =>
          groups: [admins] =>           groups: admins
          groups: [admins] =>           groups:
          groups: [admins] =>           groups: [admins, ]
          groups: [admins] =>           Groups: [admins]
          groups: [admins] =>           groups: [[admins]]
          networks: [10.0.0.0/8] =>           networks: [10.0.0.0]
          networks: [10.0.0.0/8] =>           networks: [10.0.0.0/33]
          networks: [10.0.0.0/8] =>           networks: [10.0.0.0/-8]
          max_auth_age: 1h =>           max_auth_age: 1
          max_auth_age: 1h =>           max_auth_age: 9999999h
          max_auth_age: 1h =>           max_auth_age: 1 h
          max_auth_age: 1h =>           max_auth_age: ~
      - path: /admin =>       - path: admin
      - path: /admin =>       - path: /admin/*
      - path: /admin =>       - path: /admin/../static
      - path: /admin =>       - pathh: /admin
      - path: /admin =>       - path: /static
      - path: /admin =>       - path: /Static
      - path: /admin =>       path: /admin
        methods: [POST] =>         methods: [post]
        methods: [POST] =>         methods: POST
        methods: [POST] =>         method: [POST]
        methods: [POST] =>         methods: [P OST]
        access: deny~    authorization =>         access: no~    authorization
        access: deny~    authorization =>         access: denied~    authorization
        access: deny~    authorization =>     access: deny~    authorization
    rules:~ =>     rule:~
    rules:~ =>
    rules:~ =>     rules: []~
access_ttl: 2m => access_ttl: 0
access_ttl: 2m => access_ttl: -1
access_ttl: 2m => access_ttl: 2
access_ttl: 2m => access_ttl: 1e9
access_ttl: 2m => access_ttl: 200m
access_ttl: 2m => acess_ttl: 2m
leeway: 5s => leeway: 5h
idle_timeout: 30m => idle_timeout: 0
max_lifetime: 8h => max_lifetime: -1
refresh_grace: 5s => refresh_grace: 5m
registration: closed => registration: close
registration: closed => registration:
registration: closed => registration: false
registration: closed => registration: domain
min_length: 16 => min_length: 0
min_length: 16 => min_length: -1
min_length: 16 => min_lenght: 16
min_length: 16 => min_length: "16"
min_length: 16 => min_length: 1.6e1
blocklist: true => blocklist: yes
blocklist: true => blocklist: tru
require_digit: true => require_digit: 1
login_account: 3/1m => login_account: 0/1m
login_account: 3/1m => login_account: -1/1m
login_account: 3/1m => login_account: 3
login_account: 3/1m => login_account: 3/0s
login_account: 3/1m => login_account: ""
login_account: 3/1m => login_account: 3/1x
login_account: 3/1m => login_account: 1e9/1m
login_ip: 10/1m => login_ip: 10/1m~  login_ip: 1000/1m
requests_ip: 50/1s => requests_ip: 50/s/s
requests_ip: 50/1s => requests_ip: 0
requests_user: 20/1s => request_user: 20/1s
trusted_proxies: [10.0.0.1/32] => trusted_proxies: [10.0.0.1]
trusted_proxies: [10.0.0.1/32] => trusted_proxies: [any]
trusted_proxies: [10.0.0.1/32] => trusted_proxies: [""]
trusted_proxies: [10.0.0.1/32] => trusted_proxies: true
max_body: 1MiB => max_body: 0
max_body: 1MiB => max_body: -1
max_body: 1MiB => max_body: 1
max_body: 1MiB => max_body: 1 MB x
max_in_flight: 10 => max_in_flight: 0
max_in_flight: 10 => max_in_flight: -1
max_in_flight: 10 => max_in_flight: ten
timeout: {idle: 10s} => timeout: {idle: 0}
timeout: {idle: 10s} => timeout: {idle: -10s}
origins: [same] => origins: ["*"]
origins: [same] => origins: [sames]
origins: [same] => origins: []
on_stale: deny => on_stale: denied
on_stale: deny => on_stale: no
allow_cross_site: false => allow_cross_site: "false"
allow_cross_site: false => allow_cross_site: 0
authorization: strip => authorization: stripp
remove_request_headers: [X-Debug] => remove_request_headers: X-Debug
host: wiki.test => host: "*"
host: wiki.test => host: WIKI.test.
host: wiki.test => hots: wiki.test
name: vault => name: wiki
host: vault.test => host: wiki.test
  - name: vault =>   - &a name: vault
tls: {self_signed: true} => tls: {self_signed: true}~---
tokens: => Tokens:
routes:~ => route:~
routes:~ => routes: {}~
  - name: wiki => name: wiki
accounts: => accounts: &acc
limits: => limits: *acc
limits: => <<: {limits: {login_ip: 100000/1m}}~limits:
`

// TestT139_T152_NoMistakeMakesAConfigurationMorePermissive makes one mistake at
// a time: check refuses the file, or what it means lets nobody in and allows
// nothing that the file without the mistake does not.
func TestT139_T152_NoMistakeMakesAConfigurationMorePermissive(t *testing.T) {
	t.Parallel()
	base := loadMutated(t, strictConfig)
	if base.err != nil || base.code != 0 {
		t.Fatalf("the configuration without a mistake: exit %d, %v", base.code, base.err)
	}
	made, refused := 0, 0
	for line := range strings.SplitSeq(strings.TrimSuffix(mutations, "\n"), "\n") {
		old, mistake, ok := strings.Cut(line, " =>")
		old, mistake = strings.ReplaceAll(old, "~", "\n"), strings.ReplaceAll(strings.TrimPrefix(mistake, " "), "~", "\n")
		if !ok || strings.Count(strictConfig, old) < 1 {
			t.Fatalf("%q changes nothing", line)
		}
		made++
		text := strings.Replace(strictConfig, old, mistake, 1)
		got := loadMutated(t, text)
		if (got.err != nil) != (got.code == 2) || got.code != 0 && got.code != 2 {
			t.Errorf("%q: check exits %d, and loading says %v", line, got.code, got.err)
		}
		if got.err != nil {
			refused++
			continue
		}
		for _, more := range morePermissive(base.cfg, got.cfg) {
			t.Errorf("%q was taken, and %s", line, more)
		}
	}
	if made < 60 || refused < 60 {
		t.Errorf("%d mistakes, %d refused", made, refused)
	}
	t.Logf("%d mistakes: %d refused, %d taken and no more permissive", made, refused, made-refused)
}

type mutated struct {
	cfg  *config.Config
	err  error
	code int // of check
}

func loadMutated(t *testing.T, text string) mutated {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	noEnv := func(string) (string, bool) { return "", false }
	m := mutated{code: run(t.Context(), []string{"check", "-c", file}, noEnv, strings.NewReader(""), io.Discard, io.Discard)}
	m.cfg, m.err = config.Load(file, noEnv)
	if m.err == nil {
		_, m.err = proxy.NewExplainer(m.cfg, time.Now)
	}
	return m
}

// morePermissive lists what got allows and base does not.
func morePermissive(base, got *config.Config) []string {
	var more []string
	say := func(is bool, format string, args ...any) {
		if is {
			more = append(more, fmt.Sprintf(format, args...))
		}
	}
	allowed := decisions(base)
	for d := range decisions(got) {
		say(!allowed[d], "it allows %s", d)
	}
	for _, p := range got.Listen.TrustedProxies {
		say(!slices.Contains(base.Listen.TrustedProxies, p), "it trusts %v", p)
	}
	longer := func(what string, a, b time.Duration) { say(b > a || b <= 0, "%s is %v", what, b) }
	longer("access_ttl", base.Tokens.AccessTTL, got.Tokens.AccessTTL)
	longer("leeway", base.Tokens.Leeway, got.Tokens.Leeway)
	longer("idle_timeout", base.Sessions.IdleTimeout, got.Sessions.IdleTimeout)
	longer("max_lifetime", base.Sessions.MaxLifetime, got.Sessions.MaxLifetime)
	longer("refresh_grace", base.Sessions.RefreshGrace, got.Sessions.RefreshGrace)
	say(got.Accounts.Registration != base.Accounts.Registration, "registration is %s", got.Accounts.Registration)
	p, q := base.Accounts.Password, got.Accounts.Password
	say(q.MinLength < p.MinLength || p.Blocklist && !q.Blocklist || p.RequireDigit && !q.RequireDigit, "passwords may be %+v", q)
	for i, r := range rates(got) {
		b := rates(base)[i]
		say(r.Count <= 0 || r.Per <= 0 || float64(r.Count)/r.Per.Seconds() > float64(b.Count)/b.Per.Seconds() || r.Count > b.Count, "a limit is %+v", r)
	}
	for _, r := range got.Routes {
		at := slices.IndexFunc(base.Routes, func(b config.Route) bool { return b.Host == r.Host && b.Path == r.Path })
		if at < 0 {
			say(true, "it serves %s%s", r.Host, r.Path)
			continue
		}
		b := base.Routes[at]
		say(r.MaxBody > b.MaxBody || b.MaxBody > 0 && r.MaxBody <= 0, "max_body is %v", r.MaxBody)
		say(b.MaxInFlight != nil && (r.MaxInFlight == nil || *r.MaxInFlight > *b.MaxInFlight), "max_in_flight is off or larger")
		say(r.OnStale != b.OnStale || r.AllowCrossSite || r.CORS != nil || r.Authorization != b.Authorization, "%s is laxer: %+v", r.Name, r)
		say(!slices.Equal(r.WebSocket.Origins, b.WebSocket.Origins) && len(r.WebSocket.Origins) > 0, "sockets are open to %v", r.WebSocket.Origins)
		say(!slices.Equal(r.RemoveRequestHeaders, b.RemoveRequestHeaders), "it removes %v", r.RemoveRequestHeaders)
		longer("timeout.idle", b.Timeout.Idle, r.Timeout.Idle)
	}
	return more
}

func rates(c *config.Config) []config.Rate {
	l := c.Limits
	return []config.Rate{l.LoginAccount, l.LoginIP, l.RegisterIP, l.RefreshSession, l.RequestsIP, l.RequestsUser}
}

// decisions is the set of requests, of a fixed many, that are let through.
func decisions(c *config.Config) map[string]bool {
	now := time.Now()
	e, err := proxy.NewExplainer(c, func() time.Time { return now })
	if err != nil {
		return map[string]bool{"everything: " + err.Error(): true}
	}
	callers := map[string]*identity.Identity{
		"nobody": nil, "ann": {Subject: "a", Email: "ann@example.com", Groups: []string{"staff"}, AuthTime: now},
		"root": {Subject: "r", Email: "root@example.com", Groups: []string{"admins"}, AuthTime: now}, "old root": {Subject: "r", Email: "root@example.com", Groups: []string{"admins"}, AuthTime: now.Add(-2 * time.Hour)},
		"blank": {Subject: "b", Groups: []string{""}, AuthTime: now},
	}
	out := map[string]bool{}
	for _, host := range []string{"wiki.test", "vault.test", "other.test"} {
		for _, path := range []string{"/", "/x", "/static", "/static/a", "/Static/a", "/admin", "/admin/x", "/api", "/api/x", "/admin*"} {
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "FOO"} {
				for who, id := range callers {
					for _, from := range []string{"10.1.2.3", "203.0.113.9"} {
						x, err := e.Explain(method, "https://"+host+path, id, netip.MustParseAddr(from))
						if err == nil && x.Verdict == proxy.Allow.String() {
							out[fmt.Sprintf("%s %s%s to %s from %s", method, host, path, who, from)] = true
						}
					}
				}
			}
		}
	}
	return out
}
