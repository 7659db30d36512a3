package authn

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

var errEmail = errors.New("not an email address")

// Canonical returns an address as it is shown and the one key under which it
// is looked up, limited and unique (threat T103): white space around it cut,
// NFKC, lower case, the domain in its ASCII form (IDNA) without a final dot. Addresses
// over 254 bytes, with control bytes, spaces, or more or less than one @ are
// refused (RFC 5321 section 4.5.3.1; CVE-2026-40574).
func Canonical(email string) (display, key string, err error) {
	if len(email) > 1024 || !utf8.ValidString(email) {
		return "", "", errEmail
	}
	display = norm.NFC.String(strings.TrimFunc(email, unicode.IsSpace))
	local, domain, ok := strings.Cut(norm.NFKC.String(display), "@")
	if !ok || local == "" || len(local) > 64 || strings.Contains(domain, "@") || !plainLocal(local) {
		return "", "", errEmail
	}
	domain, err = idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil || !plainDomain(domain) {
		return "", "", errEmail
	}
	key = fold(local) + "@" + strings.ToLower(domain)
	if len(key) > 254 || len(display) > 254 {
		return "", "", errEmail
	}
	return display, key, nil
}

// fold makes one text of all that differ by case alone. Some letters share their
// capital with another one, as both small sigmas do: by way of it they meet.
func fold(s string) string { return norm.NFKC.String(strings.ToLower(strings.ToUpper(s))) }

// plainLocal accepts dot-atoms and letters beyond ASCII; never what needs
// quoting, nor what would act in a header or a list; some apps part theirs with "|".
func plainLocal(s string) bool {
	for _, c := range s {
		if unicode.IsControl(c) || unicode.IsSpace(c) || !unicode.IsGraphic(c) || strings.ContainsRune(`"(),:;<>[\]@|`, c) {
			return false
		}
	}
	return !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..")
}

func plainDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return strings.Contains(s, ".") || s == "localhost"
}

// domainOf returns the domain of a canonical key.
func domainOf(key string) string { return key[strings.LastIndexByte(key, '@')+1:] }
