package authn

import (
	"strings"
	"testing"
	"unicode"
)

// Whatever a letter, its address is one account in every spelling of its case.
func TestCanonicalOfEveryLetter(t *testing.T) {
	for c := rune(0); c <= unicode.MaxRune; c++ {
		display, key, err := Canonical("a" + string(c) + "b@c.de")
		if err != nil {
			continue
		}
		for _, again := range []string{display, key, strings.ToUpper(display), strings.ToLower(display), strings.ToUpper(key)} {
			if _, k, err := Canonical(again); err != nil || k != key {
				t.Errorf("%U: %q is %q, but %q is %q, %v", c, display, key, again, k, err)
			}
		}
	}
}
