package http2

import (
	"net/http"
	"strings"
)

// Field names are lower case in HTTP/2 (RFC 9113 section 8.2.1) and canonical
// in package net/http. Those that most messages have are here, so that nothing
// is allocated for them.
var canonical, lower = func() (map[string]string, map[string]string) {
	c, l := map[string]string{}, map[string]string{}
	for name := range strings.FieldsSeq(`
		Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Credentials
		Access-Control-Allow-Headers Access-Control-Allow-Methods Access-Control-Allow-Origin
		Access-Control-Expose-Headers Access-Control-Max-Age Access-Control-Request-Headers
		Access-Control-Request-Method Age Allow Alt-Svc Authorization Cache-Control Connection
		Content-Disposition Content-Encoding Content-Language Content-Length Content-Location Content-Range
		Content-Security-Policy Content-Type Cookie Cross-Origin-Embedder-Policy Cross-Origin-Opener-Policy
		Cross-Origin-Resource-Policy Date Dnt Etag Expect Expires Forwarded From Gatehouse-Response
		Grpc-Encoding Grpc-Message Grpc-Status Grpc-Timeout Host If-Match If-Modified-Since If-None-Match
		If-Range If-Unmodified-Since Keep-Alive Last-Modified Link Location Max-Forwards Origin
		Permissions-Policy Pragma Priority Proxy-Authenticate Proxy-Authorization Range Referer
		Referrer-Policy Refresh Retry-After Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform Sec-Fetch-Dest
		Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-Gpc Sec-Websocket-Extensions Server Server-Timing
		Set-Cookie Strict-Transport-Security Te Trailer Transfer-Encoding Upgrade
		Upgrade-Insecure-Requests User-Agent Vary Via Www-Authenticate X-Content-Type-Options X-Forwarded-For
		X-Forwarded-Host X-Forwarded-Proto X-Frame-Options X-Real-Ip X-Request-Id X-Requested-With`) {
		c[strings.ToLower(name)] = name
		l[name] = strings.ToLower(name)
	}
	return c, l
}()

func canonicalName(name string) string {
	if known, ok := canonical[name]; ok {
		return known
	}
	return http.CanonicalHeaderKey(name)
}

func lowerName(name string) string {
	if known, ok := lower[name]; ok {
		return known
	}
	return strings.ToLower(name)
}
