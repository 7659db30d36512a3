package authn

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"gatehouse/web"
)

// posts are the endpoints that read a body, with one that they understand.
var posts = map[string]string{
	"/login": `{"email":"nobody@example.com","password":"x"}`, "/register": `{"email":"new@example.com","password":"x"}`, "/refresh": `{"refresh_token":"x"}`,
	"/logout": `{"refresh_token":"x"}`, "/password": `{"current_password":"x","new_password":"y"}`,
}

const anybody = "accounts: {registration: open}\nlimits: {login_ip: 10000/1m, login_account: 10000/1m, register_ip: 10000/1h}"

func TestBodiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		for path, good := range posts {
			path = "/_auth" + path
			if a := w.send("POST", path, good, "Content-Type: application/json; charset=utf-8"); a.code() == "bad_json" || a.Code == 415 || a.Code == 413 {
				t.Errorf("%s: %s is refused: %s", path, good, a.Body)
			}
			field := strings.Split(good, `"`)[1]
			for what, body := range map[string]string{
				"unknown field": strings.Replace(good, "{", `{"admin":true,`, 1), "field twice": strings.Replace(good, "{", `{"`+field+`":"a",`, 1),
				"other case": strings.Replace(good, field, strings.ToUpper(field), 1), "both cases": strings.Replace(good, "{", `{"`+strings.ToUpper(field)+`":"a",`, 1),
				"long s": strings.Replace(good, "{", "{\"pa\u017fsword\":\"a\",", 1), "data after it": good + "{}", "a letter after it": good + "x",
				"array": "[" + good + "]", "null": "null", "string": `"x"`, "number for a string": `{"` + field + `":1}`, "object for a string": `{"` + field + `":{}}`,
				"array for a string": `{"` + field + `":["a"]}`, "cut": good[:len(good)-1], "comment": good + "//", "NUL": "\x00" + good, "byte order mark": "\ufeff" + good,
				"no UTF-8": strings.Replace(good, `"x"`, "\"\xff\"", 1), "form in JSON clothes": "email=a&password=b",
			} {
				w.want(path+" with "+what, w.send("POST", path, body, "Content-Type: application/json"), 400, "bad_json")
			}
			w.want(path+" without a body", w.send("POST", path, ""), map[string]int{"/_auth/login": 401, "/_auth/register": 422}[path]+
				map[string]int{"/_auth/refresh": 401, "/_auth/logout": 401, "/_auth/password": 401}[path],
				map[string]string{"/_auth/login": "invalid_credentials", "/_auth/register": "invalid_input", "/_auth/refresh": "session_over"}[path]+
					map[string]string{"/_auth/logout": "unauthorized", "/_auth/password": "unauthorized"}[path])
		}
	})
}

// A page of another site can post text/plain and multipart without asking
// first; neither they nor anything unnamed is read (threat T69).
func TestT069_OnlyTwoMediaTypesAreRead(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		for path, good := range posts {
			for _, kind := range []string{"", "text/plain", "text/plain; application/json", "text/json", "application/jsonp", "application/json, text/plain", "application/json;text/plain",
				"multipart/form-data; boundary=x", "application/xml", "application/x-json", "APPLICATION", "*/*", "json"} {
				w.want(path+" as "+kind, w.send("POST", "/_auth"+path, good, "Content-Type: "+kind), 415, "unsupported_media_type")
			}
			a := w.send("POST", "/_auth"+path, good, "Content-Type: Application/JSON")
			if a.Code == 415 {
				t.Errorf("%s: a media type has no case: %s", path, a.Body)
			}
		}
		w.want("refresh as a form", w.form("/_auth/refresh", "refresh_token=x"), 415, "unsupported_media_type")
	})
}

func TestT127_BodiesAreBounded(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		for path, good := range posts {
			fits := good + strings.Repeat(" ", maxBody-len(good))
			if a := w.send("POST", "/_auth"+path, fits, "Content-Type: application/json"); a.Code == 413 {
				t.Errorf("%s: 16 KiB are refused", path)
			}
			w.want(path+" over 16 KiB", w.send("POST", "/_auth"+path, fits+" ", "Content-Type: application/json"), 413, "body_too_large")
			w.want(path+" as a large form", w.send("POST", "/_auth"+path, "email="+strings.Repeat("a", maxBody), "Content-Type: application/x-www-form-urlencoded"), 413, "body_too_large")
		}
	})
}

