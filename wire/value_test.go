package wire

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// Every byte is judged as one by one, wherever it stands among usual ones.
func TestValidValue(t *testing.T) {
	const usual = "abcdefgh ijklmnop~"
	for c := range 256 {
		for at := range len(usual) {
			s := usual[:at] + string([]byte{byte(c)}) + usual[at:]
			if got, want := Visible(s), c >= ' ' && c <= '~'; got != want {
				t.Fatalf("Visible(%q) = %v", s, got)
			}
			if got, want := ValidValue(s), httpguts.ValidHeaderFieldValue(s); got != want {
				t.Fatalf("ValidValue(%q) = %v, want %v", s, got, want)
			}
			two := s + string([]byte{byte(c) ^ 0x80}) + usual
			if got, want := ValidValue(two), httpguts.ValidHeaderFieldValue(two); got != want {
				t.Fatalf("ValidValue(%q) = %v, want %v", two, got, want)
			}
		}
	}
	for n := range len(usual) + 1 {
		if !Visible(usual[:n]) {
			t.Errorf("the first %d bytes of %q are not visible", n, usual)
		}
	}
}

func BenchmarkPlainFields(b *testing.B) {
	lines := "Host: app.test:8443\r\nAuthorization: Bearer " + strings.Repeat("eyJhbGci.", 75) + "\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\nAccept: */*\r\n\r\n"
	b.ReportAllocs()
	var h http.Header
	for b.Loop() {
		h, _ = PlainFields(lines)
	}
	if len(h) != 4 {
		b.Fatal(h)
	}
}
