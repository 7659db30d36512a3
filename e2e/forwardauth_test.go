//go:build apps

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// forwardGate answers forward-auth requests for app.test, which another proxy
// serves in front of the app itself.
func forwardGate(t *testing.T) (*gatetest.Gate, *gatetest.Upstream, gatetest.Tokens) {
	up := gatetest.NewUpstream(t)
	g := gatetest.New(t, "")
	head := "listen: {https: %q, http: \"\", admin: %q, trusted_proxies: [127.0.0.1/32]}\ndata_dir: ./data\ntls: {self_signed: true}\ntokens: {issuer: \"https://gate.test\"}\n"
	text := fmt.Sprintf(head, g.HTTPS, g.Admin) + fmt.Sprintf(`routes:
  - name: app
    host: app.test
    upstream: %s
    identity_headers: remote-user
    rules: [{path: /admin, access: {groups: [admins]}}, {path: /static, access: public}]
`, up.URL())
	if err := os.WriteFile(g.File(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Run()
	g.AddUser("ann@example.com", password, "staff")
	return g, up, g.Client("app.test", false).Login("ann@example.com", password)
}

// judge holds another proxy, listening in clear at addr, to what the gateway
// decides.
func judge(t *testing.T, addr string, up *gatetest.Upstream, tok gatetest.Tokens) {
	t.Helper()
	ask := func(path string, headers ...string) *http.Response {
		req, err := http.NewRequest("GET", "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "app.test"
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	auth := gatetest.Bearer(tok.AccessToken)
	for _, want := range []struct {
		path    string
		headers []string
		status  int
	}{
		{"/x?y=1", nil, 401}, {"/x?y=1", []string{auth}, 200}, {"/admin", []string{auth}, 403},
		{"/static/a.css", nil, 200}, {"/x", []string{"Authorization: Bearer nonsense"}, 401},
		{"/static", []string{"X-Forwarded-Uri: /static/a", "X-Original-URL: https://app.test/static/a"}, 200},
		{"/x", []string{"X-Forwarded-Uri: /static/a", "X-Original-URL: https://app.test/static/a"}, 401},
	} {
		if resp := ask(want.path, want.headers...); resp.StatusCode != want.status {
			t.Errorf("GET %s %.40v: %d, want %d", want.path, want.headers, resp.StatusCode, want.status)
		}
	}
	ask("/who", auth, "Remote-User: root", "Remote-Groups: admins")
	if seen := up.Last(); !strings.Contains(strings.ToLower(seen), "remote-user: ann@example.com\r\n") || strings.Contains(seen, "root") || strings.Contains(seen, "admins") {
		t.Errorf("the app saw:\n%s", seen)
	}
}

func TestForwardAuthNginx(t *testing.T) {
	g, up, tok := forwardGate(t)
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	conf := write(t, dir, "nginx.conf", `daemon off; pid `+dir+`/pid; error_log stderr; worker_processes 1;
events {}
http {
  access_log off;
  client_body_temp_path `+dir+`/b; proxy_temp_path `+dir+`/p; fastcgi_temp_path `+dir+`/f; uwsgi_temp_path `+dir+`/u; scgi_temp_path `+dir+`/s;
  server {
    listen `+addr+`;
    location / {
      auth_request /_gate;
      auth_request_set $user $upstream_http_remote_user;
      auth_request_set $groups $upstream_http_remote_groups;
      proxy_set_header Remote-User $user;
      proxy_set_header Remote-Groups $groups;
      proxy_pass `+up.URL()+`;
    }
    location = /_gate {
      internal;
      proxy_pass https://`+g.HTTPS+`/_auth/verify;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Host app.test;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URL https://$host$request_uri;
      proxy_set_header X-Forwarded-Uri "";
    }
  }
}
`)
	startApp(t, addr, "nginx", "-p", dir, "-c", conf)
	judge(t, addr, up, tok)
}

func TestForwardAuthCaddy(t *testing.T) {
	g, up, tok := forwardGate(t)
	addr, dir := gatetest.FreeAddr(t), t.TempDir()
	_, p, _ := net.SplitHostPort(addr)
	conf := write(t, dir, "Caddyfile", `{
	admin off
	auto_https off
}
http://app.test:`+p+` {
	bind 127.0.0.1
	route {
		request_header -Remote-*
		request_header -X-Original-*
		forward_auth https://`+g.HTTPS+` {
			uri /_auth/verify
			header_up Host app.test
			copy_headers Remote-User Remote-Groups Remote-Email Remote-Name
			transport http {
				tls_insecure_skip_verify
			}
		}
		reverse_proxy `+strings.TrimPrefix(up.URL(), "http://")+`
	}
}
`)
	startApp(t, addr, "env", "HOME="+dir, "caddy", "run", "--adapter", "caddyfile", "--config", conf)
	judge(t, addr, up, tok)
}