func TestT128_CompressedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		var z bytes.Buffer
		zip := gzip.NewWriter(&z)
		_, _ = zip.Write([]byte(posts["/login"]))
		_ = zip.Close()
		for path := range posts {
			for _, coding := range []string{"gzip", "GZIP", "identity", "br, gzip", " gzip"} {
				w.want(path+" "+coding, w.send("POST", "/_auth"+path, z.String(), "Content-Type: application/json", "Content-Encoding: "+coding), 415, "unsupported_encoding")
			}
			w.want(path+" hidden", w.send("POST", "/_auth"+path, z.String(), "Content-Type: application/json", "Content-Encoding: ", "Content-Encoding: gzip"), 415, "unsupported_encoding")
		}
	})
}

func TestFormsAreReadStrictly(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		w.user("ann@example.com")
		for what, body := range map[string]string{
			"twice": "email=ann@example.com&email=bob@example.com&password=x", "no escape": "email=%zz&password=x", "semicolon": "email=a;password=x",
		} {
			if a := w.form("/_auth/login", body); a.Code != 400 || a.code() != "bad_body" || len(a.cookies()) != 0 {
				t.Errorf("%s: %d %s", what, a.Code, a.code())
			}
		}
		a := w.form("/_auth/login", url.Values{"email": {"ann@example.com"}, "password": {annsPassword}, "rd": {"/x"}, "utm": {"1"}}.Encode())
		if a.Code != 303 || a.Header().Get("Location") != "/x" || len(a.cookies()) != 2 {
			t.Errorf("a good form: %d to %q", a.Code, a.Header().Get("Location"))
		}
	})
}

// unsafe are the ways to change something with a browser's credentials.
func unsafe(sid string) [][2]string {
	return [][2]string{{"POST", "/login"}, {"POST", "/register"}, {"POST", "/refresh"}, {"POST", "/logout"}, {"POST", "/logout?all=true"}, {"POST", "/password"},
		{"DELETE", "/sessions/" + sid}, {"POST", "/sessions/" + sid}}
}

func TestT068_T070_T071_NothingChangesFromElsewhere(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		cookies := cookiesOf(g.Access, g.Refresh.Reveal())
		for _, from := range [][]string{
			{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Sec-Fetch-Site: Cross-Site"}, {"Sec-Fetch-Site: x"}, {"Sec-Fetch-Site: "},
			{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"},
			{"Origin: https://evil.test"}, {"Origin: null"}, {"Origin: http://" + host}, {"Origin: https://" + host + ".evil.test"}, {"Origin: https://evil." + host},
			{"Origin: https://" + host + ":8443"}, {"Origin: https://" + host + "@evil.test"}, {"Origin: " + host}, {"Origin: https://" + host + "/"}, {"Origin: x"},
			{"Origin: https://" + host, "Origin: https://evil.test"},
			{"Sec-Fetch-Site: same-origin", "Origin: https://evil.test"}, {"Sec-Fetch-Site: none", "Origin: https://evil.test"},
			{"Sec-Fetch-Site: cross-site", "Origin: https://" + host}, {"Sec-Fetch-Site: same-site", "Origin: https://sibling.test"},
		} {
			for _, ep := range unsafe(g.Identity.Session) {
				for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} {
					a := w.send(ep[0], "/_auth"+ep[1], "{}", append(from, "Cookie: "+strings.TrimPrefix(cookies, "Cookie: "), "Content-Type: "+kind)...)
					if a.Code != 403 || a.code() != "cross_site" || len(a.cookies()) != 0 {
						t.Errorf("%v from %q as %s: %d %s", ep, from, kind, a.Code, a.code())
					}
				}
			}
		}
		for _, here := range [][]string{{}, {"Sec-Fetch-Site: same-origin"}, {"Sec-Fetch-Site: none"}, {"Origin: https://" + host},
			{"Sec-Fetch-Site: same-origin", "Origin: https://" + host}, {"Sec-Fetch-Site: same-origin", "Origin: null"}, {"Sec-Fetch-Site: same-origin", "Origin: https://" + host + ":8443"}} {
			if a := w.send("POST", "/_auth/refresh", posts["/refresh"], append(here, "Content-Type: application/json")...); a.Code != 401 {
				t.Errorf("from here, %q: %d %s", here, a.Code, a.code())
			}
		}
		if _, err := w.asks(false, cookies); err != nil {
			t.Error("the session did not survive")
		}
	})
}

