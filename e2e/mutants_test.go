package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// T138: no start with a secret that everybody knows, can read, or can guess.
func TestT138_BadSecretsRefuseTheStart(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t, "")
	secret := filepath.Join(g.Dir, "hs256.key")
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"empty":        {"", 0o600},
		"short":        {"too-short", 0o600},
		"repeated":     {strings.Repeat("a", 64), 0o600},
		"sample":       {"changeme-changeme-changeme-changeme", 0o600},
		"others read":  {"q8Jx2Lw0vZ7Rk5Tn9Bs3Hd6Fg1Pm4Yc8Ae2Uo5Wi7Xz", 0o644},
		"others write": {"q8Jx2Lw0vZ7Rk5Tn9Bs3Hd6Fg1Pm4Yc8Ae2Uo5Wi7Xz", 0o602},
	} {
		if err := os.WriteFile(secret, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(secret, tc.mode); err != nil {
			t.Fatal(err)
		}
		g.Configure("tokens: {issuer: \"https://gate.test\", algorithm: HS256, secret_file: hs256.key}\nroutes: [{name: a, host: a.test, upstream: \"http://127.0.0.1:1\"}]\n")
		_, errs, code := g.Command("", "check")
		if code != 2 || !strings.Contains(errs, "tokens.secret_file") {
			t.Errorf("%s: exit %d, %s", name, code, errs)
		}
		if tc.text != "" && strings.Contains(errs, tc.text) {
			t.Errorf("%s: the secret is shown: %s", name, errs)
		}
	}
}

// T139, T141 and T152: more than 60 ways to write a configuration that would be more
// permissive than meant. None starts; what is left out is closed.
func TestT139_T141_T152_MutatedConfigurationsDoNotStart(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t, "")
	head := "listen: {https: \"127.0.0.1:0\", http: \"\", admin: \"\"}\ntls: {self_signed: true}\ntokens: {issuer: \"https://gate.test\"}\n"
	route := "routes:\n  - {name: a, host: a.test, upstream: \"http://127.0.0.1:1\"%s}\n"
	var mutants []string
	for _, extra := range []string{
		"acess: deny", "access: {group: [admins]}", "access: {groups: []}", "access: {}", "access: [admins]", "access: signed-in", "access: true", "access: null",
		"access: {groups: admins}", "access: {users: [\"*\"]}", "access: {networks: [10.0.0.0/33]}", "access: {networks: [\"10.0.0\"]}", "access: {max_auth_age: 0}", "access: {max_auth_age: -1h}", "access: {max_auth_age: 60}",
		"rules: [{path: admin, access: deny}]", "rules: [{path: /admin}]", "rules: [{path: /admin, acces: deny}]", "rules: [{path: /a/../b, access: public}]", "rules: [{path: /x, methods: [get], access: public}]",
		"rules: [{path: /x, access: public}, {path: /x, access: deny}]", "max_body: 0", "max_body: -1", "max_body: 1e9", "max_in_flight: 0", "max_in_flight: -1", "timeout: {idle: 0s}", "timeout: {idle: 5}",
		"on_stale: ignore", "websocket: {origins: [\"*\"]}", "cors: {origins: [\"*\"], credentials: true}", "allow_headers: [X-Forwarded-User]", "allow_headers: [x_forwarded_user]", "set_request_headers: {X-Forwarded-Email: a}",
		"identity_headers: {Connection: email}", "authorization: forward", "host: b.test", "allow_cross_site: \"no\"",
	} {
		mutants = append(mutants, head+fmt.Sprintf(route, ", "+extra))
	}
	for _, extra := range []string{
		"limits: {login_account: 0/1m}", "limits: {login_account: 5}", "limits: {login_account: -5/1m}", "limits: {login_ip: unlimited}", "limits: {login_ip: 30/0s}", "limits: {login_ip: 1e9/1s}", "limits: {login: 5/1m}",
		"sessions: {idle_timeout: 0}", "sessions: {idle_timeout: -1h}", "sessions: {max_lifetime: 0s}", "sessions: {refresh_grace: 10m}",
		"accounts: {registration: Open}", "accounts: {registration: domain}", "accounts: {password: {min_length: 0}}", "accounts: {password: {min_length: 4}}", "accounts: {password: {max_length: 1000000}}", "accounts: {password: {block_list: true}}",
		"ui: {prefix: /}", "ui: {prefix: \"\"}", "log: {audit_file: [a]}", "data_dir: ./a\ndata_dir: ./b",
	} {
		mutants = append(mutants, head+extra+"\n"+fmt.Sprintf(route, ""))
	}
	mutants = append(mutants,
		strings.Replace(head, "self_signed: true", "self_signed: false", 1)+fmt.Sprintf(route, ""),
		strings.Replace(head, "https://gate", "http://gate", 1)+fmt.Sprintf(route, ""),
		strings.Replace(head, "\"\", admin", "\"\", trusted_proxies: [0.0.0.0], admin", 1)+"listen: {}\n"+fmt.Sprintf(route, ""),
		strings.Replace(head, "issuer:", "access_ttl: 24h, issuer:", 1)+fmt.Sprintf(route, ""),
		strings.Replace(head, "issuer:", "leeway: 5m, issuer:", 1)+fmt.Sprintf(route, ""),
		strings.Replace(head, "issuer:", "algorithm: none, issuer:", 1)+fmt.Sprintf(route, ""),
		head+fmt.Sprintf(route, "")+"---\n"+head,
		"",
	)
	if len(mutants) < 60 {
		t.Fatalf("only %d mutants", len(mutants))
	}
	for _, text := range mutants {
		if err := os.WriteFile(g.File(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := g.Command("", "check"); code != 2 || !strings.Contains(errs, "gatehouse.yaml:") {
			t.Errorf("exit %d, %q for\n%s", code, errs, text)
		}
	}
	// What they are mutants of is fine, and closed.
	if err := os.WriteFile(g.File(), []byte(head+fmt.Sprintf(route, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := g.Must("", "explain", "https://a.test/"); !strings.Contains(out, "challenge") {
		t.Errorf("a route without access:\n%s", out)
	}
}
