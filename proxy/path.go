package proxy

import (
	"strings"
	"unicode/utf8"
)

// maxHardPath bounds the work on a path with more than one reading.
const maxHardPath = 8 << 10

// pathProblem says why a path is refused whatever the table says; "" is fine.
type pathProblem string

const (
	pathOK       pathProblem = ""
	pathTarget   pathProblem = "The request target is not an absolute path."
	pathRaw      pathProblem = "The path contains a raw backslash, number sign, control character or space."
	pathEncoding pathProblem = "The path contains an invalid percent-encoding."
	pathDots     pathProblem = "The path contains dot segments."
	pathControl  pathProblem = "The path contains encoded control characters."
	pathLayers   pathProblem = "The path is encoded too many times over."
	pathOverlong pathProblem = "The path contains overlong UTF-8."
	pathTooLong  pathProblem = "The path is too long."
)

// scan is what one pass over a raw path finds. A path that is neither hard nor
// mixed has one reading: itself.
type scan struct {
	problem pathProblem
	hard    bool // %, ; or // : several readings
	mixed   bool // upper case or bytes above ASCII: folding may change it
}

// scanPath judges the bytes of a path as sent. It allocates only when the path
// is percent-encoded.
func scanPath(path string) scan {
	var s scan
	if path == "" || path[0] != '/' {
		return scan{problem: pathTarget}
	}
	encoded, dots := false, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c <= ' ' || c == 0x7f || c == '\\' || c == '#' || c == '?':
			return scan{problem: pathRaw}
		case c == '%':
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return scan{problem: pathEncoding}
			}
			encoded, s.hard = true, true
		case c == ';':
			s.hard = true
		case c == '/':
			if i > 0 && path[i-1] == '/' {
				s.hard = true
			}
			if i+1 < len(path) && path[i+1] == '.' {
				dots = true
			}
		case c >= 'A' && c <= 'Z':
			s.mixed = true
		case c >= 0x80:
			s.mixed, encoded = true, true
		}
	}
	if s.hard && len(path) > maxHardPath {
		return scan{problem: pathTooLong}
	}
	if encoded || dots {
		s.problem = deepCheck(path)
	}
	return s
}

// deepCheck decodes until nothing changes and looks at what is left: a dot
// segment or control byte that is there under fewer decodings is still there
// under more, because decoding never joins two segments.
func deepCheck(path string) pathProblem {
	deep := path
	for layer := 0; ; layer++ {
		next := unescape(deep)
		if next == deep {
			break
		}
		if layer == maxLayers {
			return pathLayers
		}
		deep = next
	}
	for i := 0; i < len(deep); i++ {
		if c := deep[i]; c < ' ' || c == 0x7f {
			return pathControl
		}
	}
	if overlong(deep) {
		return pathOverlong
	}
	if dotSegment(deep) {
		return pathDots
	}
	return pathOK
}

// maxLayers is how often a path may be encoded over; real ones are twice.
const maxLayers = 8

// dotSegment looks for "." and ".." between slashes of either kind, with or
// without something behind them that ends a segment for whoever decoded it.
func dotSegment(s string) bool {
	start, end := 0, -1
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == '/' || s[i] == '\\':
			if end < 0 {
				end = i
			}
			if seg := s[start:end]; seg == "." || seg == ".." {
				return true
			}
			start, end = i+1, -1
		case end < 0 && (s[i] == ';' || s[i] == '?' || s[i] == '#'):
			end = i
		}
	}
	return false
}

// overlong finds ASCII written in two, three or four bytes, which no encoder
// writes and lenient decoders read (RFC 3629 section 10).
func overlong(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		c, d := s[i], s[i+1]
		if d&0xC0 != 0x80 {
			continue
		}
		switch {
		case c == 0xC0 || c == 0xC1,
			c == 0xE0 && d <= 0x81 && i+2 < len(s) && s[i+2]&0xC0 == 0x80,
			c == 0xF0 && d == 0x80 && i+3 < len(s) && s[i+2] <= 0x81 && s[i+2]&0xC0 == 0x80 && s[i+3]&0xC0 == 0x80:
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}

// unescape decodes every valid %XX once and leaves the rest alone, as lenient
// servers do.
func unescape(s string) string {
	at := strings.IndexByte(s, '%')
	if at < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	b.WriteString(s[:at])
	for i := at; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// stripParams removes ;parameters from every segment (RFC 3986 section 3.3).
func stripParams(s string) string {
	if strings.IndexByte(s, ';') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	skip := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ';':
			skip = true
		case '/':
			skip = false
		}
		if !skip {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func mergeSlashes(s string) string {
	if !strings.Contains(s, "//") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '/' || i == 0 || s[i-1] != '/' {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// foldPath folds letters the way the laxest server would: ASCII, and the
// characters whose other case is ASCII (the Kelvin sign, the long s).
func foldPath(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return strings.ToLower(strings.ToUpper(s))
		}
	}
	return strings.ToLower(s)
}

// readings is the set of strings a path may be taken for: as sent, decoded
// once or twice, \ as /, without ;parameters, cut at a decoded ? or #, with //
// merged, and every combination in either order. Folding is left to the
// lookup.
func readings(path string) []string {
	var set []string
	add := func(list []string, s string) []string {
		for _, have := range list {
			if have == s {
				return list
			}
		}
		return append(list, s)
	}
	level := []string{path}
	for range 3 {
		var forms []string
		for _, s := range level {
			slashed := strings.ReplaceAll(s, `\`, "/")
			for _, v := range [...]string{s, stripParams(s), slashed, stripParams(slashed), strings.ReplaceAll(stripParams(s), `\`, "/")} {
				forms = add(forms, v)
				if cut := strings.IndexAny(v, "?#"); cut >= 0 {
					forms = add(forms, v[:cut])
				}
			}
		}
		var decoded []string
		for _, s := range forms {
			set = add(set, s)
			set = add(set, mergeSlashes(s))
			decoded = add(decoded, unescape(s))
		}
		level = decoded
	}
	return set
}
