package http1

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"gatehouse/wire"
)

// readAlike fails the test if a head that is read the short way would not be
// taken the long way, or be another request there.
func readAlike(t *testing.T, in []byte) (plain bool) {
	t.Helper()
	head := in[:wire.HeadEnd(in, 0)]
	got, plain := plainRequest(head)
	if !plain {
		return false
	}
	r := bufio.NewReaderSize(bytes.NewReader(in), len(in)+16)
	want, err := http.ReadRequest(r)
	if err != nil {
		t.Fatalf("%q is %v", head, err)
	}
	if err := check(want, head); err != nil {
		t.Fatalf("%q is refused: %v", head, err)
	}
	if twoFramings(want, head) {
		t.Fatalf("%q has two framings", head)
	}
	if read := len(in) - r.Buffered(); read != len(head) {
		t.Fatalf("%q ends at %d", head, read)
	}
	if !reflect.DeepEqual(got, *want) {
		t.Fatalf("%q\nis %+v\nnot %+v", head, got, *want)
	}
	return true
}

// What clients send is read the short way.
func TestUsualRequestsArePlain(t *testing.T) {
	const end = "\r\n\r\n"
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: a.test" + end,
		"GET /a%20b?c=d&e=%zz HTTP/1.1\r\nHost: a.test:8443\r\nUser-Agent: curl/8.5.0\r\nAccept: */*" + end,
		"DELETE /x HTTP/1.1\r\nhost: A.test\r\nauthorization: Bearer a.b.c\r\nx_odd-name: 1\r\nX-Empty:\r\nX-Tight:v\r\nX-Twice: 1\r\nx-twice: 2" + end,
		"OPTIONS / HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: https://b.test\r\nAccess-Control-Request-Method: PUT" + end,
		"GET /favicon.ico HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"130\"\r\nUpgrade-Insecure-Requests: 1\r\n" +
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=b; __Host-c=d" + end,
		"HEAD / HTTP/1.1\r\nHost: a.test\r\nX-Long: " + strings.Repeat("l", 9000) + end,
	} {
		if !readAlike(t, []byte(head+"GET /next")) {
			t.Errorf("%q is read the long way", head)
		}
	}
}

// Who keeps the method of a request, as metrics and idle connections do, does
// not keep the head it was in, with its credentials.
func TestMethodIsNoPieceOfTheHead(t *testing.T) {
	r, ok := plainRequest([]byte("GET /path HTTP/1.1\r\nHost: a.test\r\nCookie: secret\r\n\r\n"))
	if !ok {
		t.Fatal("read the long way")
	}
	head := uintptr(unsafe.Pointer(unsafe.StringData(r.RequestURI))) - uintptr(len("GET ")) //nolint:gosec // looked at, never followed
	if uintptr(unsafe.Pointer(unsafe.StringData(r.Method))) == head {                       //nolint:gosec // as above
		t.Error("it is")
	}
}

// What could be read in another way somewhere is not (threats T42 to T47).
func TestT042_OddRequestsAreNotPlain(t *testing.T) {
	const line, host = "GET / HTTP/1.1\r\n", "Host: a.test\r\n"
	for _, head := range []string{
		line + "\r\n", line + host + host + "\r\n", line + "Host:\r\n\r\n", line + "Host: a b\r\n\r\n", line + "Host : a.test\r\n\r\n", line + " " + host + "\r\n",
		line + host + "Content-Length: 0\r\n\r\n", line + host + "content-length: 5\r\n\r\n", line + host + "Transfer-Encoding: chunked\r\n\r\n",
		line + host + "Transfer-Encoding: identity\r\n\r\n", line + host + "Trailer: X\r\n\r\n", line + host + "Expect: 100-continue\r\n\r\n",
		line + host + "Upgrade: websocket\r\n\r\n", line + host + "Connection: close\r\n\r\n", line + host + "Connection: keep-alive, x\r\n\r\n",
		line + host + "Connection: keep-alive\r\nConnection: close\r\n\r\n", line + host + "Pragma: no-cache\r\n\r\n",
		line + host + "X: a\r\n b\r\n\r\n", line + host + "X: a\r\n\tb\r\n\r\n", line + host + "X: a\nY: b\r\n\r\n", line + "Host: a.test\n\r\n", line + host + "\n",
		line + host + "X: a\rb\r\n\r\n", line + host + "X: a\r\r\n\r\n", line + host + "X: \x00\r\n\r\n", line + host + "X: \xff\r\n\r\n", line + host + "X:  a\r\n\r\n", line + host + "X: a \r\n\r\n",
		line + host + "X:\ta\r\n\r\n", line + host + "X y: a\r\n\r\n", line + host + "X\x00: a\r\n\r\n", line + host + "X: \x7f\r\n\r\n", line + host + ": a\r\n\r\n", line + host + "X\r\n\r\n",
		"GET / HTTP/1.0\r\n" + host + "\r\n", "GET / HTTP/1.2\r\n" + host + "\r\n", "GET / http/1.1\r\n" + host + "\r\n", "GET  / HTTP/1.1\r\n" + host + "\r\n", "GET / HTTP/1.1 \r\n" + host + "\r\n",
		"GET / HTTP/1.1\n" + host + "\r\n", "GET /a b HTTP/1.1\r\n" + host + "\r\n", "GET /\x7f HTTP/1.1\r\n" + host + "\r\n", "GET /\xff HTTP/1.1\r\n" + host + "\r\n", "GET /%zz HTTP/1.1\r\n" + host + "\r\n",
		"GET http://a.test/ HTTP/1.1\r\n" + host + "\r\n", "GET a HTTP/1.1\r\n" + host + "\r\n", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "CONNECT a.test:443 HTTP/1.1\r\n" + host + "\r\n",
		"POST / HTTP/1.1\r\n" + host + "\r\n", "get / HTTP/1.1\r\n" + host + "\r\n", "PRI * HTTP/2.0\r\n\r\n", " GET / HTTP/1.1\r\n" + host + "\r\n", "\r\nGET / HTTP/1.1\r\n" + host + "\r\n", "",
	} {
		if _, ok := plainRequest([]byte(head)); ok {
			t.Errorf("%q is read the short way", head)
		}
	}
}

func FuzzT042_PlainRequest(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's choice
	for range 400 {
		f.Add([]byte(oddRequest(r)))
	}
	usual := "GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nAccept: */*\r\nx_y: z\r\nAccept: a\r\n\r\nrest"
	f.Add([]byte(usual))
	for i := range len(usual) {
		for _, c := range []byte("\r\n\t :a\x00\x7f\xff") {
			f.Add(slices.Concat([]byte(usual[:i]), []byte{c}, []byte(usual[i+1:])))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) { readAlike(t, in) })
}
