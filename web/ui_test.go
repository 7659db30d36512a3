package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const svg = `<svg xmlns="http://www.w3.org/2000/svg"/>`

func newUI(t *testing.T) *UI {
	t.Helper()
	u, err := New(Options{Prefix: "/_auth", Logo: []byte(svg), Issuer: "https://gate.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// recorded is a ResponseWriter with a Record, as the outer chain makes one.
type recorded struct {
	*httptest.ResponseRecorder
	rec *Record
}

func (r recorded) Record() *Record { return r.rec }

func answerOf(serve func(http.ResponseWriter)) (*http.Response, string, *Record) {
	w := recorded{httptest.NewRecorder(), &Record{ID: "req-1", Start: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}}
	serve(w)
	resp := w.Result()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body), w.rec
}

func navigation(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	return r
}

func program(method string) *http.Request { return httptest.NewRequest(method, "/x", nil) }

func grpcCall() *http.Request {
	r := program(http.MethodPost)
	r.Header.Set("Content-Type", "application/grpc+proto; v=1")
	return r
}

// answers is every kind of answer that this package can make.
func answers(u *UI) map[string]func(http.ResponseWriter) {
	bad := &Error{Status: 422, Code: "invalid", Detail: "Not like this.", Fields: []Field{{"email", "Not an address."}, {"password", "Too short."}}}
	all := map[string]func(http.ResponseWriter){
		"login": func(w http.ResponseWriter) {
			u.Login(w, navigation("/"), 200, LoginPage{Return: "/a", CanRegister: true})
		},
		"login signed in": func(w http.ResponseWriter) {
			u.Login(w, navigation("/"), 200, LoginPage{SignedInAs: "a@b.c", Notice: "x"})
		},
		"login 401": func(w http.ResponseWriter) {
			u.Login(w, navigation("/"), 401, LoginPage{Error: &Error{Code: "wrong", Detail: "No."}})
		},
		"login 401 bare": func(w http.ResponseWriter) { u.Login(w, navigation("/"), 401, LoginPage{}) },
		"login 429": func(w http.ResponseWriter) {
			u.Login(w, navigation("/"), 429, LoginPage{Error: &Error{Code: "limited"}})
		},
		"register":         func(w http.ResponseWriter) { u.Register(w, navigation("/"), 200, RegisterPage{MinLength: 12}) },
		"register invalid": func(w http.ResponseWriter) { u.Register(w, navigation("/"), 422, RegisterPage{Error: bad}) },
		"logout":           func(w http.ResponseWriter) { u.Logout(w, navigation("/"), LogoutPage{SignedInAs: "a@b.c"}) },
		"account": func(w http.ResponseWriter) {
			u.Account(w, navigation("/"), 200, AccountPage{Email: "a@b.c", Groups: []string{"x"}, Sessions: []SessionRow{{ID: "s1", Current: true}, {ID: "s2"}}})
		},
		"account error": func(w http.ResponseWriter) { u.Account(w, navigation("/"), 422, AccountPage{Error: bad}) },
		"notice": func(w http.ResponseWriter) {
			u.Notice(w, navigation("/"), 200, "signed_out", NoticePage{"H", "T", "L", "/"})
		},
		"notice 503":  func(w http.ResponseWriter) { u.Notice(w, navigation("/"), 503, "later", NoticePage{Heading: "H"}) },
		"json":        func(w http.ResponseWriter) { u.JSON(w, 200, "userinfo", map[string]int{"a": 1}) },
		"json broken": func(w http.ResponseWriter) { u.JSON(w, 200, "userinfo", math.Inf(1)) },
		"redirect":    func(w http.ResponseWriter) { u.Redirect(w, navigation("/"), 303, "signed_in", "/a") },
		"empty":       func(w http.ResponseWriter) { u.Empty(w, 204, "signed_out") },
		"asset": func(w http.ResponseWriter) {
			u.Asset(w, navigation("/"), strings.TrimPrefix(u.frame.Style, "/_auth/assets/"))
		},
		"asset missing": func(w http.ResponseWriter) { u.Asset(w, navigation("/"), "../ui.go") },
		"asset post": func(w http.ResponseWriter) {
			u.Asset(w, program("POST"), strings.TrimPrefix(u.frame.Icon, "/_auth/assets/"))
		},
		"fail nil": func(w http.ResponseWriter) { u.Fail(w, program("GET"), nil) },
		"fail challenge": func(w http.ResponseWriter) {
			u.Fail(w, program("GET"), &Error{Status: 401, Challenges: []string{"Bearer realm=\"a\", error=\"invalid_token\"", "Basic realm=\"a\""}})
		},
	}
	for status := 400; status < 600; status++ {
		e := &Error{Status: status, Code: "code_x", Cause: errors.New("secret cause")}
		all[fmt.Sprintf("page %d", status)] = func(w http.ResponseWriter) { u.Fail(w, navigation("/p"), e) }
		all[fmt.Sprintf("problem %d", status)] = func(w http.ResponseWriter) { u.Fail(w, program("PUT"), e) }
		all[fmt.Sprintf("grpc %d", status)] = func(w http.ResponseWriter) { u.Fail(w, grpcCall(), e) }
	}
	return all
}

func TestT144_T145_T146_HeadersOfEveryAnswer(t *testing.T) {
	u := newUI(t)
	for name, serve := range answers(u) {
		resp, body, rec := answerOf(serve)
		h := resp.Header
		if h.Get("Gatehouse-Response") == "" || h.Get("Gatehouse-Response") != rec.Code {
			t.Errorf("%s: Gatehouse-Response %q, recorded %q", name, h.Get("Gatehouse-Response"), rec.Code)
		}
		if want := "no-store"; name != "asset" && h.Get("Cache-Control") != want {
			t.Errorf("%s: Cache-Control %q", name, h.Get("Cache-Control"))
		}
		for field, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Server": "",
		} {
			if got := h.Get(field); got != want {
				t.Errorf("%s: %s: %q, want %q", name, field, got, want)
			}
		}
		if resp.StatusCode == 401 && h.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without a challenge", name)
		}
		if resp.StatusCode == 429 || resp.StatusCode == 503 {
			if n, err := strconv.Atoi(h.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("%s: Retry-After %q", name, h.Get("Retry-After"))
			}
		}
		if strings.Contains(body+fmt.Sprint(h), "secret cause") {
			t.Errorf("%s shows its cause", name)
		}
		if n := h.Get("Content-Length"); n != "" && n != strconv.Itoa(len(body)) {
			t.Errorf("%s: Content-Length %s for %d bytes", name, n, len(body))
		}
	}
}

