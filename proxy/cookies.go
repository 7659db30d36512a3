package proxy

import "strings"

// cutCookies removes our own cookies from Cookie lines and leaves every other
// byte as it came (threats T60, T61). It returns the given slice when there is
// nothing to cut.
func cutCookies(lines []string) []string {
	for i, line := range lines {
		if cut := cutCookie(line); cut != line {
			out := append([]string(nil), lines[:i]...)
			for _, l := range lines[i:] {
				if l = cutCookie(l); l != "" {
					out = append(out, l)
				}
			}
			return out
		}
	}
	return lines
}

// cutCookie works on one line. A pair goes together with the separator in
// front of it, the first with the one behind.
func cutCookie(line string) string {
	if !mayHoldOurs(line) {
		return line
	}
	var b strings.Builder
	b.Grow(len(line))
	first := true
	for start := 0; start <= len(line); {
		end := strings.IndexByte(line[start:], ';')
		if end < 0 {
			end = len(line)
		} else {
			end += start
		}
		pair := line[start:end]
		if !oursInRequest(pair) {
			if first {
				if start > 0 { // everything in front was ours
					pair = strings.TrimLeft(pair, " \t")
				}
			} else {
				b.WriteByte(';')
			}
			b.WriteString(pair)
			first = false
		}
		start = end + 1
	}
	return b.String()
}

// mayHoldOurs is a cheap filter; "atehouse" has no other case in most traffic.
func mayHoldOurs(line string) bool {
	for i := 0; i+len(cookiePrefix+cookieAccess) <= len(line); i++ {
		if line[i] == '_' && strings.EqualFold(line[i:i+len(cookiePrefix+cookieAccess)], cookiePrefix+cookieAccess) {
			return true
		}
	}
	return false
}

func oursInRequest(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	return strings.EqualFold(name, cookiePrefix+cookieAccess) || strings.EqualFold(name, cookiePrefix+cookieRefresh)
}

// oursInResponse reports whether a Set-Cookie would set or clear a cookie with
// one of our names, in any case, under any name prefix (RFC 6265bis section
// 4.1.3), or through the nameless form that browsers serialise alike.
func oursInResponse(setCookie string) bool {
	name, _, _ := strings.Cut(setCookie, ";")
	name = strings.Trim(name, " \t\"=")
	name, _, _ = strings.Cut(name, "=")
	name = strings.Map(func(r rune) rune { // old browsers skip what new ones refuse
		if r < ' ' || r > 0x7e || r == '"' {
			return -1
		}
		return r
	}, name)
	name = strings.ToLower(strings.Trim(name, " "))
	for {
		cut := name
		for _, p := range [...]string{"__host-http-", "__hosthttp-", "__host-", "__secure-", "__http-"} {
			cut = strings.TrimPrefix(cut, p)
		}
		if cut == name {
			break
		}
		name = cut
	}
	return name == cookieAccess || name == cookieRefresh
}
