package authn

import (
	"net/url"
	"strings"
	"testing"
)

// leaves reports whether a browser that is told to go to location ends on
// another origin: the WHATWG URL parser in as few lines as the question needs.
func leaves(location string) bool {
	s := strings.TrimFunc(location, func(c rune) bool { return c <= ' ' })
	s = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(s)
	if strings.HasPrefix(s, "//") {
		return true
	}
	scheme, _, ok := strings.Cut(s, ":")
	return ok && scheme != "" && !strings.ContainsAny(scheme, "/?#") && 'a' <= scheme[0]|0x20 && scheme[0]|0x20 <= 'z'
}

func TestT073_NobodyIsSentElsewhere(t *testing.T) {
	t.Parallel()
	if !leaves("//evil.test") || !leaves("/\t/evil.test") || !leaves(`\\evil.test`) || !leaves("JavaScript:alert(1)") || leaves("/a:b") || leaves("/?//evil.test") {
		t.Fatal("the model is wrong")
	}
	heads := []string{"", "/", "//", "///", `\`, `/\`, `\/`, `\\`, "/\t/", "/\n/", "/\r\n/", "\t//", " //", "\x00//", "/%2f", "/%5c", "/%09/", "/./", "/../", "/.//", "/a/..//", "/;//", "/@", "/#//", "/?//",
		"https://", "http://", "HTTPS:", "https:/", "javascript:", "data:text/html,", "//user@", "/\u2028/", "/\u3002/", "/\uff0f", "\ufeff//", "/\x7f/", "x", "?", "#", "..//", "%2f%2f"}
	tails := []string{"evil.test", "evil.test/", "evil.test:443/x", "evil.test?x", "evil.test#x", "evil.test%00", "app.test@evil.test", "[::1]", "", "/", `\evil.test`, "evil.test\r\nSet-Cookie: a=b"}
	kept := 0
	for _, head := range heads {
		for _, tail := range tails {
			rd := head + tail
			got := safeReturn(rd, "/_auth")
			if got != rd && got != "/" {
				t.Errorf("%q became %q", rd, got)
			}
			if leaves(got) || strings.ContainsAny(got, "\r\n\t\x00\\") {
				t.Errorf("%q leaves", got)
			}
			if got == rd && rd != "/" {
				kept++
			}
		}
	}
	if kept == 0 {
		t.Error("no variant was a path of ours; the test tests nothing")
	}
	for _, good := range []string{"/", "/x", "/x?y=1&z=%2F%2Fevil.test#f", "/a;v=1", "/a:b", "/@x", "/wiki/C%23", "/a//b", "/?next=https://evil.test", "/ü", "/a b", "/_auth/", "/_authentic/login"} {
		if got := safeReturn(good, "/_auth"); got != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	for _, loop := range []string{"/_auth/login", "/_auth/login?rd=/x", "/_auth/%6cogin", "/_auth/logout", "/_auth/register?x", strings.Repeat("/x", 2100)} {
		if got := safeReturn(loop, "/_auth"); got != "/" {
			t.Errorf("%q is followed", loop)
		}
	}
}

// The check holds at every door: the page's form, the redirect of somebody
// signed in already, and the form's answer.
func TestT073_EveryDoorChecksTheWayBack(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		for _, evil := range []string{"//evil.test", `/\evil.test`, "https://evil.test", "/\t/evil.test"} {
			q, g := url.QueryEscape(evil), w.session(u)
			for what, a := range map[string]answer{
				"sign-in":   w.form("/_auth/login", "email=ann@example.com&password="+annsPassword+"&rd="+q),
				"register":  w.form("/_auth/register", "email=u"+url.QueryEscape(evil[2:3])+"@example.com&password="+newPassword+"&rd="+q),
				"signed in": w.send("GET", "/_auth/login?rd="+q, "", "Accept: text/html", cookiesOf(g.Access, "")),
			} {
				if what != "register" && a.Code != 303 || a.Header().Get("Location") != "/" && a.Code == 303 {
					t.Errorf("%s to %q: %d to %q", what, evil, a.Code, a.Header().Get("Location"))
				}
			}
			if page := w.send("GET", "/_auth/login?rd="+q, "", "Accept: text/html").Body.String(); strings.Contains(page, "evil.test") {
				t.Errorf("the form carries %q", evil)
			}
		}
	})
}

// A reset, a verification or a redirect never takes its host from the request
// (threat T75): every Location of ours is a path.
func TestT075_LocationsNameNoHost(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		for _, poison := range []string{"Host: evil.test", "X-Forwarded-Host: evil.test", "Forwarded: host=evil.test", "X-Original-Host: evil.test", "X-Host: evil.test"} {
			g := w.session(u)
			mine := cookiesOf(g.Access, g.Refresh.Reveal())
			for what, a := range map[string]answer{
				"prefix": w.send("GET", "/_auth", "", poison), "account": w.send("GET", "/_auth/", "", "Accept: text/html", poison),
				"signed in": w.send("GET", "/_auth/login?rd=/x", "", "Accept: text/html", mine, poison), "sessions": w.send("GET", "/_auth/sessions", "", "Accept: text/html", mine, poison),
				"sign-out": w.form("/_auth/logout", "", mine, poison),
			} {
				if to := a.Header().Get("Location"); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, "evil") {
					t.Errorf("%s with %s: %d to %q", what, poison, a.Code, to)
				}
			}
			if page := w.send("GET", "/_auth/login", "", "Accept: text/html", poison).Body.String(); strings.Contains(page, "evil.test") {
				t.Errorf("the page follows %s", poison)
			}
		}
	})
}

func FuzzSafeReturn(f *testing.F) {
	for _, s := range []string{"/", "/x?y#z", "//evil.test", `/\evil.test`, "/\t/evil.test", "/%2f/evil", "https:evil.test", "/_auth/login", "/a;b", "\x00", "/%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rd string) {
		got := safeReturn(rd, "/_auth")
		if got != "/" && got != rd {
			t.Fatalf("%q became %q", rd, got)
		}
		if leaves(got) || got[0] != '/' {
			t.Fatalf("%q leaves", got)
		}
		base := &url.URL{Scheme: "https", Host: host, Path: "/_auth/login"}
		u, err := base.Parse(got)
		if err != nil || u.Scheme != "https" || u.Host != host || u.User != nil {
			t.Fatalf("%q leads to %v, %v", got, u, err)
		}
	})
}
