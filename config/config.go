// Package config turns the YAML file into typed values and refuses everything
// it does not understand, all problems at once, each at its place. It decides
// what a key means and which range it has; it opens no listener, no store and
// no certificate, and imports nothing of ours.
//
// The struct tags are the schema: yaml (the key), default, range (inclusive),
// enum, doc (one sentence), unit, restart (a reload cannot change it). The loader, the
// JSON Schema, `gatehouse config defaults` and the reference page are all made
// from them, so they cannot disagree.
package config

import "time"

// Config is one whole, valid configuration. It is read-only after Load.
type Config struct {
	Listen          Listen          `yaml:"listen" doc:"Addresses gatehouse listens on."`
	TLS             TLS             `yaml:"tls" doc:"Where the certificates come from: exactly one of certificates, acme, self_signed."`
	DataDir         string          `yaml:"data_dir" default:"./data" restart:"true" doc:"Directory for the database, the local CA and ACME certificates; relative to the configuration file."`
	Store           Store           `yaml:"store" doc:"Where users, sessions and revocations live."`
	Redis           Redis           `yaml:"redis" doc:"Redis or Valkey, for what several instances share: limits and the doorbell of revocations."`
	Cluster         bool            `yaml:"cluster" default:"false" restart:"true" doc:"Several instances serve together; needs store.postgres, redis.urls and tokens.encryption_key."`
	Tokens          Tokens          `yaml:"tokens" doc:"Access tokens (RFC 9068)."`
	Sessions        Sessions        `yaml:"sessions" doc:"Sign-ins and their refresh tokens."`
	Accounts        Accounts        `yaml:"accounts" doc:"Who may register, and with which passwords."`
	Limits          Limits          `yaml:"limits" doc:"How often things may be tried, as COUNT/PERIOD."`
	UI              UI              `yaml:"ui" doc:"The pages gatehouse serves itself."`
	IdentityHeaders IdentityHeaders `yaml:"identity_headers" default:"x-forwarded" doc:"Names under which apps learn who is calling; a route may choose its own."`
	Log             Log             `yaml:"log" doc:"Logs."`
	Routes          []Route         `yaml:"routes" doc:"What is behind the gateway."`

	// File is the path the configuration was read from; Dir its directory,
	// against which relative paths were resolved.
	File string `yaml:"-"`
	Dir  string `yaml:"-"`
	// Warnings are findings that do not stop a start.
	Warnings []Problem `yaml:"-"`

	places map[string]place // where each value stands, for RestartOnly
	shown  []string         // the lines of the file as they may be shown
}

// Listen holds the addresses, all of which need a restart to change.
type Listen struct {
	HTTPS          string        `yaml:"https" default:":8443" restart:"true" doc:"TLS listener, HTTP/1.1 and HTTP/2."`
	HTTP           string        `yaml:"http" default:":8080" restart:"true" doc:"Plain listener: redirects navigations to https and answers ACME challenges; never takes credentials. Empty turns it off."`
	Admin          string        `yaml:"admin" default:"127.0.0.1:9180" restart:"true" doc:"Health, readiness, metrics and profiles. Empty turns it off."`
	TrustedProxies []Prefix      `yaml:"trusted_proxies" doc:"Networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed; empty means nobody."`
	ProxyProtocol  bool          `yaml:"proxy_protocol" default:"false" restart:"true" doc:"Expect a PROXY protocol header (v1 or v2) from trusted_proxies on the https and http listeners."`
	DrainDelay     time.Duration `yaml:"drain_delay" default:"0s" range:"0s..60s" restart:"true" doc:"How long connections are still taken after SIGTERM, with readiness off: the time a load balancer needs to look elsewhere. 0s: none are."`
}

// TLS says where certificates come from.
type TLS struct {
	Certificates []Certificate `yaml:"certificates" doc:"Certificate files, re-read when they change; the one whose names match the client's SNI is used."`
	ACME         *ACME         `yaml:"acme" doc:"Certificates by ACME (RFC 8555), http-01 on listen.http and tls-alpn-01 on listen.https."`
	SelfSigned   bool          `yaml:"self_signed" default:"false" doc:"A local CA under data_dir issues the certificates; for trying out."`
	HSTS         HSTS          `yaml:"hsts" doc:"Strict-Transport-Security (RFC 6797) on every https answer."`
}

