//go:build apps

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// A legacy app answers with what its runtime made of the request: one line for
// each variable it holds.
type legacy struct {
	name  string
	addr  string
	user  string   // variable of X-Remote-User
	alone []string // lines that fool the app itself, when nothing stands in front
}

// gunicorn is WSGI: - and _ are one, and duplicates are joined.
func startGunicorn(t *testing.T) legacy {
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	write(t, dir, "app.py", `def app(environ, start):
    start("200 OK", [("Content-Type", "text/plain")])
    keys = [k for k in environ if k.startswith("HTTP_")] + ["RAW_URI", "PATH_INFO", "REQUEST_METHOD"]
    return ["".join("%s=%s\n" % (k, environ[k]) for k in sorted(keys)).encode("latin-1", "replace")]
`)
	startApp(t, addr, "gunicorn", "--chdir", dir, "--bind", addr, "--workers", "1", "--no-sendfile", "app:app")
	return legacy{"gunicorn", addr, "HTTP_X_REMOTE_USER", []string{"X_Remote_User: evil", "x-remote_user: evil"}}
}

// PHP's built-in server maps - and . to _.
func startPHP(t *testing.T) legacy {
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	router := write(t, dir, "router.php", `<?php
foreach ($_SERVER as $k => $v) { if (strpos($k, "HTTP_") === 0 || $k == "REQUEST_URI" || $k == "REQUEST_METHOD" || $k == "PATH_INFO") echo "$k=$v\n"; }
`)
	startApp(t, addr, "php", "-S", addr, "-t", dir, router)
	return legacy{"php", addr, "HTTP_X_REMOTE_USER", []string{"X_Remote_User: evil", "X.Remote.User: evil", "x-remote.user: evil"}}
}

// Tomcat drops ;parameters before it resolves dots, and keeps names as they
// come.
func startTomcat(t *testing.T) legacy {
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "conf/server.xml", `<Server port="-1"><Service name="Catalina"><Connector address="127.0.0.1" port="`+port+`"/>
<Engine name="Catalina" defaultHost="localhost"><Host name="localhost" appBase="webapps"/></Engine></Service></Server>`)
	write(t, dir, "conf/web.xml", `<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
<servlet><servlet-name>jsp</servlet-name><servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class></servlet>
<servlet-mapping><servlet-name>jsp</servlet-name><url-pattern>*.jsp</url-pattern></servlet-mapping></web-app>`)
	page := `<%@page contentType="text/plain"%><% out.print("SERVED=" + request.getServletPath() + "\n");
for (String n : java.util.Collections.list(request.getHeaderNames())) for (String v : java.util.Collections.list(request.getHeaders(n))) out.print(n.toLowerCase() + "=" + v + "\n"); %>`
	write(t, dir, "webapps/ROOT/admin/x.jsp", page)
	write(t, dir, "webapps/ROOT/public/x.jsp", page)
	write(t, dir, "logs/.keep", "")
	write(t, dir, "temp/.keep", "")
	startApp(t, addr, "env", "CATALINA_BASE="+dir, "CATALINA_HOME=/usr/share/tomcat10", "CATALINA_TMPDIR="+dir+"/temp", "JAVA_OPTS=-Xmx128m", "/usr/share/tomcat10/bin/catalina.sh", "run")
	return legacy{"tomcat", addr, "x-remote-user", nil}
}

