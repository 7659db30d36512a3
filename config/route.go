package config

import (
	"net/netip"
	"time"
)

// Route sends the requests of one host and path prefix to one upstream.
type Route struct {
	Name     string    `yaml:"name" required:"true" doc:"Name in logs, metrics and assertions; [A-Za-z0-9_-], unique."`
	Host     string    `yaml:"host" required:"true" doc:"Exact host name or *.example.com."`
	Path     string    `yaml:"path" default:"/" doc:"Path prefix on segment boundaries; the longest host and path win, whatever the order."`
	Upstream Upstreams `yaml:"upstream" required:"true" doc:"URL or list of URLs of the app: http, https, h2c or unix:/path.sock."`
	Access   Access    `yaml:"access" default:"signed_in" doc:"Who may enter: public, signed_in, deny, or conditions that must all hold."`
	Rules    []Rule    `yaml:"rules" doc:"Exceptions inside the route: the longest path wins, then the one that names the method."`

	IdentityHeaders *IdentityHeaders `yaml:"identity_headers" doc:"Names under which this app learns who is calling: a preset or a map of header to field."`
	StripPrefix     bool             `yaml:"strip_prefix" default:"false" doc:"Remove path before forwarding and send X-Forwarded-Prefix."`
	HostHeader      string           `yaml:"host_header" default:"preserve" doc:"Host the app sees: preserve, upstream, or a literal."`
	Authorization   string           `yaml:"authorization" default:"auto" enum:"auto,strip,pass" doc:"An Authorization header that is not gatehouse's: auto passes it on when a cookie proves the user."`
	Timeout         RouteTimeout     `yaml:"timeout" doc:"Patience with the app. There is no total deadline."`
	MaxBody         Size             `yaml:"max_body" doc:"Largest request body, streamed and counted; empty means no limit."`
	MaxInFlight     *int             `yaml:"max_in_flight" range:"1..1000000" doc:"Requests at a time; over it 503 with Retry-After. Absent means no cap."`
	Balance         string           `yaml:"balance" default:"least_requests" enum:"round_robin,least_requests,hash_user" doc:"How one of several upstreams is chosen."`
	Health          *Health          `yaml:"health" doc:"Active health check of the upstreams."`
	Sticky          bool             `yaml:"sticky" default:"false" doc:"Keep one session (or, without one, one client address) on one upstream while it is healthy."`
	CORS            *CORS            `yaml:"cors" doc:"Cross-origin answers made by the gateway; absent means the app's own pass."`
	WebSocket       WebSocket        `yaml:"websocket" doc:"WebSocket handshakes."`
	OnStale         string           `yaml:"on_stale" default:"deny" enum:"deny,allow" doc:"What happens when the revocation list cannot be kept fresh: deny answers 503, allow trusts tokens up to their expiry."`
	AllowCrossSite  bool             `yaml:"allow_cross_site" default:"false" doc:"Let unsafe requests from other sites use the session cookie."`

	SetRequestHeaders    map[string]string `yaml:"set_request_headers" doc:"Headers given to the app on every request; never an identity or forwarding name."`
	RemoveRequestHeaders []string          `yaml:"remove_request_headers" doc:"Client headers the app never sees."`
	SetResponseHeaders   map[string]string `yaml:"set_response_headers" doc:"Headers given to the client on every answer of the app."`
	RewriteResponse      bool              `yaml:"rewrite_response" default:"true" doc:"Map Location, Refresh, Content-Location and Set-Cookie domain and path back to the outside."`
	BasicAuth            *BasicAuth        `yaml:"basic_auth" doc:"Credentials the gateway presents to the app."`
	Assertion            bool              `yaml:"assertion" default:"false" doc:"Send X-Gatehouse-Assertion, a signed statement of the user for this route."`
	AllowHeaders         []string          `yaml:"allow_headers" doc:"Client headers with _ or . in their name that this app needs; never an identity or forwarding name."`
}

