package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// peer is one thing that is measured: a proxy, with whatever helps it.
type peer struct {
	name   string
	addr   string // host:port of its TLS listener
	procs  []*proc
	token  string // credential of the load; "" for none
	cookie string // the credential is this cookie instead
	guards bool   // it refuses requests without a credential
	names  bool   // it tells the app who is calling
	open   string // a path that needs no credential, for a checker without one
}

// header is the credential as a header line.
func (p *peer) header() []string {
	switch {
	case p.cookie != "":
		return []string{"Cookie: " + p.cookie}
	case p.token != "":
		return []string{"Authorization: Bearer " + p.token}
	}
	return nil
}

// makers start peers by name.
func makers() map[string]func(*rig) (*peer, error) {
	return map[string]func(*rig) (*peer, error){
		"gatehouse":          func(r *rig) (*peer, error) { return r.gatePeer(gateOptions{}) },
		"nginx":              func(r *rig) (*peer, error) { return r.nginx("nginx", "") },
		"nginx auth HS256":   func(r *rig) (*peer, error) { return r.nginx("nginx auth HS256", "HS256") },
		"nginx auth ES256":   func(r *rig) (*peer, error) { return r.nginx("nginx auth ES256", "ES256") },
		"haproxy":            func(r *rig) (*peer, error) { return r.haproxy("haproxy", "") },
		"haproxy jwt HS256":  func(r *rig) (*peer, error) { return r.haproxy("haproxy jwt HS256", "HS256") },
		"haproxy jwt ES256":  func(r *rig) (*peer, error) { return r.haproxy("haproxy jwt ES256", "ES256") },
		"caddy":              func(r *rig) (*peer, error) { return r.caddy("caddy", "") },
		"caddy forward_auth": func(r *rig) (*peer, error) { return r.caddy("caddy forward_auth", "HS256") },
		"go-plain":           func(r *rig) (*peer, error) { return r.goProxy("go-plain") },
		"go-tuned":           func(r *rig) (*peer, error) { return r.goProxy("go-tuned") },
		"go-bare":            func(r *rig) (*peer, error) { return r.goProxy("go-bare") },
		"oauth2-proxy":       func(r *rig) (*peer, error) { return r.oauth2Proxy("oauth2-proxy", false) },
		"oauth2-proxy redis": func(r *rig) (*peer, error) { return r.oauth2Proxy("oauth2-proxy redis", true) },
	}
}

// needs names the programs of a peer beside our own.
func needs(name string) []string {
	switch first, _, _ := strings.Cut(name, " "); {
	case name == "oauth2-proxy redis":
		return []string{"oauth2-proxy", "redis-server"}
	case first == "nginx", first == "haproxy", first == "caddy", first == "oauth2-proxy":
		return []string{first}
	}
	return nil
}

// start starts a peer, or says that a program of it is missing.
func (r *rig) start(name string) (*peer, error) {
	for _, tool := range needs(name) {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: %s is not measured", errAbsent, name)
		}
	}
	p, err := makers()[name](r)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// listener adds one process that serves on a free port.
func (r *rig) serving(p *peer, make func(addr string) (name string, args []string, err error)) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	name, args, err := make(addr)
	if err != nil {
		return err
	}
	proc, err := r.run(addr, name, args...)
	if err != nil {
		return err
	}
	p.procs, p.addr = append(p.procs, proc), addr
	return nil
}

// jwtService starts the service that auth_request and forward_auth ask.
func (r *rig) jwtService(p *peer, alg string) (addr string, err error) {
	if p.token, err = r.keys.token(alg); err != nil {
		return "", err
	}
	p.guards, p.names = true, true
	err = r.serving(p, func(a string) (string, []string, error) {
		addr = a
		args := []string{"serve", "jwt", "-listen", a}
		if alg == "ES256" {
			args = append(args, "-public", r.keys.pem)
		}
		return r.self, args, nil
	})
	return addr, err
}

func (r *rig) goProxy(name string) (*peer, error) {
	p := &peer{name: name}
	return p, r.serving(p, func(addr string) (string, []string, error) {
		return r.self, []string{"serve", name, "-listen", addr, "-upstream", "http://" + r.app, "-cert", r.path("tls.crt"), "-key", r.path("tls.key")}, nil
	})
}

// nginxHead is what every nginx of ours begins with.
func nginxHead(dir, name string, workers int) string {
	return fmt.Sprintf(`daemon off; pid %[1]s/%[2]s.pid; error_log stderr warn; worker_processes %[3]d; worker_rlimit_nofile 20000;
events { worker_connections 16384; }
http {
access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; sendfile on; tcp_nopush on; server_tokens off;
client_body_temp_path %[1]s/%[2]s-body; proxy_temp_path %[1]s/%[2]s-proxy; fastcgi_temp_path %[1]s/%[2]s-f; uwsgi_temp_path %[1]s/%[2]s-u; scgi_temp_path %[1]s/%[2]s-s;
`, dir, name, workers)
}