// A link, an image or a prefetch changes nothing (threat T70).
func TestT070_ReadingNeverChangesAnything(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		for _, ep := range unsafe(g.Identity.Session) {
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "PATCH"} {
				for _, how := range []string{"Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Sec-Fetch-Dest: image", "X-HTTP-Method-Override: POST"} {
					w.send(method, "/_auth"+ep[1]+"?_method=POST", "", cookiesOf(g.Access, g.Refresh.Reveal()), how, "Accept: text/html")
				}
			}
		}
		if _, err := w.asks(false, cookiesOf(g.Access, "")); err != nil {
			t.Error("the session ended")
		}
		if _, err := w.Refresh(t.Context(), w.caller(), g.Refresh); err != nil {
			t.Error("the refresh token was spent")
		}
	})
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		for path, allow := range map[string]string{"/login": "GET, HEAD, POST", "/register": "GET, HEAD, POST", "/refresh": "POST", "/logout": "GET, HEAD, POST", "/me": "GET, HEAD",
			"/sessions": "GET, HEAD", "/sessions/x": "DELETE, POST", "/password": "GET, HEAD, POST", "/jwks.json": "GET, HEAD", "/": "GET, HEAD", "/assets/x": "GET, HEAD"} {
			a := w.send("PROPFIND", "/_auth"+path, "")
			w.want(path, a, 405, "method_not_allowed")
			if a.Header().Get("Allow") != allow {
				t.Errorf("%s allows %q, want %q", path, a.Header().Get("Allow"), allow)
			}
		}
		w.want("JSON to a session", w.post("/_auth/sessions/x", struct{}{}), 405, "method_not_allowed")
		for _, path := range []string{"/x", "/login/", "/LOGIN", "/sessions/", "/sessions/a/b", "/login.json", "//login", "/admin"} {
			w.want(path, w.send("GET", "/_auth"+path, ""), 404, "no_endpoint")
		}
		a := w.send("GET", "/_auth", "")
		if a.Code != 303 || a.Header().Get("Location") != "/_auth/" {
			t.Errorf("the bare prefix: %d to %q", a.Code, a.Header().Get("Location"))
		}
		w.want("HEAD", w.send("HEAD", "/_auth/login", "", "Accept: text/html"), 200, "login")
	})
}

func TestT074_NoRedirectRepeatsAPost(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		u := w.user("ann@example.com")
		for what, a := range map[string]answer{
			"sign-in":     w.form("/_auth/login", "rd=/x&email=ann@example.com&password="+annsPassword),
			"register":    w.form("/_auth/register", "rd=/x&email=new@example.com&password="+newPassword),
			"sign-out":    w.form("/_auth/logout", ""),
			"end session": w.form("/_auth/sessions/"+w.session(u).Identity.Session, "_method=DELETE", cookiesOf(w.session(u).Access, "")),
		} {
			if a.Code != http.StatusSeeOther {
				t.Errorf("%s: %d %s", what, a.Code, a.Body)
			}
		}
	})
}

// Over anything but https no cookie is set, not even to clear one.
func TestT067_CookiesAreLockedDownAndHTTPSOnly(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		w.user("ann@example.com")
		form := "email=ann@example.com&password=" + annsPassword
		a := w.form("/_auth/login", form)
		lines := a.Header()["Set-Cookie"]
		if len(lines) != 2 {
			t.Fatalf("%d cookies", len(lines))
		}
		for i, want := range []string{accessCookie, refreshCookie} {
			name, rest, _ := strings.Cut(lines[i], "=")
			value, attrs, _ := strings.Cut(rest, "; ")
			life := map[string]string{accessCookie: "300", refreshCookie: "43200"}[want]
			if name != want || value == "" || attrs != "Path=/; Max-Age="+life+"; Secure; HttpOnly; SameSite=Lax" || len(lines[i]) > 4096 {
				t.Errorf("cookie %d: %s; %s", i, name, attrs)
			}
		}
		for _, path := range []string{"/_auth/login", "/_auth/logout"} {
			plain := answer{httptest.NewRecorder(), w.record()}
			plain.rec.Secure = false
			w.handler.ServeHTTP(plain, w.request("POST", path, form, "Content-Type: application/x-www-form-urlencoded", cookiesOf("x", "y")))
			if len(plain.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%s without https sets %v", path, plain.Header()["Set-Cookie"])
			}
		}
		for what, a := range map[string]answer{"program": w.login("ann@example.com", annsPassword), "refused": w.form("/_auth/login", "email=ann@example.com&password=x")} {
			if len(a.Header()["Set-Cookie"]) != 0 {
				t.Errorf("%s: %v", what, a.Header()["Set-Cookie"])
			}
		}
	})
}