// Certificate is a pair of PEM files.
type Certificate struct {
	CertFile string `yaml:"cert_file" required:"true" doc:"PEM file with the certificate and its chain, relative to the configuration file."`
	KeyFile  string `yaml:"key_file" required:"true" doc:"PEM file with the private key, relative to the configuration file; must not be readable by others."`
}

// ACME configures certificates by RFC 8555.
type ACME struct {
	Email     string   `yaml:"email" doc:"Contact address given to the certificate authority."`
	Directory string   `yaml:"directory" doc:"Directory URL of the authority; empty means Let's Encrypt."`
	Hosts     []string `yaml:"hosts" doc:"Names to get certificates for; empty means every exact route host."`
}

// HSTS configures RFC 6797.
type HSTS struct {
	MaxAge            time.Duration `yaml:"max_age" default:"8760h" range:"0s..87600h" doc:"How long browsers insist on https; 0s tells them to forget."`
	IncludeSubdomains bool          `yaml:"include_subdomains" default:"false" doc:"Also for every subdomain, including ones gatehouse does not serve."`
	Preload           bool          `yaml:"preload" default:"false" doc:"Ask for the browsers' preload lists; needs include_subdomains and a year."`
}

// Store says where records live.
type Store struct {
	SQLite   SQLite    `yaml:"sqlite" doc:"Embedded database."`
	Postgres *Postgres `yaml:"postgres" restart:"true" doc:"PostgreSQL instead of the embedded database, for several hosts."`
}

// SQLite is the embedded back end.
type SQLite struct {
	Path string `yaml:"path" default:"gatehouse.db" restart:"true" doc:"Database file, relative to data_dir."`
}

// Postgres is the back end for several instances.
type Postgres struct {
	URL            Secret `yaml:"url" required:"true" restart:"true" doc:"Server and database, as in postgres://gate@db.example.com/gate; several hosts are separated by commas, and the one that can be written is used. Without sslmode, a server on another machine must prove its name (verify-full)."`
	MaxConnections int    `yaml:"max_connections" default:"20" range:"2..500" restart:"true" doc:"Most connections one instance opens; together they must fit the server's max_connections."`
}

// Redis is what instances of a cluster share and may lose.
type Redis struct {
	URLs             []string `yaml:"urls" restart:"true" doc:"redis://HOST:PORT of one server, of several nodes of a Redis Cluster, or of the Sentinels when sentinel_master is given; one server may name a database, as in redis://HOST:PORT/1."`
	Username         string   `yaml:"username" restart:"true" doc:"ACL user; empty means the default user."`
	Password         Secret   `yaml:"password" restart:"true" doc:"Password of the user."`
	TLS              bool     `yaml:"tls" default:"false" restart:"true" doc:"Speak TLS and verify the server's name; there is no way back to plain text."`
	CAFile           string   `yaml:"ca_file" restart:"true" doc:"PEM file of the authorities that sign the server's certificate, relative to the configuration file; empty means those of the system."`
	SentinelMaster   string   `yaml:"sentinel_master" restart:"true" doc:"Name of the master that the Sentinels in urls watch; empty means that urls are Redis itself."`
	SentinelPassword Secret   `yaml:"sentinel_password" restart:"true" doc:"Password of the Sentinels."`
}

// Tokens configures access tokens.
type Tokens struct {
	Issuer          string        `yaml:"issuer" required:"true" restart:"true" doc:"iss of every token and the origin of links, as in https://gate.example.com."`
	Algorithm       string        `yaml:"algorithm" default:"EdDSA" enum:"EdDSA,ES256,RS256,HS256" restart:"true" doc:"Signature algorithm of new keys; HS256 needs secret_file."`
	Secret          Secret        `yaml:"secret" restart:"true" doc:"HS256 only: 32 or more random bytes as base64, hex or raw text; the text itself is the key."`
	EncryptionKey   Secret        `yaml:"encryption_key" restart:"true" doc:"Encrypts the keys that are shared through the store: 32 or more random bytes as base64, hex or raw text. Of several lines the first encrypts, and all decrypt."`
	AccessTTL       time.Duration `yaml:"access_ttl" default:"5m" range:"1m..15m" restart:"true" doc:"Lifetime of an access token."`
	Leeway          time.Duration `yaml:"leeway" default:"10s" range:"0s..30s" restart:"true" doc:"Clock difference tolerated when times are checked."`
	RotateKeysEvery time.Duration `yaml:"rotate_keys_every" default:"720h" range:"1h..8760h" restart:"true" doc:"Age at which the signing key is replaced."`
}

