package authn

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"ann@example.com", " ANN@Example.COM. ", "jo\u0308rg@bücher.example", "\u212aiss@example.com", "İ@example.com", "a@b@c.de", "ａ＠ｂ．ｃ", "a\x00@b.c", "\u1e9e@b.c", "\u03f4@b.c",
		"a..b@c.d", "\"a b\"@c.d", "a@[127.0.0.1]", "a@localhost", strings.Repeat("a", 65) + "@b.c", "x@xn--a", "\u1fbe@b.c", "\uff76\uff9e@b.c", "ﬀ@b.c", "|@ü.0", "ᲁ@0.0", "ı@b.c", "γιώργος@b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		display, key, err := Canonical(s)
		if err != nil {
			if display != "" || key != "" {
				t.Fatalf("%q: %q and %q beside an error", s, display, key)
			}
			return
		}
		for _, again := range []string{display, key, strings.ToUpper(key), " " + key + "."} {
			if _, k, err := Canonical(again); err != nil || k != key {
				t.Fatalf("%q is %q, but %q is %q, %v", s, key, again, k, err)
			}
		}
		if !utf8.ValidString(key) || len(key) > 254 || strings.Count(key, "@") != 1 || strings.ContainsAny(key, " \t\r\n,;:\"<>|\x00") {
			t.Fatalf("%q gives %q", s, key)
		}
		for _, c := range domainOf(key) {
			if c >= 0x80 || 'A' <= c && c <= 'Z' {
				t.Fatalf("%q gives the domain %q", s, domainOf(key))
			}
		}
	})
}

// The cutter agrees with one that is slower and plainer.
func FuzzCookieValue(f *testing.F) {
	for _, s := range []string{"", accessCookie + "=x", "a=b; " + accessCookie + "=x;" + accessCookie + "=y", accessCookie + "=;" + accessCookie + "=x", " " + accessCookie + "\t= x\t;", accessCookie, "=;=;;", accessCookie + "==", "\u2000" + accessCookie + "=x"} {
		f.Add(s, "")
		f.Add("a=b", s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		value, err := cookieValue(http.Header{"Cookie": {one, two}}, accessCookie)
		values := map[string]bool{}
		for _, pair := range append(strings.Split(one, ";"), strings.Split(two, ";")...) {
			if eq := strings.Index(pair, "="); eq >= 0 && strings.Trim(pair[:eq], " \t") == accessCookie {
				values[strings.Trim(pair[eq+1:], " \t")] = true
			}
		}
		if (err != nil) != (len(values) > 1) || err != nil && value != "" || err == nil && len(values) == 1 && !values[value] || len(values) == 0 && value != "" {
			t.Fatalf("%q, %q: %q, %v", one, two, value, err)
		}
	})
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer x", "bearer x.y-z_~+/==", "Bearer  x", "Bearer\tx", "Bearer a, Bearer b", "Basic x", "Bearer", "Bearer ", "BearerX y", "", " Bearer x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		token, present, err := bearer(http.Header{"Authorization": {line}})
		if err != nil && (present || token != "") {
			t.Fatalf("%q: %q, %v, %v", line, token, present, err)
		}
		if present && line != line[:6] && line[7:] != token || token68(token) && (!present || strings.ContainsAny(token, " \t,;\"\\")) {
			t.Fatalf("%q gives %q", line, token)
		}
		if !present && err == nil && len(line) >= 6 && strings.EqualFold(line[:6], "Bearer") && (len(line) == 6 || !isTokenByte(line[6])) {
			t.Fatalf("%q is passed on as another scheme's", line)
		}
	})
}

// What is accepted is one object whose fields mean the same to every reader.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "{}", `{"email":"a","password":"b"}`, `{"email":"a","email":"b"}`, `{"EMAIL":"a"}`, `{"email":1}`, `{"email":"a"}x`, `[{}]`, "null", `{"\u0065mail":"a"}`, "{\"email\":\"\xff\"}", `{"email":"\ud800"}`, `{"pa` + "\u017f" + `sword":"x"}`, "\ufeff{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got struct {
			Email    string `json:"email"`
			Password string `json:"password"`
		}
		if err := (input{json: text}).fields(&got); err != nil {
			return
		}
		if len(bytes.TrimSpace(text)) == 0 {
			return
		}
		var plain map[string]*string
		if err := json.Unmarshal(text, &plain); err != nil || !utf8.Valid(text) {
			t.Fatalf("%q was read: %v", text, err)
		}
		for name, v := range plain {
			want := map[string]string{"email": got.Email, "password": got.Password}
			if w, ok := want[name]; !ok || v != nil && *v != w || v == nil && w != "" {
				t.Fatalf("%q: %s is %v, not %q", text, name, v, w)
			}
		}
	})
}

func TestDevicesHaveShortNames(t *testing.T) {
	t.Parallel()
	for ua, want := range map[string]string{
		"": "Unknown device", "curl/8.5": "curl/8.5", "Mozilla/5.0 (iPhone; CPU iPhone OS 18) Safari/604": "Safari on iPhone",
		"Mozilla/5.0 (Windows NT 10.0) Chrome/140 Safari/537 Edg/140": "Edge on Windows", "Mozilla/5.0 (Android 15)": "Android", "Opera OPR/99": "Opera",
		strings.Repeat("x", 100): strings.Repeat("x", 40),
	} {
		if got := Device(ua); got != want {
			t.Errorf("%q is %q, want %q", ua, got, want)
		}
	}
}
