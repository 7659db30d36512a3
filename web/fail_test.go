package web

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProblemShape(t *testing.T) {
	u := newUI(t)
	for _, tc := range []struct {
		err  *Error
		want string
	}{
		{&Error{Status: 401, Code: "login_failed", Detail: "The address and password do not match."},
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The address and password do not match.","code":"login_failed","request_id":"req-1"}`},
		{&Error{Status: 422, Code: "invalid_input", Detail: "Please check the fields.", Fields: []Field{{"email", "Not an address."}, {"password", "Too short."}}},
			`{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"Please check the fields.","code":"invalid_input","request_id":"req-1","errors":[{"field":"email","detail":"Not an address."},{"field":"password","detail":"Too short."}]}`},
		{&Error{Status: 503, Code: "unavailable", Cause: errors.New("dial tcp: refused")},
			`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"This cannot be answered right now; please try again.","code":"unavailable","request_id":"req-1"}`},
		{nil, `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Something went wrong here. It has been logged.","code":"internal_error","request_id":"req-1"}`},
		{&Error{Status: 200, Code: "odd"}, `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Something went wrong here. It has been logged.","code":"odd","request_id":"req-1"}`},
	} {
		resp, body, rec := answerOf(func(w http.ResponseWriter) { u.Fail(w, program("GET"), tc.err) })
		if diff := cmp.Diff(tc.want+"\n", body); diff != "" {
			t.Error(diff)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("Content-Type %q", got)
		}
		if tc.err != nil && !errors.Is(rec.Err, tc.err.Cause) {
			t.Errorf("the record has cause %v, want %v", rec.Err, tc.err.Cause)
		}
	}
}

func TestRetryAfterRoundsUp(t *testing.T) {
	u := newUI(t)
	for wait, want := range map[time.Duration]string{0: "5", time.Millisecond: "1", 1500 * time.Millisecond: "2", time.Minute: "60"} {
		resp, _, _ := answerOf(func(w http.ResponseWriter) {
			u.Fail(w, program("GET"), &Error{Status: 429, Code: "x", RetryAfter: wait})
		})
		if got := resp.Header.Get("Retry-After"); got != want {
			t.Errorf("%v: Retry-After %s, want %s", wait, got, want)
		}
	}
}

func TestChallengesOfTheErrorWin(t *testing.T) {
	u := newUI(t)
	e := &Error{Status: 401, Code: "x", Challenges: []string{`Bearer realm="r", error="invalid_token"`, `Basic realm="r"`}}
	resp, _, _ := answerOf(func(w http.ResponseWriter) {
		w.Header().Set("WWW-Authenticate", "Negotiate") // of an abandoned answer
		u.Fail(w, program("GET"), e)
	})
	if diff := cmp.Diff(e.Challenges, resp.Header.Values("WWW-Authenticate")); diff != "" {
		t.Error(diff)
	}
}

func TestGRPCIsAnsweredInTrailersOnly(t *testing.T) {
	u := newUI(t)
	for status, want := range map[int]string{401: "16", 403: "7", 404: "12", 405: "12", 421: "12", 400: "3", 413: "8", 429: "8", 409: "10", 500: "13", 502: "14", 503: "14", 504: "4"} {
		resp, body, rec := answerOf(func(w http.ResponseWriter) {
			u.Fail(w, grpcCall(), &Error{Status: status, Code: "x", Detail: "100 % n\u00f6\n"})
		})
		if resp.StatusCode != 200 || body != "" || resp.Header.Get("Grpc-Status") != want || resp.Header.Get("Content-Type") != "application/grpc+proto" {
			t.Errorf("%d: %d %v %q", status, resp.StatusCode, resp.Header, body)
		}
		if got := resp.Header.Get("Grpc-Message"); got != "100 %25 n%C3%B6%0A" {
			t.Errorf("message %q", got)
		}
		if rec.Code != "x" {
			t.Errorf("recorded %q", rec.Code)
		}
	}
}

func TestIsNavigation(t *testing.T) {
	for _, tc := range []struct {
		name, method string
		header       map[string]string
		want         bool
	}{
		{"address bar", "GET", map[string]string{"Sec-Fetch-Mode": "navigate"}, true},
		{"old browser", "GET", map[string]string{"Accept": "application/xml, text/html;q=0.9"}, true},
		{"head", "HEAD", map[string]string{"Accept": "TEXT/HTML"}, true},
		{"curl", "GET", map[string]string{"Accept": "*/*"}, false},
		{"nothing said", "GET", nil, false},
		{"html refused", "GET", map[string]string{"Accept": "text/html;q=0, application/json"}, false},
		{"html refused at length", "GET", map[string]string{"Accept": "text/html; level=1; q=0.000"}, false},
		{"html with a little weight", "GET", map[string]string{"Accept": "text/html; q=0.001"}, true},
		{"similar type", "GET", map[string]string{"Accept": "text/html-sandboxed"}, false},
		{"script", "GET", map[string]string{"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}, false},
		{"token", "GET", map[string]string{"Accept": "text/html", "Authorization": "Bearer x"}, false},
		{"form", "POST", map[string]string{"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}, false},
		{"dav", "PROPFIND", map[string]string{"Accept": "text/html"}, false},
	} {
		r := program(tc.method)
		for k, v := range tc.header {
			r.Header.Set(k, v)
		}
		if got := IsNavigation(r); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestWhoGetsAPageOnFailure(t *testing.T) {
	u := newUI(t)
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
	browser := maps.Clone(form)
	maps.Copy(browser, map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})
	script := maps.Clone(form)
	maps.Copy(script, map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"})
	for _, tc := range []struct {
		name, path string
		header     map[string]string
		want       bool
	}{
		{"a browser's form, anywhere", "/wiki/save", browser, true},
		{"an old browser's form, ours", "/_auth/login", form, true},
		{"an old browser's form, an app's", "/wiki/save", form, false},
		{"a form sent by a script", "/_auth/login", script, false},
		{"a program", "/_auth/login", map[string]string{"Content-Type": "application/json", "Accept": "text/html"}, false},
	} {
		r := httptest.NewRequest("POST", tc.path, nil)
		for k, v := range tc.header {
			r.Header.Set(k, v)
		}
		resp, _, _ := answerOf(func(w http.ResponseWriter) { u.Fail(w, r, &Error{Status: 403, Code: "x"}) })
		if got := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"); got != tc.want || resp.StatusCode != 403 {
			t.Errorf("%s: page %v, want %v (status %d)", tc.name, got, tc.want, resp.StatusCode)
		}
	}
}

func TestHEADHasNoBody(t *testing.T) {
	u := newUI(t)
	for name, accept := range map[string]string{"page": "text/html", "problem": "*/*"} {
		r := program(http.MethodHead)
		r.Header.Set("Accept", accept)
		resp, body, _ := answerOf(func(w http.ResponseWriter) { u.Fail(w, r, &Error{Status: 404, Code: "x"}) })
		if n, _ := strconv.Atoi(resp.Header.Get("Content-Length")); body != "" || n == 0 {
			t.Errorf("%s: %d bytes, Content-Length %d", name, len(body), n)
		}
	}
}

func TestLeftoversOfAnAbandonedAnswerAreDropped(t *testing.T) {
	u := newUI(t)
	resp, _, _ := answerOf(func(w http.ResponseWriter) {
		for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified", "Content-Range", "Trailer", "Server"} {
			w.Header().Set(name, "x")
		}
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Set-Cookie", "__Host-gatehouse=; Max-Age=0")
		u.Fail(w, program("GET"), &Error{Status: 502, Code: "x"})
	})
	for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified", "Content-Range", "Trailer", "Server"} {
		if resp.Header.Get(name) != "" {
			t.Errorf("%s survived", name)
		}
	}
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Set-Cookie") == "" {
		t.Errorf("Cache-Control %q, Set-Cookie %q", resp.Header.Get("Cache-Control"), resp.Header.Get("Set-Cookie"))
	}
}
