package config

import (
	"strings"
	"testing"
)

func TestIssuerIsAnHTTPSOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"https://gate.example.com": "https://gate.example.com", "https://GATE.example.com:443": "https://gate.example.com",
		"https://gate.example.com:8443": "https://gate.example.com:8443", "https://bücher.example": "https://xn--bcher-kva.example",
		"https://192.0.2.1": "https://192.0.2.1", "https://[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "https://localhost:8443": "https://localhost:8443",
	} {
		if got, bad := checkIssuer(in); bad != nil || got != want {
			t.Errorf("%s: %s %v", in, got, bad)
		}
	}
	for _, in := range []string{"gate", "http://gate.example.com", "https://", "https://a/", "https://a?x", "https://a?", "https://a#", "https://a#b", "https://u@a", "https://a:0",
		"https://a:", "https://a:99999", "https://a b", "https://a_b", "https://-a", "https:gate", "//gate", "https://a\n", "https://a.", "https://%61"} {
		if got, bad := checkIssuer(in); bad == nil {
			t.Errorf("%q is accepted as %q", in, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, in := range []string{"https://a.example.com", "http://localhost:3000", "https://192.0.2.1:8443", "https://[::1]:3000"} {
		if bad := checkOrigin(in); bad != nil {
			t.Errorf("%s: %v", in, bad)
		}
	}
	for _, in := range []string{"", "null", "*", "https://*.example.com", "https://a/", "https://A", "https://a:443", "http://a:80", "https://a:0", "https://a:", "ftp://a", "https://u@a", "a.example.com", "https://a?b"} {
		if checkOrigin(in) == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func TestReservedNamesInAnySpelling(t *testing.T) {
	for _, name := range []string{"Remote-User", "REMOTE_USER", "remote.user", "X-Forwarded-User", "x_forwarded_email", "X-Auth-Request-Anything", "X_WEBAUTH_USER", "X-Remote-User"} {
		if !isIdentity(name) || requestHeader(name, nil) == nil {
			t.Errorf("%s is no identity header", name)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "x_forwarded_proto", "Forwarded", "VIA", "X.Real.IP", "X-Request-Id", "X-Gatehouse-Assertion", "Gatehouse-Response"} {
		if !isForwarding(name) || requestHeader(name, nil) == nil || checkIdentityName(canonicalHeader(name)) == nil {
			t.Errorf("%s is no forwarding header", name)
		}
	}
	for _, name := range []string{"Content-Length", "transfer_encoding", "Upgrade", "TE", "Host"} {
		if !isFraming(name) || requestHeader(name, nil) == nil || responseHeader(name) == nil {
			t.Errorf("%s frames nothing", name)
		}
	}
	for _, name := range []string{"X-User", "X-Team", "Authorization", "Remote-Userx", "Cookie2"} {
		if isIdentity(name) || isForwarding(name) || isFraming(name) || requestHeader(name, nil) != nil {
			t.Errorf("%s is reserved", name)
		}
	}
	for _, name := range []string{"X-User", "Remote-User", "X-Webauth-User"} {
		if bad := checkIdentityName(name); bad != nil {
			t.Errorf("%s: %v", name, bad)
		}
	}
}

func TestHeaderValues(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, "a b": true, "a\tb": true, "é": true, "a\rb": false, "a\nb": false, "a\r\nX: y": false, "\x00": false, "a\x7f": false, " a": false, "a ": false,
	} {
		if (checkHeaderValue(value) == nil) != good {
			t.Errorf("%q: good %v", value, !good)
		}
	}
	if validHeaderName("") || validHeaderName("a b") || validHeaderName("a:") || validHeaderName("ä") || validHeaderName(strings.Repeat("a", 129)) || !validHeaderName("X-A_b.c") {
		t.Error("header names")
	}
}

func TestHostsAndPathsThatAreFine(t *testing.T) {
	for in, want := range map[string]string{
		"a.example.com": "a.example.com", "A.Example.COM": "a.example.com", "*.example.com": "*.example.com", "localhost": "localhost", "127.0.0.1": "127.0.0.1", "MÜNCHEN.example": "xn--mnchen-3ya.example",
	} {
		if got, bad := checkHost(in); bad != nil || got != want {
			t.Errorf("%s: %s %v", in, got, bad)
		}
	}
	for in, want := range map[string]string{"/": "/", "/a": "/a", "/a/": "/a", "/a/b.c/@x~": "/a/b.c/@x~", "/wörter": "/wörter", "/.well-known": "/.well-known"} {
		if got, bad := checkPath(in); bad != nil || got != want {
			t.Errorf("%s: %s %v", in, got, bad)
		}
	}
	if !inside("/a", "/a") || !inside("/a/b", "/a") || inside("/ab", "/a") || !inside("/x", "/") {
		t.Error("prefixes end on segment boundaries")
	}
}