func TestPolicyRunsNothingAndTrustsNobody(t *testing.T) {
	for _, want := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s", want)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") || strings.Contains(policy, "http") {
		t.Errorf("the policy allows too much: %s", policy)
	}
}

func TestJSONKeepsACallersCacheControl(t *testing.T) {
	u := newUI(t)
	resp, body, _ := answerOf(func(w http.ResponseWriter) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		u.JSON(w, 200, "jwks", json.RawMessage(`{"keys":[]}`))
	})
	if resp.Header.Get("Cache-Control") != "public, max-age=300" || body != "{\"keys\":[]}\n" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v %q", resp.Header, body)
	}
}

func TestT074_RedirectNeverRepeatsAPost(t *testing.T) {
	u := newUI(t)
	for asked, want := range map[int]int{302: 302, 307: 303, 301: 303, 303: 303, 308: 308, 0: 303} {
		resp, _, rec := answerOf(func(w http.ResponseWriter) { u.Redirect(w, program("POST"), asked, "signed_in", "/deep?a=1") })
		if resp.StatusCode != want || resp.Header.Get("Location") != "/deep?a=1" || rec.Code != "signed_in" {
			t.Errorf("asked for %d: %d to %q", asked, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

func TestAssets(t *testing.T) {
	u := newUI(t)
	if len(u.assets) != 3 {
		t.Fatalf("%d assets", len(u.assets))
	}
	for _, name := range slices.Sorted(maps.Keys(u.assets)) {
		resp, body, _ := answerOf(func(w http.ResponseWriter) { u.Asset(w, program("GET"), name) })
		if resp.StatusCode != 200 || body == "" || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
		r := program("GET")
		r.Header.Set("If-None-Match", resp.Header.Get("ETag"))
		if again, body, _ := answerOf(func(w http.ResponseWriter) { u.Asset(w, r, name) }); again.StatusCode != 304 || body != "" {
			t.Errorf("%s again: %d", name, again.StatusCode)
		}
	}
}

func TestLogoIsJudgedByItsContent(t *testing.T) {
	for _, tc := range []struct {
		logo, ext string
	}{
		{svg, ".svg"}, {"\ufeff <?xml version=\"1.0\"?>" + svg, ".svg"}, {"\x89PNG\r\n\x1a\n....", ".png"}, {"RIFF....WEBPVP8 ", ".webp"},
		{"<html><script>alert(1)</script>", ""}, {"GIF89a", ""}, {strings.Repeat("x", maxLogo+1), ""},
	} {
		u, err := New(Options{Prefix: "/_auth", Logo: []byte(tc.logo)})
		if (err == nil) != (tc.ext != "") {
			t.Errorf("%.20q: %v", tc.logo, err)
		} else if err == nil && !strings.HasSuffix(u.frame.Logo, tc.ext) {
			t.Errorf("%.20q became %s", tc.logo, u.frame.Logo)
		}
	}
}

func TestNothingComesFromElsewhere(t *testing.T) {
	remote := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]|<script|\son[a-z]+=|\sstyle=|javascript:|@import|url\(`)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "") // a name, not an address
		if hit := remote.FindString(text); hit != "" {
			t.Errorf("%s contains %q", path, hit)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