// Sessions configures refresh families.
type Sessions struct {
	IdleTimeout  time.Duration `yaml:"idle_timeout" default:"12h" range:"5m..8760h" doc:"A session unused for this long is over."`
	MaxLifetime  time.Duration `yaml:"max_lifetime" default:"720h" range:"15m..8760h" restart:"true" doc:"A session is over this long after sign-in, however busy."`
	RefreshGrace time.Duration `yaml:"refresh_grace" default:"10s" range:"0s..60s" doc:"How long the immediately previous refresh token still returns the same successor; 0s is strict."`
}

// Accounts configures registration and passwords.
type Accounts struct {
	Registration   string   `yaml:"registration" default:"closed" enum:"closed,domain,open" doc:"Who may register: nobody, addresses of allowed_domains, everybody."`
	AllowedDomains []string `yaml:"allowed_domains" doc:"Mail domains that may register with registration: domain."`
	Password       Password `yaml:"password" doc:"Rules for new passwords."`
}

// Password holds the rules for new passwords.
type Password struct {
	MinLength      int  `yaml:"min_length" default:"12" range:"8..64" unit:"characters" doc:"Shortest password accepted."`
	MaxLength      int  `yaml:"max_length" default:"1024" range:"64..4096" unit:"bytes" doc:"Longest password accepted."`
	Blocklist      bool `yaml:"blocklist" default:"true" doc:"Refuse common passwords and ones made of the address, host or product name."`
	RequireUpper   bool `yaml:"require_upper" default:"false" doc:"Demand an upper-case letter."`
	RequireDigit   bool `yaml:"require_digit" default:"false" doc:"Demand a digit."`
	RequireSpecial bool `yaml:"require_special" default:"false" doc:"Demand a character that is neither letter nor digit."`
}

// Limits holds the rates. All but the requests_* ones survive a restart.
type Limits struct {
	LoginAccount   Rate `yaml:"login_account" default:"5/1m" doc:"Failed sign-ins per account, known or not, and caller's network (IPv4 address, IPv6 /64)."`
	LoginIP        Rate `yaml:"login_ip" default:"30/1m" doc:"Failed sign-ins per IPv4 address or IPv6 /64; eight times as many per IPv6 /48."`
	RegisterIP     Rate `yaml:"register_ip" default:"3/1h" doc:"Registrations tried per IPv4 address or IPv6 /64; eight times as many per IPv6 /48."`
	RefreshSession Rate `yaml:"refresh_session" default:"30/1m" doc:"Refreshes per session."`
	RequestsIP     Rate `yaml:"requests_ip" doc:"Proxied requests per IPv4 address or IPv6 /64, eight times as many per IPv6 /48; empty means not limited."`
	RequestsUser   Rate `yaml:"requests_user" doc:"Proxied requests per user; empty means not limited."`
}

// UI configures the pages.
type UI struct {
	Prefix             string `yaml:"prefix" default:"/_auth" restart:"true" doc:"Path prefix of gatehouse's own endpoints on every host."`
	Title              string `yaml:"title" default:"Sign in" restart:"true" doc:"Heading of the sign-in page."`
	LogoFile           string `yaml:"logo_file" restart:"true" doc:"SVG, PNG or WebP file shown above the heading, relative to the configuration file; at most 256 KiB."`
	ForwardAuthAliases bool   `yaml:"forward_auth_aliases" default:"false" restart:"true" doc:"Also answer forward-auth requests under /oauth2/auth, /api/authz/forward-auth and /validate."`
}

// Log configures the logs.
type Log struct {
	Level     string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"Least level that is written."`
	Format    string `yaml:"format" default:"json" enum:"json,text" restart:"true" doc:"Format of the log on stderr."`
	Access    bool   `yaml:"access" default:"true" doc:"Write one line per request."`
	AuditFile string `yaml:"audit_file" restart:"true" doc:"File for the hash-chained audit lines, relative to the configuration file; empty means the log."`
}
