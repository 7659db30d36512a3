package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// fidelityCase is one odd but legal exchange: what the client sends, and what
// the app answers.
type fidelityCase struct {
	method, target string
	header         [][2]string // in order; no framing
	body           string
	framing        string // of the request: "none", "length", "chunked"
	expect         bool   // Expect: 100-continue, and the body only after it
	trailer        bool   // the client sends a trailer, which ends at the gateway

	status  int
	respond [][2]string // the app's header lines, in order; no framing
	answer  string      // the app's body
	ends    string      // of the answer: "length", "chunked", "close", "none"
	pieces  []int       // where chunks end
	after   [][2]string // the app's trailers
	interim string      // interim answers in front
	cut     bool        // the app stops in the middle
	early   bool        // the app answers when it has the head
}

// fidelityGen makes cases; the same seed makes the same ones.
type fidelityGen struct{ *rand.Rand }

func (g fidelityGen) pick(options ...string) string { return options[g.IntN(len(options))] }

func (g fidelityGen) once(in int) bool { return g.IntN(in) == 0 }

// text is n bytes out of an alphabet.
func (g fidelityGen) text(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	letters  = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	pathish  = letters + "-._~!$&'()*+,;=:@|^\"<>{}[]`\xe9"
	queryish = pathish + "/?%#"
)

func (g fidelityGen) target() string {
	var b strings.Builder
	for range 1 + g.IntN(5) {
		b.WriteString(g.pick("/", "/", "/", "//", "/x") + "s" + g.text(pathish, g.IntN(8)))
		if g.once(2) {
			b.WriteString(g.pick("%20", "%23", "%3F", "%C3%A9", "%F6", "%2B", "%7e", "%7E", "%2f", "%2F", "%5B", "%25", "%2525", "%3b", "%41", "%E2%82%AC", ";v=1", "@scope%2fname") + "e")
		}
	}
	if g.once(4) {
		b.WriteString("/")
	}
	switch g.IntN(5) {
	case 0:
		b.WriteString("?")
	case 1, 2:
		b.WriteString("?" + strings.ReplaceAll(g.text(queryish, g.IntN(60)), "#", "%23"))
	case 3:
		b.WriteString("?" + g.pick("a=1&a=2&a", "&&=&", "q=%zz%", "a;b;c", "x=%2e%2e%2f", "u=http://h/?a=b", "e=\xc3\xa9", "a[]=1&a[]=2", "\"<>\"", "a+b=c d"[:5], strings.Repeat("long&", 1000)))
	}
	return b.String()
}

// value is a legal field value: no control bytes but the tab, nothing trimmed.
func (g fidelityGen) value() string {
	return g.pick("", "1", "a\tb", "a  b", "\xe9t\xe9", "gr\xc3\xbc\xc3\x9fe", `"quoted, \"comma\""`, "a, b,, c", "W/\"x\", \"y\"", "%00%0d%0a", "=?utf-8?B?w6k=?=", ";;;", ":", "a:b: c", "\\", "*/*;q=0.1", "\x80\xff",
		g.text(letters+" ,;=\"()<>@[]{}?/\\\t~!#$%&'*+^`|", 1+g.IntN(40))+"x", strings.Repeat("v", 1+g.IntN(3000)))
}

func (g fidelityGen) request(c *fidelityCase) {
	c.method = g.pick("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "MKCOL", "LOCK", "QUERY", "M-SEARCH", "purge")
	c.target = g.target()
	add := func(name, value string) { c.header = append(c.header, [2]string{name, value}) }
	names := []string{"accept", "accept-language", "if-none-match", "if-match", "range", "x-rep", "x-rep", "x-rep", "x-odd", "referer", "user-agent", "x!#$%&'*+^`|~-y", "content-language", "content-encoding", "content-type", "depth", "authorization", "x-csrf-token", "priority", "dnt", "x", "te-x", "via-x", "cache-control", "pragma", "from", "origin"}
	for range g.IntN(8) {
		switch name := names[g.IntN(len(names))]; name {
		case "authorization":
			if first(c.header, name) != "" {
				continue // there is one at most (RFC 9110 section 11.6.2)
			}
			add(name, g.pick("Basic YTpi", "Digest username=\"a\"", "Token x", "Hawk id=\"1\""))
		case "range":
			add(name, g.pick("bytes=0-0", "bytes=5-,-3", "bytes=0-4, 6-7", "items=1-2"))
		default:
			add(name, g.value())
		}
	}
	for range g.IntN(3) {
		add("cookie", g.cookies())
	}
	g.requestBody(c)
}

// cookies are foreign ones; ours among them are cut out.
func (g fidelityGen) cookies() string {
	var pairs []string
	for range 1 + g.IntN(4) {
		pairs = append(pairs, g.pick("a=b", "a=b=c", "q=\"x y\"", "$Version=1", "nameless", "=v", "e=", "u=\xc3\xa9", "j={\"a\":1,\"b\":[2]}", "p=%7B%22a%22%3A1%7D", "gatehouse=1", "__Host-other=1", "session="+g.text(letters+"+/=.", 30), "a=1"))
	}
	return strings.Join(pairs, g.pick("; ", "; ", ";"))
}

func (g fidelityGen) requestBody(c *fidelityCase) {
	c.framing = "none"
	withBody := slices.Contains([]string{"POST", "PUT", "PATCH", "QUERY", "PROPFIND", "REPORT", "LOCK"}, c.method)
	if !withBody && !g.once(10) || c.method == "HEAD" {
		return
	}
	c.framing = g.pick("none", "length", "length", "chunked", "chunked")
	if c.framing == "none" {
		return
	}
	c.body = g.bytes()
	c.expect = c.body != "" && g.once(8)
	c.trailer = c.framing == "chunked" && g.once(6)
}

// bytes is a body, which may be empty and holds every byte there is.
func (g fidelityGen) bytes() string {
	n := []int{0, 1, 2, 100, 4095, 4096, 4097, 20000}[g.IntN(8)]
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.IntN(256))
	}
	return string(b)
}

