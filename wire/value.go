package wire

import "golang.org/x/net/http/httpguts"

// ValidValue reports whether s may be the value of a field (RFC 9110 section
// 5.5): it is httpguts.ValidHeaderFieldValue, and soon done with usual values.
func ValidValue(s string) bool { return Visible(s) || httpguts.ValidHeaderFieldValue(s) }

// Visible reports that s is of visible ASCII and spaces alone. It looks at eight
// bytes at once: one below a space borrows when a space is taken from it, and
// one above a tilde has its high bit, or gets it when one is added.
func Visible(s string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (x|(x-' '*each)|(x+each))&high != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
