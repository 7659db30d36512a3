package authn

import (
	"net/url"
	"strings"
)

// safeReturn returns rd if it is a path on this host that may follow a sign-in,
// else "/" (threat T73): it begins with one slash, holds no backslash and no
// control byte, means the same to a URL parser, and is no sign-in page again.
func safeReturn(rd, prefix string) string {
	if len(rd) == 0 || len(rd) > 4096 || rd[0] != '/' {
		return "/"
	}
	for i := range len(rd) {
		if c := rd[i]; c < 0x20 || c == 0x7f || c == '\\' {
			return "/"
		}
	}
	if len(rd) > 1 && rd[1] == '/' {
		return "/"
	}
	u, err := url.Parse(rd)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	for _, page := range []string{"/login", "/logout", "/register"} {
		if u.Path == prefix+page {
			return "/"
		}
	}
	return rd
}