// Rule is an exception inside a route.
type Rule struct {
	Path    string   `yaml:"path" required:"true" doc:"Path prefix on segment boundaries, inside the route's."`
	Methods []string `yaml:"methods" doc:"Methods the rule is for; GET includes HEAD; empty means all."`
	Access  Access   `yaml:"access" required:"true" doc:"Who may enter."`
}

// AccessKind is the kind of an access rule. The zero value denies.
type AccessKind uint8

// The kinds of access.
const (
	AccessDeny AccessKind = iota
	AccessPublic
	AccessSignedIn
	AccessConditions
)

// Access says who may enter: one word, or conditions that must all hold.
type Access struct {
	Kind         AccessKind
	Groups       []string       // one must match
	Users        []string       // canonical addresses or subjects; one must match
	EmailDomains []string       // lower case; one must match
	Networks     []netip.Prefix // one must hold the client address
	MaxAuthAge   time.Duration  // 0 = absent
}

// AccessMap is the written form of Access with conditions; its tags are part
// of the schema.
type AccessMap struct {
	Groups       []string      `yaml:"groups" doc:"Member of one of these."`
	Users        []string      `yaml:"users" doc:"One of these addresses."`
	EmailDomains []string      `yaml:"email_domains" doc:"Address in one of these domains."`
	Networks     []Prefix      `yaml:"networks" doc:"Client address in one of these networks (CIDR)."`
	MaxAuthAge   time.Duration `yaml:"max_auth_age" range:"1m..8760h" doc:"Signed in no longer ago than this."`
}

// UpstreamURL is one address of an app.
type UpstreamURL struct {
	Raw    string // as written
	Scheme string // http, https, h2c
	Host   string // host:port to dial, and the Host for host_header: upstream; "localhost" for a socket
	Socket string // path of a Unix socket, else empty
}

// Upstreams is a URL or a list of URLs; never empty.
type Upstreams []UpstreamURL

// IdentityHeaders is a preset's name or a map of header to field.
type IdentityHeaders struct {
	Preset string        // x-forwarded, remote-user, x-auth-request, x-webauth, x-remote-user; "" with a map
	Map    []HeaderField // in the order of the file
}

// HeaderField gives one header one field of the identity.
type HeaderField struct {
	Header string // canonical
	Field  string // sub, email, name, groups, sid, amr
}

// RouteTimeout bounds waiting for progress.
type RouteTimeout struct {
	Connect        time.Duration `yaml:"connect" default:"2s" range:"10ms..5m" doc:"To connect, TLS included."`
	ResponseHeader time.Duration `yaml:"response_header" default:"5m" range:"100ms..24h" doc:"From the end of the request to the head of the answer."`
	Idle           time.Duration `yaml:"idle" default:"5m" range:"1s..24h" doc:"Without a byte in either direction."`
}

// Health configures active checks.
type Health struct {
	Path     string        `yaml:"path" required:"true" doc:"Path that answers 2xx or 3xx while the app is well."`
	Interval time.Duration `yaml:"interval" default:"10s" range:"100ms..1h" doc:"Between checks."`
	Timeout  time.Duration `yaml:"timeout" default:"2s" range:"10ms..1m" doc:"For one check."`
}

// CORS lets the gateway answer preflights and mark responses.
type CORS struct {
	Origins     []string      `yaml:"origins" required:"true" doc:"Exact origins, or \"*\" without credentials."`
	Methods     []string      `yaml:"methods" doc:"Methods allowed; empty means GET, HEAD, POST."`
	Headers     []string      `yaml:"headers" doc:"Request headers allowed."`
	Credentials bool          `yaml:"credentials" default:"false" doc:"Let scripts of those origins use the session cookie."`
	MaxAge      time.Duration `yaml:"max_age" default:"10m" range:"0s..24h" doc:"How long a preflight's answer may be reused."`
}

// WebSocket configures handshakes that carry the session cookie.
type WebSocket struct {
	Origins []string `yaml:"origins" default:"same" doc:"Origins whose pages may connect; same means the route's own host."`
}

// BasicAuth is given to the upstream.
type BasicAuth struct {
	Username string `yaml:"username" required:"true" doc:"User name."`
	Password Secret `yaml:"password" required:"true" doc:"Password."`
}
