package authn

import (
	"net/http"
	"strings"

	"gatehouse/identity"
)

// bearer returns what the Authorization header says behind Bearer. present is
// false when there is none or it is of another scheme; the error says that the
// header has no single meaning (threat T15): more than one line, or a scheme
// that only looks like it. Whether the rest is a token at all is for token68 to
// say, of those that prove nothing.
func bearer(h http.Header) (token string, present bool, err error) {
	lines := h["Authorization"]
	if len(lines) == 0 {
		return "", false, nil
	}
	if len(lines) > 1 {
		return "", false, identity.ErrConflict
	}
	scheme, rest, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		if len(scheme) > 6 && strings.EqualFold(scheme[:6], "bearer") && !isTokenByte(scheme[6]) {
			return "", false, identity.ErrConflict // "Bearer\tx", "Bearer,x"
		}
		return "", false, nil
	}
	return rest, true, nil
}

// token68 reports whether s is one (RFC 6750 section 2.1): with a space in it,
// say, it has no single meaning.
func token68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= '-' && c <= '/', c == '_', c == '~', c == '+':
		return true
	}
	return false
}