// file makes a name one can use in a path.
func file(name string) string { return strings.ReplaceAll(name, " ", "-") }

// nginx is a TLS proxy, with auth_request when alg is given.
func (r *rig) nginx(name, alg string) (*peer, error) {
	p := &peer{name: name}
	guard := ""
	conf := nginxHead(r.dir, file(name), 2) + "client_max_body_size 0;\nupstream app { server " + r.app + "; keepalive 128; keepalive_requests 1000000000; }\n" +
		"upstream sink { server " + r.sink + "; keepalive 128; }\n"
	if alg != "" {
		auth, err := r.jwtService(p, alg)
		if err != nil {
			return nil, err
		}
		conf += "upstream auth { server " + auth + "; keepalive 128; keepalive_requests 1000000000; }\n"
		guard = `auth_request /_auth; auth_request_set $who $upstream_http_x_forwarded_user; auth_request_set $mail $upstream_http_x_forwarded_email; auth_request_set $groups $upstream_http_x_forwarded_groups;
proxy_set_header X-Forwarded-User $who; proxy_set_header X-Forwarded-Email $mail; proxy_set_header X-Forwarded-Groups $groups; proxy_set_header Authorization "";`
	}
	return p, r.serving(p, func(addr string) (string, []string, error) {
		conf += `server {
listen ` + addr + ` ssl http2 backlog=4096; ssl_certificate ` + r.path("tls.crt") + `; ssl_certificate_key ` + r.path("tls.key") + `;
ssl_protocols TLSv1.2 TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Request-Id $request_id;
location / { ` + guard + ` proxy_pass http://app; }
location = /up { ` + guard + ` proxy_request_buffering off; proxy_pass http://sink; }
location = /_auth { internal; proxy_pass http://auth/auth; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Original-URI $request_uri; }
}}
`
		if alg == "" {
			conf = strings.ReplaceAll(conf, "http://auth/auth", "http://app/1k")
		}
		path, err := r.write(file(name)+".conf", conf)
		return "nginx", []string{"-c", path}, err
	})
}

// haproxy is a TLS proxy, with jwt_verify when alg is given: the signature
// alone, which is what most of its guides show.
func (r *rig) haproxy(name, alg string) (*peer, error) {
	p := &peer{name: name}
	guard := ""
	if alg != "" {
		var err error
		if p.token, err = r.keys.token(alg); err != nil {
			return nil, err
		}
		p.guards, p.names = true, true
		key := secret
		if alg == "ES256" {
			key = r.keys.pem
		}
		guard = `  http-request set-var(txn.bearer) http_auth_bearer
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_header_query('$.alg') -m str ` + alg + ` }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify("` + alg + `","` + key + `") 1 }
  http-request set-header X-Forwarded-User %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-request del-header Authorization
`
	}
	return p, r.serving(p, func(addr string) (string, []string, error) {
		path, err := r.write(file(name)+".cfg", `global
  nbthread 2
  maxconn 8000
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
frontend f
  bind `+addr+` ssl crt `+r.path("tls.pem")+` alpn h2,http/1.1
  unique-id-format %[uuid]
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto https
`+guard+`  use_backend sink if { path /up }
  default_backend app
backend app
  http-reuse always
  server s `+r.app+`
backend sink
  http-reuse always
  server s `+r.sink+`
`)
		return "haproxy", []string{"-db", "-f", path}, err
	})
}

// caddy is a TLS proxy, with forward_auth when alg is given.
func (r *rig) caddy(name, alg string) (*peer, error) {
	p := &peer{name: name}
	guard := ""
	if alg != "" {
		auth, err := r.jwtService(p, alg)
		if err != nil {
			return nil, err
		}
		guard = "  forward_auth " + auth + " {\n    uri /auth\n    copy_headers X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups\n  }\n"
	}
	return p, r.serving(p, func(addr string) (string, []string, error) {
		path, err := r.write(file(name)+".caddy", `{
  admin off
  auto_https disable_redirects
  storage file_system `+r.path("caddy")+`
}
https://`+addr+` {
  tls `+r.path("tls.crt")+` `+r.path("tls.key")+`
`+guard+`  reverse_proxy /up `+r.sink+`
  reverse_proxy `+r.app+`
}
`)
		return "caddy", []string{"run", "--adapter", "caddyfile", "--config", path}, err
	})
}
