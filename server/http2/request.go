package http2

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// malformed says why a header block is no request (RFC 9113 section 8.1.1).
type malformed string

// Error implements error.
func (m malformed) Error() string { return "http2: " + string(m) }

// pseudo are the pseudo-header fields of a request.
type pseudo struct{ method, scheme, authority, path string }

// newRequest makes a header block a request. An error is always malformed. A
// request that is to be answered with a status instead has that returned.
func (c *conn) newRequest(st *stream, f *h2.MetaHeadersFrame) (status int, err error) {
	st.w.head = f.PseudoValue("method") == http.MethodHead
	if f.Truncated { // which it names may be what was too long
		return http.StatusRequestHeaderFieldsTooLarge, nil
	}
	p, err := readPseudo(f.PseudoFields())
	if err != nil {
		return 0, err
	}
	header := readFields(f.RegularFields())
	if p.authority, err = authority(p.authority, header); err != nil {
		return 0, err
	}
	target, err := p.target()
	if err != nil {
		return 0, err
	}
	r := blank.WithContext(&st.ctx)
	r.Method, r.URL, r.RequestURI, r.Host = p.method, target, p.path, p.authority
	if p.method == http.MethodConnect {
		r.RequestURI = p.authority
	}
	r.Proto, r.ProtoMajor = "HTTP/2.0", 2
	r.Header, r.RemoteAddr = header, c.remote
	if p.scheme == "https" {
		r.TLS = c.tls
	}
	joinCookies(header)
	r.Trailer = announced(header)
	r.Body = http.NoBody
	if !f.StreamEnded() {
		if r.ContentLength, err = length(header); err != nil {
			return 0, err
		}
		st.openBody(r)
	} else if n, err := length(header); err != nil || n > 0 {
		return 0, malformed("a length without a body")
	}
	st.request = r
	if hopByHop(header) {
		return http.StatusBadRequest, nil
	}
	return 0, nil
}

// blank is what a request is made of by one allocation.
var blank http.Request

// readPseudo wants each field once and no others; that they come first and that
// none comes twice was seen to by who read the block.
func readPseudo(fields []hpack.HeaderField) (p pseudo, err error) {
	for _, f := range fields {
		switch f.Name {
		case ":method":
			p.method = f.Value
		case ":scheme":
			p.scheme = f.Value
		case ":authority":
			p.authority = f.Value
		case ":path":
			p.path = f.Value
		default:
			return p, malformed("a pseudo-header field that was not agreed on") // :protocol, of RFC 8441
		}
	}
	switch {
	case !httpguts.ValidHeaderFieldName(p.method): // a token, as names are
		return p, malformed("no method")
	case p.method == http.MethodConnect:
		if p.path != "" || p.scheme != "" || p.authority == "" {
			return p, malformed("CONNECT that names more than an authority")
		}
	case p.path == "", p.scheme != "https" && p.scheme != "http":
		return p, malformed("no path, or no scheme known here")
	}
	return p, nil
}

// readFields gives all values one room.
func readFields(fields []hpack.HeaderField) http.Header {
	header := make(http.Header, len(fields))
	room := make([]string, len(fields))
	for i, f := range fields {
		name := canonicalName(f.Name)
		if old := header[name]; len(old) > 0 {
			header[name] = append(old, f.Value)
			continue
		}
		room[i] = f.Value
		header[name] = room[i : i+1 : i+1]
	}
	return header
}

// authority is that of the request, or its Host where there is none. A Host
// beside it changes nothing (RFC 9113 section 8.3.1).
func authority(named string, header http.Header) (string, error) {
	hosts := header["Host"]
	if len(hosts) > 0 {
		delete(header, "Host")
	}
	switch {
	case len(hosts) > 1:
		return "", malformed("two hosts")
	case len(hosts) == 1 && named == "":
		named = hosts[0]
	}
	if strings.Contains(named, "@") || named != "" && !httpguts.ValidHostHeader(named) {
		return "", malformed("not an authority")
	}
	return named, nil
}

// target is what URL of a request is to net/http.
func (p *pseudo) target() (*url.URL, error) {
	if p.method == http.MethodConnect {
		return &url.URL{Host: p.authority}, nil
	}
	if p.path[0] != '/' && p.path != "*" {
		return nil, malformed("not a path")
	}
	u, err := url.ParseRequestURI(p.path)
	if err != nil {
		return nil, malformed("not a path")
	}
	return u, nil
}

// joinCookies undoes their division (RFC 9113 section 8.2.3).
func joinCookies(header http.Header) {
	if all := header["Cookie"]; len(all) > 1 {
		header["Cookie"] = []string{strings.Join(all, "; ")}
	}
}

// announced are the trailers a request says it will have.
func announced(header http.Header) http.Header {
	var trailer http.Header
	for _, v := range header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			switch name = http.CanonicalHeaderKey(textproto.TrimString(name)); name {
			case "Transfer-Encoding", "Trailer", "Content-Length":
			default:
				if trailer == nil {
					trailer = http.Header{}
				}
				trailer[name] = nil
			}
		}
	}
	delete(header, "Trailer")
	return trailer
}

// length is that of a body, or -1 when nobody said.
func length(header http.Header) (int64, error) {
	all := header["Content-Length"]
	if len(all) == 0 {
		return -1, nil
	}
	n, err := strconv.ParseUint(all[0], 10, 63)
	if err != nil || len(all) > 1 {
		return 0, malformed("not a length")
	}
	return int64(n), nil //#nosec G115 -- 63 bits
}

// hopByHop reports fields that are about a connection, of which HTTP/2 knows
// none (RFC 9113 section 8.2.2).
func hopByHop(header http.Header) bool {
	for _, name := range []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"} {
		if _, has := header[name]; has {
			return true
		}
	}
	te := header["Te"]
	return len(te) > 1 || len(te) == 1 && te[0] != "trailers" && te[0] != ""
}
