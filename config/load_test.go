package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// base is what every file needs; tests append to it.
const base = "tls: {self_signed: true}\ntokens: {issuer: https://gate.example.com}\n"

// parse reads text that must be right.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse("/etc/gatehouse/gatehouse.yaml", []byte(text), testEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// refused reads text that must be wrong, and returns what is said.
func refused(t *testing.T, text string) string {
	t.Helper()
	cfg, err := Parse("gatehouse.yaml", []byte(text), testEnv)
	if cfg != nil {
		t.Error("a configuration came with the problems")
	}
	return problems(t, err).Error()
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return name
}

func TestExampleIsValidAndNamesEveryKey(t *testing.T) {
	const file = "../config.example.yaml"
	cfg, err := Load(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range cfg.Warnings {
		t.Errorf("the example earns a warning: %s", w.Format())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range Keys() {
		if !strings.Contains(string(text), path[strings.LastIndex(path, ".")+1:]+":") {
			t.Errorf("the example does not show %s", path)
		}
	}
	bare := parse(t, base)
	for _, pair := range [][2]any{
		{cfg.Listen.HTTPS, bare.Listen.HTTPS}, {cfg.TLS.HSTS, bare.TLS.HSTS}, {cfg.Tokens, bare.Tokens}, {cfg.Sessions, bare.Sessions},
		{cfg.Accounts.Password, bare.Accounts.Password}, {cfg.Limits, bare.Limits}, {cfg.UI, bare.UI}, {cfg.Log, bare.Log},
	} {
		if diff := cmp.Diff(pair[1], pair[0], cmp.AllowUnexported(Secret{})); diff != "" {
			t.Errorf("the example does not show the defaults (-default +example)\n%s", diff)
		}
	}
}

func TestDefaultsAreSecure(t *testing.T) {
	c := parse(t, base+"routes: [{name: a, host: a.example.com, upstream: 'http://127.0.0.1:1'}]\n")
	r := c.Routes[0]
	if r.Access.Kind != AccessSignedIn || r.OnStale != "deny" || r.AllowCrossSite || r.Path != "/" || !r.RewriteResponse {
		t.Errorf("route defaults: %+v", r)
	}
	if diff := cmp.Diff([]string{"same"}, r.WebSocket.Origins); diff != "" {
		t.Error(diff)
	}
	if c.Accounts.Registration != "closed" || len(c.Listen.TrustedProxies) != 0 || c.Listen.Admin != "127.0.0.1:9180" || c.IdentityHeaders.Preset != "x-forwarded" {
		t.Errorf("defaults: %+v %+v", c.Accounts, c.Listen)
	}
	if c.Limits.LoginAccount != (Rate{5, time.Minute}) || !c.Limits.RequestsIP.IsZero() || c.Tokens.AccessTTL != 5*time.Minute {
		t.Errorf("defaults: %+v %+v", c.Limits, c.Tokens)
	}
	var zero Access
	if zero.Kind != AccessDeny {
		t.Error("the zero access lets somebody in")
	}
}

func TestEveryShapeIsRead(t *testing.T) {
	c := parse(t, base+`
listen: {trusted_proxies: [10.0.0.0/8, "fd00::1"]}
limits: {requests_ip: 100/1s}
routes:
  - name: app
    host: "*.BÜCHER.example"
    path: /app/
    upstream: [http://Web, "https://[::1]", "h2c://rpc:50051", unix:/run/app.sock]
    access: {groups: [admins], users: [Ann@Example.COM], networks: [192.0.2.7], max_auth_age: 1h}
    identity_headers: {x-user: email, X-ROLES: groups}
    max_body: 2GiB
    max_in_flight: 7
    health: {path: "/up?full=1"}
    set_request_headers: {x-TEAM: 7}
    remove_request_headers: [x-debug]
    allow_headers: [x_special]
    basic_auth: {username: gate, password: "pa$$word$"}
    rules: [{path: /app/API/, methods: [GET, HEAD, PROPFIND], access: deny}]
`)
	r := c.Routes[0]
	wantUp := Upstreams{
		{Raw: "http://Web", Scheme: "http", Host: "web:80"},
		{Raw: "https://[::1]", Scheme: "https", Host: "[::1]:443"},
		{Raw: "h2c://rpc:50051", Scheme: "h2c", Host: "rpc:50051"},
		{Raw: "unix:/run/app.sock", Scheme: "http", Host: "localhost", Socket: "/run/app.sock"},
	}
	if diff := cmp.Diff(wantUp, r.Upstream); diff != "" {
		t.Errorf("upstreams (-want +got)\n%s", diff)
	}
	wantAccess := Access{AccessConditions, []string{"admins"}, []string{"ann@example.com"}, nil, []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}, time.Hour}
	if diff := cmp.Diff(wantAccess, r.Access, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("access (-want +got)\n%s", diff)
	}
	if r.Host != "*.xn--bcher-kva.example" || r.Path != "/app" || r.Rules[0].Path != "/app/API" || r.Rules[0].Access.Kind != AccessDeny {
		t.Errorf("host %q, path %q, rules %+v", r.Host, r.Path, r.Rules)
	}
	if r.MaxBody != 2<<30 || *r.MaxInFlight != 7 || r.Health.Interval != 10*time.Second || r.BasicAuth.Password.Reveal() != "pa$$word$" {
		t.Errorf("route: %+v", r)
	}
	if len(c.Listen.TrustedProxies) != 2 || c.Listen.TrustedProxies[1].String() != "fd00::1/128" || c.Limits.RequestsIP != (Rate{100, time.Second}) {
		t.Errorf("listen %+v limits %+v", c.Listen, c.Limits)
	}
}

func TestT004_HeaderNamesAreCanonicalAfterLoad(t *testing.T) {
	r := parse(t, base+`
routes:
  - {name: a, host: a.example.com, upstream: 'http://a:1', identity_headers: {x-user: email, X-ROLES: groups},
     set_request_headers: {x-team: a}, set_response_headers: {x-frame-options: DENY}, remove_request_headers: [x-debug], allow_headers: [x_special]}
`).Routes[0]
	if diff := cmp.Diff([]HeaderField{{"X-User", "email"}, {"X-Roles", "groups"}}, r.IdentityHeaders.Map); diff != "" {
		t.Errorf("identity headers (-want +got)\n%s", diff)
	}
	if r.SetRequestHeaders["X-Team"] != "a" || r.SetResponseHeaders["X-Frame-Options"] != "DENY" || r.RemoveRequestHeaders[0] != "X-Debug" || r.AllowHeaders[0] != "X_special" {
		t.Errorf("%+v", r)
	}
	for _, text := range []string{"identity_headers: {x-user: email, X-User: sub}", "routes: [{name: a, host: a.b, upstream: 'http://a:1', set_request_headers: {x-a: b, X-A: c}}]"} {
		if got := refused(t, base+text+"\n"); !strings.Contains(got, "the same header is already given") {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestT019_TrustNeedsTrustedProxies(t *testing.T) {
	if got := refused(t, base+"listen: {proxy_protocol: true, trusted_proxies: []}\n"); !strings.Contains(got, "listen.proxy_protocol: would believe an address from anybody") {
		t.Error(got)
	}
	parse(t, base+"listen: {proxy_protocol: true, trusted_proxies: [10.0.0.0/8]}\n")
	c := parse(t, base+"listen: {trusted_proxies: [0.0.0.0/0]}\nroutes: [{name: a, host: a.b, upstream: 'http://a:1'}]\n")
	if len(c.Warnings) != 1 || c.Warnings[0].Path != "listen.trusted_proxies[0]" || c.Warnings[0].Source == "" {
		t.Errorf("warnings: %+v", c.Warnings)
	}
}

func TestT040_EqualHostAndPathAreRefusedInAnyOrderAndSpelling(t *testing.T) {
	for _, pair := range [][2]string{
		{"host: app.example.com", "host: APP.example.com, path: /"},
		{"host: app.example.com, path: /a", "host: app.example.com, path: /a/"},
		{"host: 'bücher.example'", "host: xn--bcher-kva.example"},
		{"host: '*.example.com'", "host: '*.EXAMPLE.com'"},
	} {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			text := base + "routes:\n  - {name: a, upstream: 'http://a:1', " + pair[order[0]] + "}\n  - {name: b, access: public, upstream: 'http://a:1', " + pair[order[1]] + "}\n"
			if got := refused(t, text); !strings.Contains(got, "gatehouse.yaml:5:") || !strings.Contains(got, "taken by the route in line 4") {
				t.Errorf("%v: %s", pair, got)
			}
		}
	}
}

func TestT139_NothingUnknownIsRead(t *testing.T) {
	for text, want := range map[string]string{
		"acces: public\n": "unknown key",
		"routes: [{name: a, host: a.b, upstream: 'http://a:1', acces: public}]\n": `did you mean "access"?`,
		"routes: [{name: a, host: a.b, upstream: 'http://a:1', access: }]\n":      "has no value",
		"log: {level: info}\nlog: {level: debug}\n":                               "duplicate key",
		"log: {access: 'true'}\n":                                                 "remove the quotes",
		"---\ntls: {self_signed: true}\n":                                         "second document",
	} {
		if got := refused(t, base+text); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if r := parse(t, base+"routes: [{name: a, host: a.b, upstream: 'http://a:1'}]\n").Routes[0]; r.Access.Kind != AccessSignedIn {
		t.Error("absent access does not mean signed in")
	}
}

func TestT152_NumbersDoNotSwitchControlsOff(t *testing.T) {
	for _, line := range []string{
		"tokens: {issuer: https://g.example.com, access_ttl: VALUE}", "sessions: {idle_timeout: VALUE}", "sessions: {max_lifetime: VALUE}",
		"accounts: {password: {min_length: VALUE}}", "limits: {login_ip: VALUE}", "limits: {login_account: VALUE/1m}", "limits: {requests_ip: 5/VALUE}",
		"routes: [{name: a, host: a.b, upstream: 'http://a:1', max_body: VALUE}]", "routes: [{name: a, host: a.b, upstream: 'http://a:1', max_in_flight: VALUE}]",
		"routes: [{name: a, host: a.b, upstream: 'http://a:1', timeout: {idle: VALUE}}]",
	} {
		for _, value := range []string{"0", "-1", "1e9", "99999999999999999999", "5x", "0s", "-5m", "9999999h", ".inf", "0x7f", "01", "1_000", "''", "~"} {
			if strings.Contains(line, "max_body") && value == "''" || strings.Contains(line, "VALUE/") && value == "1_000" {
				continue // empty means no limit, by its documentation; YAML text is covered elsewhere
			}
			text := "tls: {self_signed: true}\n"
			if !strings.HasPrefix(line, "tokens") {
				text = base
			}
			if _, err := Parse("f", []byte(text+strings.ReplaceAll(line, "VALUE", value)+"\n"), testEnv); err == nil {
				t.Errorf("%s with %s is accepted", line, value)
			}
		}
	}
}

func TestLoadReadsFilesRelativeToItself(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "app.password"), "s3cret\r\n", 0o600)
	write(t, filepath.Join(dir, "gate.crt"), "x", 0o644)
	write(t, filepath.Join(dir, "gate.key"), "x", 0o600)
	file := write(t, filepath.Join(dir, "gatehouse.yaml"), `tls: {certificates: [{cert_file: gate.crt, key_file: gate.key}]}
tokens: {issuer: "https://Gate.Example.com:443"}
data_dir: var
log: {audit_file: audit.log}
routes:
  - {name: a, host: a.example.com, upstream: http://a:1, basic_auth: {username: u, password_file: app.password}}
`, 0o644)
	c, err := Load(file, testEnv)
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		c.DataDir: filepath.Join(dir, "var"), c.Store.SQLite.Path: filepath.Join(dir, "var/gatehouse.db"),
		c.TLS.Certificates[0].KeyFile: filepath.Join(dir, "gate.key"), c.TLS.Certificates[0].CertFile: filepath.Join(dir, "gate.crt"),
		c.Log.AuditFile: filepath.Join(dir, "audit.log"), c.Routes[0].BasicAuth.Password.Reveal(): "s3cret",
		c.Tokens.Issuer: "https://gate.example.com", c.File: file, c.Dir: dir,
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	large := write(t, filepath.Join(dir, "large.yaml"), "# "+strings.Repeat("x", maxFile), 0o600)
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "cannot read the configuration: no such file or directory - name the file with --config",
		dir:                             "is a directory",
		large:                           "is larger than 1024 KiB",
	} {
		cfg, err := Load(path, testEnv)
		if got := problems(t, err).Error(); cfg != nil || !strings.Contains(got, want) || !strings.HasPrefix(got, path+": ") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestVariables(t *testing.T) {
	c := parse(t, `tls: {self_signed: "${YES}"}
tokens: {issuer: "https://${WORD}.example.com", access_ttl: "${TTL}"}
ui: {title: "$${WORD} $5 $$ ${WORD} ${NESTED}${EMPTY}"}
`)
	if want := "${WORD} $5 $$ hunter2 ${WORD}"; c.UI.Title != want {
		t.Errorf("title %q, want %q: what a variable holds is not expanded again", c.UI.Title, want)
	}
	if c.Tokens.AccessTTL != 7*time.Minute || !c.TLS.SelfSigned || c.Tokens.Issuer != "https://hunter2.example.com" {
		t.Errorf("%+v", c.Tokens)
	}
	if got := refused(t, "tls: {self_signed: true}\ntokens: {issuer: \"${EMPTY}\"}\n"); !strings.Contains(got, "tokens.issuer: is empty") {
		t.Error(got)
	}
}

func TestAliases(t *testing.T) {
	c := parse(t, base+`routes:
  - {name: a, host: a.example.com, upstream: 'http://a:1', access: &who {groups: [x]}}
  - {name: b, host: b.example.com, upstream: 'http://a:1', access: *who}
`)
	if diff := cmp.Diff([]string{"x"}, c.Routes[1].Access.Groups); diff != "" {
		t.Error(diff)
	}
	bomb := base + "accounts:\n  allowed_domains: &a [" + strings.Repeat("example.com,", 5000) + "]\nroutes:\n  - access: &c {groups: *a}\n" + strings.Repeat("  - {access: *c}\n", 5000)
	d := newDocument("f", "/", []byte(bomb), testEnv)
	d.decode(d.parse([]byte(bomb)), reflect.ValueOf(&Config{}).Elem(), field{}, "")
	if d.nodes > maxNodes+10_000 || len(d.values) > maxNodes {
		t.Errorf("%d values visited, %d kept", d.nodes, len(d.values))
	}
	if len(d.problems) > maxProblems+1 || !slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Hint == "use fewer aliases" }) {
		t.Errorf("%d problems, or not the one about aliases", len(d.problems))
	}
	if got := refused(t, base+"routes: &r [*r]\n"); !strings.Contains(got, "routes[0]: is a list, want a section") {
		t.Error(got)
	}
}

func TestWarnings(t *testing.T) {
	c := parse(t, base+"accounts: {registration: open, allowed_domains: [example.com]}\nlisten: {admin: ':9180'}\n")
	var paths []string
	for _, w := range c.Warnings {
		paths = append(paths, w.Path)
	}
	if diff := cmp.Diff([]string{"routes", "accounts.registration", "accounts.allowed_domains", "listen.admin"}, paths); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestHosts(t *testing.T) {
	c := &Config{Tokens: Tokens{Issuer: "https://Gate.example.com:8443"}, Routes: []Route{{Host: "wiki.example.com"}, {Host: "*.app.example.com"}, {Host: "wiki.example.com"}}}
	if diff := cmp.Diff([]string{"*.app.example.com", "gate.example.com", "wiki.example.com"}, c.Hosts()); diff != "" {
		t.Error(diff)
	}
}