func TestT066_CookiesFitABrowser(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		var groups []string
		for c := range 25 {
			groups = append(groups, strings.Repeat(string(rune('a'+c)), 20))
		}
		u := w.user(strings.Repeat("l", 64)+"@"+strings.Repeat("d", 60)+".example.com", groups...)
		g := w.session(u)
		for err := error(nil); err == nil; { // a long group more, as long as anybody could sign in
			for _, line := range grantCookies(g) {
				if len(line) > 4096 {
					t.Fatalf("%d groups make a cookie of %d bytes: %.40s", len(groups), len(line), line)
				}
			}
			if len(g.Access) > 2048 {
				t.Fatalf("%d groups make an access token of %d bytes", len(groups), len(g.Access))
			}
			groups = append(groups, fmt.Sprintf("%090d", len(groups)))
			if u, err = w.admin.SetGroups(t.Context(), u.Email, groups); err != nil {
				t.Fatal(err)
			}
			g, err = w.begin(t.Context(), u, w.caller(), []string{"pwd"})
			var e *web.Error
			if err != nil && (!errors.As(err, &e) || e.Code != "too_many_groups") {
				t.Fatal(err)
			}
		}
	})
}

// Signing in gives a new session and ends the one that came along, whatever
// way it came (threat T78).
func TestT078_SigningInEndsTheCarriedSession(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		u, other := w.user("ann@example.com"), w.user("bob@example.com")
		good := "email=ann@example.com&password=" + annsPassword
		for what, cookie := range map[string]func(a, b *Grant) string{
			"both":         func(a, _ *Grant) string { return cookiesOf(a.Access, a.Refresh.Reveal()) },
			"access":       func(a, _ *Grant) string { return "Cookie: " + accessCookie + "=" + a.Access },
			"refresh":      func(a, _ *Grant) string { return "Cookie: " + refreshCookie + "=" + a.Refresh.Reveal() },
			"bad access":   func(a, _ *Grant) string { return cookiesOf("x", a.Refresh.Reveal()) },
			"two sessions": func(a, b *Grant) string { return cookiesOf(b.Access, a.Refresh.Reveal()) },
		} {
			old, second := w.session(other), w.session(other)
			a := w.form("/_auth/login", good, cookie(old, second))
			if a.Code != 303 || a.cookies()[accessCookie] == "" || a.cookies()[accessCookie] == old.Access {
				t.Fatalf("%s: %d", what, a.Code)
			}
			w.dead(what, old)
			if what == "two sessions" {
				w.dead(what, second)
			}
		}
		fixed := w.session(other) // the attacker's own, planted in the victim's browser
		a := w.form("/_auth/login", good, cookiesOf(fixed.Access, fixed.Refresh.Reveal()))
		res, err := w.asks(false, "Cookie: "+accessCookie+"="+a.cookies()[accessCookie])
		if err != nil || res.Identity.Subject != u.ID || res.Identity.Session == fixed.Identity.Session {
			t.Fatalf("after fixation: %v, %v", res.Identity, err)
		}
		failed := w.session(other)
		w.form("/_auth/login", "email=ann@example.com&password=wrong", cookiesOf(failed.Access, failed.Refresh.Reveal()))
		if _, err := w.asks(false, cookiesOf(failed.Access, "")); err != nil {
			t.Error("a failed sign-in ended the session that came along")
		}
	})
}

func TestT143_UserinfoTellsNoToken(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		u := w.user("ann@example.com", "admins")
		g := w.session(u)
		w.want("nobody", w.send("GET", "/_auth/userinfo", ""), 401, "unauthorized")
		for _, path := range []string{"/_auth/userinfo", "/_auth/me", "/_auth/"} {
			for _, how := range []string{bearerOf(g.Access), cookiesOf(g.Access, g.Refresh.Reveal())} {
				a := w.send("GET", path, "", how)
				var got map[string]any
				if err := json.Unmarshal(a.Body.Bytes(), &got); err != nil || len(got) != 8 || got["sub"] != u.ID || got["sid"] != g.Identity.Session || got["email"] != "ann@example.com" {
					t.Errorf("%s: %v, %s", path, err, a.Body)
				}
				for _, secret := range []string{g.Access, g.Refresh.Reveal(), "argon2", "jti", "gen"} {
					if strings.Contains(a.Body.String(), secret) {
						t.Errorf("%s tells %.10s", path, secret)
					}
				}
				if a.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s: Cache-Control %q", path, a.Header().Get("Cache-Control"))
				}
			}
		}
	})
}

