package authn

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The two cookies. The prefix makes browsers insist on Secure, Path=/ and no
// Domain (RFC 6265bis section 4.1.3.2), so no sibling host can set them.
const (
	accessCookie  = "__Host-gatehouse"
	refreshCookie = "__Host-gatehouse-refresh"
)

var errTossed = errors.New("two different copies of one cookie")

// cookieValue returns the value of a cookie, "" when absent. Two different
// values are an error, not a guess (threat T65). The header is read as bytes:
// nothing is decoded.
func cookieValue(h http.Header, name string) (string, error) {
	found, seen := "", false
	for _, line := range h["Cookie"] {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			key, value, ok := strings.Cut(part, "=")
			if !ok || strings.Trim(key, " \t") != name {
				continue
			}
			value = strings.Trim(value, " \t")
			if seen && value != found {
				return "", errTossed
			}
			found, seen = value, true
		}
	}
	return found, nil
}

// grantCookies are the Set-Cookie values that deliver a grant.
func grantCookies(g *Grant) []string {
	return []string{setCookie(accessCookie, g.Access, g.AccessExpires), setCookie(refreshCookie, g.Refresh.Reveal(), g.RefreshExpires)}
}

// clearedCookies are the Set-Cookie values that remove both.
func clearedCookies() []string {
	return []string{setCookie(accessCookie, "", 0), setCookie(refreshCookie, "", 0)}
}

func setCookie(name, value string, life time.Duration) string {
	seconds := max(int64(life/time.Second), 0)
	return name + "=" + value + "; Path=/; Max-Age=" + strconv.FormatInt(seconds, 10) + "; Secure; HttpOnly; SameSite=Lax"
}