func (g fidelityGen) response(c *fidelityCase) {
	codes := []int{200, 200, 200, 201, 202, 203, 204, 205, 206, 207, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 412, 416, 418, 422, 423, 426, 428, 451, 500, 501, 503, 507, 511, 599, 600, 999}
	c.status = codes[g.IntN(len(codes))]
	add := func(name, value string) { c.respond = append(c.respond, [2]string{name, value}) }
	names := []string{"x-one", "x-one", "etag", "last-modified", "vary", "link", "www-authenticate", "cache-control", "x-odd", "content-language", "content-disposition", "server", "age", "expires", "x!#$%&'*+^`|~-y", "allow", "dav", "x_under", "x.dot", "content-security-policy", "warning"}
	for range g.IntN(8) {
		switch name := names[g.IntN(len(names))]; name {
		case "www-authenticate":
			add(name, g.pick("Basic realm=\"a, b\"", "Digest nonce=\"x\"", "Bearer"))
		default:
			add(name, g.value())
		}
	}
	for range g.IntN(4) {
		add("set-cookie", g.pick("a=b; Path=/; HttpOnly", "c=\"d, e\"; expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=2;path=/x;Secure", "n", "=x", "u=\xc3\xa9", "a=b; Path=/", "z=1; Domain=other.test"))
	}
	if c.status == 206 {
		add("content-range", "bytes 0-9/100")
	}
	if g.once(2) {
		add("content-type", g.pick("text/plain", "multipart/byteranges; boundary=x", "application/octet-stream", ""))
	}
	if g.once(5) {
		add("content-encoding", g.pick("gzip", "br", "identity", "x"))
	}
	if g.once(6) {
		add("date", "Thu, 01 Jan 1970 00:00:00 GMT")
	}
	g.responseBody(c)
}

func (g fidelityGen) responseBody(c *fidelityCase) {
	c.answer, c.ends = g.bytes(), g.pick("length", "length", "chunked", "chunked", "close")
	if g.once(6) {
		c.interim = g.pick("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
	}
	switch {
	case c.status == 204 || c.status == 304:
		c.answer, c.ends = "", "none"
		if c.status == 304 && g.once(2) {
			c.respond = append(c.respond, [2]string{"content-length", "123"})
		}
		return
	case c.method == "HEAD":
		c.answer, c.ends = "", g.pick("length", "chunked", "close")
		return
	}
	if c.ends == "chunked" {
		for at := 0; at < len(c.answer); {
			at = min(at+1+g.IntN(5000), len(c.answer))
			c.pieces = append(c.pieces, at)
		}
		if g.once(3) {
			c.after = [][2]string{{"x-sum", g.pick("1", "a b", "\xe9")}, {"set-cookie", "late=1"}, {"x-more", "2"}}
		}
	}
	c.cut = c.answer != "" && c.ends != "close" && len(c.after) == 0 && g.once(12)
	c.early = !c.cut && c.ends != "close" && c.framing != "none" && c.body != "" && !c.expect && g.once(8)
}

// fidelityCases makes n of them.
func fidelityCases(seed uint64, n int) []fidelityCase {
	g := fidelityGen{rand.New(rand.NewPCG(seed, seed))}
	out := make([]fidelityCase, n)
	for i := range out {
		g.request(&out[i])
		g.response(&out[i])
	}
	return out
}

// wire is the app's answer in bytes, and whether its connection ends with it.
func (c *fidelityCase) wire() (text string, ends bool) {
	var b strings.Builder
	b.WriteString(c.interim + "HTTP/1.1 " + strconv.Itoa(c.status) + " As Sent\r\n")
	for _, l := range c.respond {
		b.WriteString(l[0] + ": " + l[1] + "\r\n")
	}
	length := len(c.answer)
	if c.method == http.MethodHead {
		length = 321
	}
	switch c.ends {
	case "length":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", length)
		if c.cut {
			return b.String() + c.answer[:len(c.answer)/2], true
		}
		b.WriteString(c.answer)
	case "chunked":
		c.writeChunks(&b)
	default:
		b.WriteString("\r\n" + c.answer)
	}
	return b.String(), c.cut || c.ends == "close"
}

func (c *fidelityCase) writeChunks(b *strings.Builder) {
	if len(c.after) > 0 {
		b.WriteString("Trailer: X-Sum, Set-Cookie, X-More\r\n")
	}
	b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	if c.method == http.MethodHead {
		return
	}
	at := 0
	for _, end := range c.pieces {
		fmt.Fprintf(b, "%X;x=y\r\n%s\r\n", end-at, c.answer[at:end])
		at = end
	}
	if c.cut {
		return
	}
	b.WriteString("0\r\n")
	for _, l := range c.after {
		b.WriteString(l[0] + ": " + l[1] + "\r\n")
	}
	b.WriteString("\r\n")
}

// byName sorts lines by name and keeps the order of lines with one name, which
// is what HTTP says matters (RFC 9110 section 5.3).
func byName(lines [][2]string) [][2]string {
	out := slices.Clone(lines)
	for i := range out {
		out[i] = [2]string{strings.ToLower(out[i][0]), strings.Trim(out[i][1], " \t")}
	}
	slices.SortStableFunc(out, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return out
}
