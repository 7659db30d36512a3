package proxy

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"gatehouse/identity"
	"gatehouse/web"
)

// inbound is everything the request headers of the app are made from.
type inbound struct {
	r      *http.Request
	rec    *web.Record
	result *identity.Result
	id     *identity.Identity // nil for an anonymous caller
	rt     *route
	public bool // the rule lets everybody in
	via    string
}

// requestHeader builds the headers the app gets, in the given memory: first
// everything the client may say, filtered; then what only we may say. Nothing
// of the client's is read after the first of ours is set (threats T1 to T7).
func (t *table) requestHeader(in inbound, into *scratch) http.Header {
	t.copyClient(into, in)
	t.setForwarding(into, in)
	out := into.header
	for name, values := range in.rt.setRequest {
		out[name] = values
	}
	if in.rt.basicAuth != nil {
		out["Authorization"] = in.rt.basicAuth
	}
	if in.id != nil {
		t.giveIdentity(into, in.rt.identity, in.id)
	}
	return out
}

func (t *table) copyClient(into *scratch, in inbound) {
	out, nominated := into.header, in.r.Header["Connection"]
	for name, values := range in.r.Header {
		if hopByHop(name) || !t.passes(name, in.rt) || nominates(nominated, name) {
			continue
		}
		switch name {
		case "Cookie":
			values = cutCookies(values)
		case "Authorization":
			if !passAuthorization(in) {
				continue
			}
		case "Via":
			continue
		}
		if len(values) > 0 {
			out[name] = values
		}
	}
	if isGRPC(in.r) {
		into.set("Te", "trailers")
	}
	if via := in.r.Header["Via"]; len(via) > 0 {
		out["Via"] = append(via[:len(via):len(via)], in.via)
	} else {
		into.set("Via", in.via)
	}
}

// passes judges the name of a client's header.
func (t *table) passes(name string, rt *route) bool {
	if _, removed := rt.removeRequest[name]; removed {
		return false
	}
	special, drop := false, false
	for i := 0; i < len(name); i++ {
		c := name[i]
		if alnum(c) || c == '-' {
			continue
		}
		special = true
		drop = drop || c == '_' || c == '.'
	}
	if !special {
		return !t.isReserved(name)
	}
	if drop {
		if _, ok := rt.allowHeaders[strings.ToLower(name)]; !ok {
			return false
		}
	}
	folded := foldName(name)
	if _, removed := rt.removeRequest[folded]; removed {
		return false
	}
	return !t.isReserved(folded)
}

// nominates reports whether a Connection line names a header (RFC 9110 section
// 7.6.1).
func nominates(connection []string, name string) bool {
	for _, line := range connection {
		for line != "" {
			var token string
			token, line, _ = strings.Cut(line, ",")
			if strings.EqualFold(strings.Trim(token, " \t"), name) {
				return true
			}
		}
	}
	return false
}

// passAuthorization decides about an Authorization header. Ours never passes.
// auto passes another's when a cookie proves the user, and on public rules,
// where it is between the client and the app alone.
func passAuthorization(in inbound) bool {
	if in.result.OwnBearer {
		return false
	}
	switch in.rt.cfg.Authorization {
	case "strip":
		return false
	case "pass":
		return true
	default:
		return in.public || in.result.Via == identity.ViaCookie
	}
}

// setForwarding writes the X-Forwarded family from scratch (threat T20).
func (t *table) setForwarding(into *scratch, in inbound) {
	c := t.formatted.client(in.rec.Client, in.r.Host, in.rec.Secure)
	into.set("X-Forwarded-For", c.text)
	into.set("X-Real-Ip", c.text)
	into.set("X-Forwarded-Host", c.host)
	into.set("X-Forwarded-Proto", c.proto)
	into.set("X-Forwarded-Port", c.port)
	into.set("Forwarded", c.forwarded)
	into.set("X-Request-Id", in.rec.ID)
	if in.rt.cfg.StripPrefix && in.rt.prefix != "" {
		into.set("X-Forwarded-Prefix", in.rt.prefix)
	}
}

// forwarded is one element of RFC 7239, with the quoting of its section 4.
func forwarded(client netip.Addr, host, proto string) string {
	node := "unknown"
	if client.IsValid() {
		if node = client.String(); client.Is6() {
			node = `"[` + node + `]"`
		}
	}
	if strings.ContainsAny(host, ":[]") {
		host = `"` + host + `"`
	}
	return "for=" + node + ";host=" + host + ";proto=" + proto
}

// giveIdentity writes one line per value; a value the user does not have makes
// no header.
func (t *table) giveIdentity(into *scratch, headers []idHeader, id *identity.Identity) {
	if len(headers) == 0 {
		return
	}
	for i, v := range t.formatted.identity(id, headers).values {
		if v == "" {
			delete(into.header, headers[i].name)
			continue
		}
		into.set(headers[i].name, v)
	}
}

// setIdentity does the same to a header of another kind.
func setIdentity(out http.Header, headers []idHeader, id *identity.Identity) {
	for _, h := range headers {
		if v := fieldValue(h.field, id); v != "" {
			out[h.name] = []string{v}
		} else {
			delete(out, h.name)
		}
	}
}

func fieldValue(f field, id *identity.Identity) string {
	switch f {
	case fieldSub:
		return encodeValue(id.Subject, false)
	case fieldEmail:
		return encodeValue(id.Email, false)
	case fieldName:
		return encodeValue(id.Name, false)
	case fieldSession:
		return encodeValue(id.Session, false)
	case fieldGroups:
		return joinValues(id.Groups)
	case fieldAMR:
		return joinValues(id.AMR)
	default:
		return ""
	}
}

func joinValues(list []string) string {
	if len(list) == 1 {
		return encodeValue(list[0], true)
	}
	var b strings.Builder
	for _, v := range list {
		if v == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(encodeValue(v, true))
	}
	return b.String()
}

// encodeValue percent-encodes %, everything outside visible ASCII and, in a
// list, the separator; spaces stay, unless a parser would trim them.
func encodeValue(s string, list bool) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = plainByte(s, i, list)
	}
	if clean {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; plainByte(s, i, list) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func plainByte(s string, i int, list bool) bool {
	switch c := s[i]; {
	case c == ' ':
		return i > 0 && i < len(s)-1
	case c == '%', list && c == ',':
		return false
	default:
		return c > ' ' && c < 0x7f
	}
}

func basicValue(user, password string) []string {
	return []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

// isGRPC recognises gRPC by its content type.
func isGRPC(r *http.Request) bool {
	ct := r.Header.Get("Content-Type")
	return r.ProtoMajor == 2 && strings.HasPrefix(ct, "application/grpc") && (len(ct) == 16 || ct[16] == '+' || ct[16] == ';')
}

// looped reports whether the request has been here before (threat T59).
func looped(r *http.Request, id string) bool {
	for _, line := range r.Header["Via"] {
		if strings.Contains(line, id) {
			return true
		}
	}
	return false
}

// viaNames are our elements of Via by protocol, made once.
type viaNames struct{ id, http11, http2 string }

func newViaNames(id string) viaNames { return viaNames{id, "1.1 " + id, "2.0 " + id} }

func (v viaNames) of(r *http.Request) string {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 1:
		return v.http11
	case r.ProtoMajor == 2 && r.ProtoMinor == 0:
		return v.http2
	}
	return strconv.Itoa(r.ProtoMajor) + "." + strconv.Itoa(r.ProtoMinor) + " " + v.id
}