func (l legacy) ask(t *testing.T, target string, lines ...string) string {
	t.Helper()
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: l.addr, Opaque: target}, Header: http.Header{}, Host: l.addr}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header[name] = append(req.Header[name], value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func legacyGate(t *testing.T, l legacy) (*gatetest.Gate, string) {
	g := gatetest.Start(t, fmt.Sprintf(`routes:
  - {name: app, host: app.test, upstream: "http://%[1]s", identity_headers: x-remote-user, rules: [{path: /public, access: public}]}
  - {name: open, host: open.test, upstream: "http://%[1]s", identity_headers: x-remote-user, access: public, rules: [{path: /admin, access: {groups: [admins]}}]}
`, l.addr))
	g.AddUser("ann@example.com", password, "staff")
	return g, g.Client("app.test", false).Login("ann@example.com", password).AccessToken
}

// TestT003_T011_T012_RealServersThatFoldNames: each of these takes a spelling
// of its own for the identity header when it is asked directly, and none
// behind the gateway.
func TestT003_T011_T012_RealServersThatFoldNames(t *testing.T) {
	for _, start := range []func(*testing.T) legacy{startGunicorn, startPHP, startTomcat} {
		l := start(t)
		t.Run(l.name, func(t *testing.T) {
			for _, line := range l.alone {
				if got := l.ask(t, "/x", line); !strings.Contains(got, l.user+"=evil\n") {
					t.Errorf("asked directly with %q it is not fooled, so this test shows nothing:\n%s", line, got)
				}
			}
			g, tok := legacyGate(t, l)
			target := "/x"
			if l.name == "tomcat" {
				target = "/public/x.jsp"
			}
			var evil []string
			for _, sep := range strings.Split("-_.!#$%&'*+^`|~", "") {
				for _, name := range []string{"X-Remote-User", "Remote-User", "X-Forwarded-User", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "Proxy"} {
					evil = append(evil, strings.ReplaceAll(name, "-", sep)+": evil", strings.ToLower(strings.Replace(name, "-", sep, 1))+": evil")
				}
			}
			for i := 0; i < len(evil); i += 70 {
				lines := strings.Join(evil[i:min(i+70, len(evil))], "\r\n") + "\r\n"
				for auth, want := range map[string]string{gatetest.Bearer(tok) + "\r\n": "ann@example.com", "": ""} {
					a := g.Wire("app.test").Ask("GET " + strings.Replace(target, "/x", "/x", 1) + " HTTP/1.1\r\nHost: " + map[bool]string{true: "app.test", false: "open.test"}[auth != ""] + "\r\n" + auth + lines + "\r\n")
					if a.StatusCode != 200 || strings.Contains(a.Text, "evil") || strings.Contains(a.Text, l.user+"="+want+"\n") != (want != "") {
						t.Errorf("signed in %v: %d\n%s", auth != "", a.StatusCode, a.Text)
					}
				}
			}
		})
	}
}

// TestT023_T024_T026_TomcatReadsNoOtherPath: asked directly, Tomcat serves
// /admin for paths that begin with /public; behind the gateway it never does.
func TestT023_T024_T026_TomcatReadsNoOtherPath(t *testing.T) {
	l := startTomcat(t)
	g, tok := legacyGate(t, l)
	fooled := 0
	for _, target := range []string{"/public/..;/admin/x.jsp", "/public/..;a=b/admin/x.jsp", "/public/../admin/x.jsp", "/public/%2e%2e/admin/x.jsp", "/public/.;/../admin/x.jsp", "/public/..;/admin;x/x.jsp;y",
		"//admin/x.jsp", "/;x/admin/x.jsp", "/%61dmin/x.jsp", "/admin;x/x.jsp", "/admin/x.jsp;x", "/./admin/x.jsp", "/x/..;/admin/x.jsp", "/public/..%3b/admin/x.jsp", "/public/%2e%2e;/admin/x.jsp", "/public/..%2fadmin/x.jsp", "/ADMIN/x.jsp", "/admin%2fx.jsp", `/public\..\admin\x.jsp`} {
		if strings.Contains(l.ask(t, target), "SERVED=/admin/x.jsp") {
			fooled++
		}
		for _, host := range []string{"app.test", "open.test"} {
			a := g.Wire(host).Ask("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
			if a.StatusCode == 200 || strings.Contains(a.Text, "SERVED=/admin") {
				t.Errorf("%s %s without a sign-in: %d\n%s", host, target, a.StatusCode, a.Text)
			}
		}
		if a := g.Wire("open.test").Ask("GET " + target + " HTTP/1.1\r\nHost: open.test\r\n" + gatetest.Bearer(tok) + "\r\n\r\n"); strings.Contains(a.Text, "SERVED=/admin") {
			t.Errorf("%s for somebody in another group: %d", target, a.StatusCode)
		}
	}
	if fooled < 8 {
		t.Errorf("asked directly, only %d paths lead to /admin: this test shows little", fooled)
	}
	if a := g.Wire("app.test").Ask("GET /admin/x.jsp HTTP/1.1\r\nHost: app.test\r\n" + gatetest.Bearer(tok) + "\r\n\r\n"); a.StatusCode != 200 || !strings.Contains(a.Text, "SERVED=/admin/x.jsp\n") || !strings.Contains(a.Text, "x-remote-user=ann@example.com\n") {
		t.Errorf("signed in: %d\n%s", a.StatusCode, a.Text)
	}
	if a := g.Wire("app.test").Ask("GET /public/x.jsp;v=1 HTTP/1.1\r\nHost: app.test\r\n\r\n"); a.StatusCode != 200 || !strings.Contains(a.Text, "SERVED=/public/x.jsp\n") {
		t.Errorf("parameters on an ordinary path: %d\n%s", a.StatusCode, a.Text)
	}
}
