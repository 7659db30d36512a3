package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/wire"
)

// readAlike fails the test if a head that is read the short way would not be
// taken the long way, or be another answer there.
func readAlike(t *testing.T, in []byte) (plain bool) {
	t.Helper()
	head := in[:wire.HeadEnd(in, 0)]
	got, plain := plainResponse(head)
	if !plain {
		return false
	}
	if err := checkHead(head); err != nil {
		t.Fatalf("%q is refused: %v", head, err)
	}
	r := bufio.NewReaderSize(bytes.NewReader(in), len(in)+16)
	want, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("%q is %v", head, err)
	}
	if misframed(want) {
		t.Fatalf("%q is misframed", head)
	}
	ours := bufio.NewReaderSize(bytes.NewReader(in[len(head):]), len(in)+16)
	gotBody, gotErr := io.ReadAll(&plainBody{ours, got.ContentLength})
	wantBody, wantErr := io.ReadAll(want.Body)
	gotRest, _ := io.ReadAll(ours)
	wantRest, _ := io.ReadAll(r)
	if !bytes.Equal(gotBody, wantBody) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) || !bytes.Equal(gotRest, wantRest) {
		t.Fatalf("%q\nhas the body %q %v, then %q\nnot %q %v, then %q", in, gotBody, gotErr, gotRest, wantBody, wantErr, wantRest)
	}
	want.Body, want.Request = got.Body, nil
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q\nis %+v\nnot %+v", head, got, want)
	}
	return true
}

// What apps answer is read the short way.
func TestUsualAnswersArePlain(t *testing.T) {
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\nServer: nginx/1.22.1\r\nDate: Mon, 30 Nov 2026 15:00:00 GMT\r\nContent-Type: text/html\r\ncontent-length: 0\r\nConnection: keep-alive\r\nETag: W/\"a\"\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d; Path=/\r\nX-Empty:\r\nContent-Length: 12345\r\n\r\n",
		"HTTP/1.1 500 Internal  Server Error\r\nContent-Length: 0003\r\n\r\n",
	} {
		if !readAlike(t, []byte(head+"hello, and more")) {
			t.Errorf("%q is read the long way", head)
		}
	}
}

// What could be read in another way somewhere is not (threat T53).
func TestT053_OddAnswersAreNotPlain(t *testing.T) {
	const line, length = "HTTP/1.1 200 OK\r\n", "Content-Length: 5\r\n"
	for _, head := range []string{
		line + "\r\n", line + length + length + "\r\n", line + "Content-Length: 5, 5\r\n\r\n", line + "Content-Length: +5\r\n\r\n", line + "Content-Length: -5\r\n\r\n", line + "Content-Length:\r\n\r\n",
		line + "Content-Length: 0x5\r\n\r\n", line + "Content-Length: 9999999999999999999\r\n\r\n", line + length + "Transfer-Encoding: chunked\r\n\r\n", line + "Transfer-Encoding: chunked\r\n\r\n",
		line + length + "Trailer: X\r\n\r\n", line + length + "Connection: close\r\n\r\n", line + length + "Upgrade: h2c\r\n\r\n", line + length + "Pragma: no-cache\r\n\r\n",
		line + length + "X: a\r\n b\r\n\r\n", line + length + "X: a\nY: b\r\n\r\n", line + length + "X : a\r\n\r\n", line + length + "X: a\rb\r\n\r\n", line + length + "X: \x01\r\n\r\n", line + length + "X: \xe9\r\n\r\n", line + length + "\n",
		"HTTP/1.0 200 OK\r\n" + length + "\r\n", "HTTP/1.1 200\r\n" + length + "\r\n", "HTTP/1.1 200 \r\n" + length + "\r\n", "HTTP/1.1 200 OK\n" + length + "\r\n", "HTTP/1.1  200 OK\r\n" + length + "\r\n", "HTTP/1.1 20 OK\r\n" + length + "\r\n",
		"HTTP/1.1 100 Continue\r\n" + length + "\r\n", "HTTP/1.1 101 Switching\r\n" + length + "\r\n", "HTTP/1.1 204 No Content\r\n" + length + "\r\n", "HTTP/1.1 304 Not Modified\r\n" + length + "\r\n", "HTTP/1.1 600 Odd\r\n" + length + "\r\n",
		"HTTP/1.1 +20 OK\r\n" + length + "\r\n", "HTTP/1.1 2000 OK\r\n" + length + "\r\n", "HTTP/1.1 200 O\x00K\r\n" + length + "\r\n", "HTTP/2.0 200 OK\r\n" + length + "\r\n", "http/1.1 200 OK\r\n" + length + "\r\n", "",
	} {
		if _, ok := plainResponse([]byte(head)); ok {
			t.Errorf("%q is read the short way", head)
		}
	}
}

// A body that was cut short is not taken for a whole one, in whatever pieces it
// is read (threat T56).
func TestT056_APlainBodyEndsWhereItWasSaidTo(t *testing.T) {
	for _, c := range []struct {
		sent string
		want error
		left int
	}{{"hello", io.EOF, 0}, {"hello, and more", io.EOF, len(", and more")}, {"hell", io.ErrUnexpectedEOF, 0}, {"", io.ErrUnexpectedEOF, 0}} {
		for size := 1; size < 8; size++ {
			r := bufio.NewReader(strings.NewReader(c.sent))
			b := &plainBody{r, 5}
			var got []byte
			var err error
			for p := make([]byte, size); err == nil; {
				var n int
				n, err = b.Read(p)
				got = append(got, p[:n]...)
			}
			if err != c.want || string(got) != c.sent[:min(len(c.sent), 5)] {
				t.Errorf("%q, %d at a time: %q, %v", c.sent, size, got, err)
			}
			if rest, _ := io.ReadAll(r); len(rest) != c.left {
				t.Errorf("%q, %d at a time: %q is left", c.sent, size, rest)
			}
		}
	}
}

func FuzzT053_PlainResponse(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(1, 2))} //nolint:gosec // a test's choice
	for range 400 {
		if s := g.sample(); len(s.answer) < 4<<10 {
			f.Add([]byte(s.answer))
		}
	}
	usual := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nSet-Cookie: a=b\r\nx_y: z\r\nSet-Cookie: c=d\r\n\r\nhello"
	f.Add([]byte(usual))
	for i := range len(usual) {
		for _, c := range []byte("\r\n\t :a\x00\x7f\xff") {
			f.Add(slices.Concat([]byte(usual[:i]), []byte{c}, []byte(usual[i+1:])))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) { readAlike(t, in) })
}