func TestJWKSIsPublicAndCacheable(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		for _, path := range []string{"/_auth/jwks.json", "/_auth/.well-known/jwks.json"} {
			a := w.send("GET", path, "")
			var set struct{ Keys []map[string]string }
			if err := json.Unmarshal(a.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["d"] != "" || a.Header().Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("%s: %v, %s, %q", path, err, a.Body, a.Header().Get("Cache-Control"))
			}
		}
	})
}

func TestPagesOfTheAccount(t *testing.T) {
	t.Parallel()
	inWorld(t, anybody, func(t *testing.T, w *world) {
		const html = "Accept: text/html"
		g := w.session(w.user("ann@example.com"))
		mine := cookiesOf(g.Access, g.Refresh.Reveal())
		w.want("sign-in page", w.send("GET", "/_auth/login?rd=/x", "", html), 200, "login")
		w.want("registration page", w.send("GET", "/_auth/register", "", html), 200, "register")
		w.want("sign-out page", w.send("GET", "/_auth/logout", "", html, mine), 200, "logout")
		w.want("account page", w.send("GET", "/_auth/", "", html, mine), 200, "account")
		w.want("no endpoint, as a page", w.send("GET", "/_auth/x", "", html), 404, "no_endpoint")
		for path, to := range map[string]string{"/_auth/login?rd=/x%3Fy": "/x?y", "/_auth/sessions": "/_auth/", "/_auth/password": "/_auth/"} {
			if a := w.send("GET", path, "", html, mine); a.Code != 303 || a.Header().Get("Location") != to {
				t.Errorf("%s: %d to %q", path, a.Code, a.Header().Get("Location"))
			}
		}
		if a := w.send("GET", "/_auth/", "", html); a.Code != 303 || a.Header().Get("Location") != "/_auth/login?rd=%2F_auth%2F" {
			t.Errorf("account page of nobody: %d to %q", a.Code, a.Header().Get("Location"))
		}
		if a := w.send("GET", "/_auth/login", "", html, mine); a.Code != 200 || !strings.Contains(a.Body.String(), "ann@example.com") {
			t.Errorf("the sign-in page does not say who is signed in")
		}
		css := strings.Split(strings.Split(w.send("GET", "/_auth/login", "", html).Body.String(), `rel="stylesheet" href="`)[1], `"`)[0]
		if a := w.send("GET", css, ""); a.Code != 200 {
			t.Errorf("the style sheet %s: %d", css, a.Code)
		}
	})
}

// An answer that is nobody's *web.Error says nothing about its cause.
func TestUnknownErrorsShowNoCause(t *testing.T) {
	t.Parallel()
	inWorld(t, "", func(t *testing.T, w *world) {
		g := w.session(w.user("ann@example.com"))
		if err := w.db.Close(); err != nil {
			t.Fatal(err)
		}
		for what, a := range map[string]answer{
			"sign-in": w.login("ann@example.com", annsPassword), "refresh": w.post("/_auth/refresh", map[string]string{"refresh_token": g.Refresh.Reveal()}),
			"sign-out": w.send("POST", "/_auth/logout", "", bearerOf(g.Access)), "sessions": w.send("GET", "/_auth/sessions", "", bearerOf(g.Access)),
			"password": w.post("/_auth/password", map[string]string{"current_password": annsPassword, "new_password": newPassword}, bearerOf(g.Access)),
			"end":      w.send("DELETE", "/_auth/sessions/x", "", bearerOf(g.Access)),
			"browser":  w.send("GET", "/_auth/me", "", cookiesOf("x", g.Refresh.Reveal())),
		} {
			w.want(what, a, 503, "unavailable")
			if a.Header().Get("Retry-After") == "" || len(a.cookies()) != 0 || strings.Contains(a.Body.String(), "store") {
				t.Errorf("%s: %v %s", what, a.Header(), a.Body)
			}
		}
		w.want("userinfo needs no store", w.send("GET", "/_auth/me", "", bearerOf(g.Access)), 200, "userinfo")
		synctest.Wait()
	})
}

var _ web.Recorder = answer{}
