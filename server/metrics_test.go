package server

import (
	"testing"
	"unsafe"
)

// A label is kept for good, and what it was found in must not be kept with it.
func TestMethodLabelIsNoPieceOfTheRequest(t *testing.T) {
	for _, m := range []string{"GET", "PROPFIND"} {
		line := m + " / HTTP/1.1"
		if got := methodLabel(line[:len(m)]); got != m || unsafe.StringData(got) == unsafe.StringData(line) {
			t.Errorf("%s is %q, and part of the line", m, got)
		}
	}
	if methodLabel("SECRET") != "other" {
		t.Error("any token is a label")
	}
}
