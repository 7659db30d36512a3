package sqlstore

import (
	"errors"
	"testing"
)

// What is not a list is an error: an entry that is overlooked would be a token
// that is good again.
func TestBrokenRevocationLines(t *testing.T) {
	if got, err := revocationLines("1 2 0 0 9 1 a\n2 1 0 0 9 3 b c"); err != nil || len(got) != 2 || got[1].Key != "b c" {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, text := range []string{
		"1", "1 2 0 0 9 ", "1 2 0 0 9 x a", "1 2 0 0 9 2 a", "1 2 0 0 9 -1 a", "1 2 0 0 9 1 ab", "1 256 0 0 9 1 a", "1 -1 0 0 9 1 a",
		"1 2 0 0 9 1 a\nx", "\n", "99999999999999999999 2 0 0 9 1 a", "1 2 0 0 9 1 a2 1 0 0 9 1 b",
	} {
		if got, err := revocationLines(text); !errors.Is(err, errBadLine) {
			t.Errorf("%q gave %+v, %v", text, got, err)
		}
	}
}
