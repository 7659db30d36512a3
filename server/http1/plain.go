package http1

import (
	"net/http"
	"net/url"
	"strings"

	"gatehouse/wire"

	"golang.org/x/net/http/httpguts"
)

// plainRequest reads the head of a request without a body, as http.ReadRequest
// and check would, if there is only one way to read it. What is not ok is theirs
// to judge: nothing is refused here, and nothing taken that they do not take.
func plainRequest(head []byte) (r http.Request, ok bool) {
	line, fields, _ := strings.Cut(string(head), "\n")
	line, is11 := strings.CutSuffix(line, " HTTP/1.1\r")
	method, target, _ := strings.Cut(line, " ")
	if method = usuallyBodiless(method); !is11 || method == "" || !plainTarget(target) {
		return r, false
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" {
		return r, false
	}
	h, ok := wire.PlainFields(fields)
	if !ok || len(h["Host"]) != 1 || h["Content-Length"] != nil {
		return r, false
	}
	host := h["Host"][0]
	if host == "" || !httpguts.ValidHostHeader(host) {
		return r, false
	}
	delete(h, "Host")
	return http.Request{
		Method: method, RequestURI: target, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Host: host, Body: http.NoBody,
	}, true
}

// usuallyBodiless is a method whose requests rarely have a body; else nothing.
// It is no piece of the head, all of which whoever keeps the method would keep.
func usuallyBodiless(method string) string {
	for _, one := range [...]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete} {
		if method == one {
			return one
		}
	}
	return ""
}

// plainTarget is a path, with or without a query, in visible ASCII.
func plainTarget(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return strings.HasPrefix(s, "/")
}
