package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// validate checks what no single value can tell. Every check is skipped where
// the values it needs are wrong already.
func (d *document) validate(c *Config) {
	d.checkListen(&c.Listen)
	d.checkTLS(c)
	d.checkTokens(c)
	d.checkSessions(c)
	d.checkAccounts(&c.Accounts)
	d.checkUI(&c.UI)
	if c.DataDir == "" {
		d.at("data_dir", "leave the key out for the default", "is empty")
	}
	d.checkStore(&c.Store)
	d.checkRedis(&c.Redis)
	d.checkCluster(c)
	d.checkRoutes(c)
}

func (d *document) checkListen(l *Listen) {
	if l.HTTPS == "" {
		d.at("listen.https", "write :8443 or :443", "is empty, but there is no gateway without TLS")
	}
	addrs := []struct{ path, addr string }{{"listen.https", l.HTTPS}, {"listen.http", l.HTTP}, {"listen.admin", l.Admin}}
	for i, a := range addrs {
		if a.addr == "" {
			continue
		}
		host, port, err := net.SplitHostPort(a.addr)
		if n, convErr := strconv.ParseUint(port, 10, 16); err != nil || convErr != nil || strconv.FormatUint(n, 10) != port ||
			host != "" && !goodDialHost(host) {
			d.at(a.path, "write HOST:PORT or :PORT, as in 127.0.0.1:8443", "%s is not an address to listen on", quote(a.addr))
			continue
		}
		for _, other := range addrs[:i] {
			if other.addr == a.addr && port != "0" {
				d.at(a.path, "choose another port", "%s is taken by %s", a.addr, other.path)
			}
		}
	}
	if l.ProxyProtocol && len(l.TrustedProxies) == 0 && d.clean("listen.trusted_proxies") {
		d.at("listen.proxy_protocol", "name the networks of the proxies in listen.trusted_proxies", "would believe an address from anybody: trusted_proxies is empty")
	}
	for i, p := range l.TrustedProxies {
		if p.IsValid() && p.Bits() == 0 {
			d.warn(fmt.Sprintf("listen.trusted_proxies[%d]", i), "name the networks of the proxies", "%s lets everybody choose the address they seem to come from", p)
		}
	}
	if host, _, err := net.SplitHostPort(l.Admin); err == nil && !isLoopback(host) {
		d.warn("listen.admin", "write 127.0.0.1:9180", "metrics and profiles can be read by whoever reaches %s", l.Admin)
	}
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (d *document) checkTLS(c *Config) {
	t := &c.TLS
	var given []string
	for _, s := range []struct {
		name string
		on   bool
	}{
		{"certificates", len(t.Certificates) > 0 || d.has("tls.certificates") && !d.clean("tls.certificates")},
		{"acme", t.ACME != nil},
		{"self_signed", t.SelfSigned || d.has("tls.self_signed") && !d.clean("tls.self_signed")},
	} {
		if s.on {
			given = append(given, s.name)
		}
	}
	switch {
	case len(given) == 0 && !d.meant["tls"] && !d.meant["tls.certificates"] && !d.meant["tls.acme"] && !d.meant["tls.self_signed"]:
		d.at("tls", "add certificates or acme, or self_signed: true to try things out", "there are no certificates")
	case len(given) > 1:
		for _, name := range given[1:] {
			d.at("tls."+name, "keep exactly one of certificates, acme and self_signed", "%s is given as well", given[0])
		}
	}
	for i, pair := range t.Certificates {
		d.checkPair(fmt.Sprintf("tls.certificates[%d]", i), pair)
	}
	d.checkACME(c)
	h := t.HSTS
	if h.Preload && !h.IncludeSubdomains {
		d.at("tls.hsts.preload", "add include_subdomains: true", "preload needs include_subdomains")
	}
	if h.Preload && h.MaxAge < 8760*time.Hour && d.clean("tls.hsts.max_age") {
		d.at("tls.hsts.max_age", "write 8760h or more", "preload needs a year")
	}
}

func (d *document) checkPair(path string, pair Certificate) {
	for _, f := range []struct {
		name, value string
		secret      bool
	}{{"cert_file", pair.CertFile, false}, {"key_file", pair.KeyFile, true}} {
		if f.value == "" {
			continue // reported as missing or empty
		}
		if bad := checkFile(d.resolve(f.value), f.value, 0, f.secret); bad != nil {
			d.at(path+"."+f.name, bad.hint, "%s", bad.message)
		}
	}
}

func (d *document) checkACME(c *Config) {
	a := c.TLS.ACME
	if a == nil {
		return
	}
	if at := strings.LastIndex(a.Email, "@"); a.Email != "" && (at < 1 || strings.ContainsAny(a.Email, " <>,;\r\n")) {
		d.at("tls.acme.email", "write ops@example.com", "%s is not a mail address", quote(a.Email))
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "") {
		d.at("tls.acme.directory", "write https://HOST/PATH, or leave the key out for Let's Encrypt", "%s is not an https URL", hideUserinfo(a.Directory))
	}
	seen := set{}
	for i, h := range a.Hosts {
		path := fmt.Sprintf("tls.acme.hosts[%d]", i)
		host, bad := checkHost(h)
		switch {
		case bad != nil:
			d.at(path, bad.hint, "%s", bad.message)
		case strings.HasPrefix(host, "*.") || isIP(host):
			d.at(path, "name every host, or use certificates", "ACME over http-01 and tls-alpn-01 has no certificates for %s", quote(h))
		case seen.twice(host):
			d.at(path, "remove one of them", "%s is given twice", quote(host))
		}
		a.Hosts[i] = host
	}
	exact := slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Host != "" && !strings.HasPrefix(r.Host, "*.") })
	if len(a.Hosts) == 0 && !exact && len(c.Routes) > 0 && d.clean("routes") && d.clean("tls.acme") {
		d.at("tls.acme", "name them in hosts", "no route has an exact host to get a certificate for")
	}
}

func (d *document) checkTokens(c *Config) {
	t := &c.Tokens
	if t.Issuer != "" {
		issuer, bad := checkIssuer(t.Issuer)
		if bad != nil {
			d.at("tokens.issuer", bad.hint, "%s", bad.message)
		}
		t.Issuer = issuer
	}
	at := "tokens.secret"
	if d.has("tokens.secret_file") {
		at = "tokens.secret_file"
	}
	switch {
	case !d.clean("tokens.algorithm") || !d.clean("tokens.secret") || !d.clean("tokens.secret_file"):
	case t.Algorithm == "HS256" && t.Secret.IsZero():
		if !d.meant["tokens.secret"] {
			d.at("tokens.algorithm", "add secret_file with 32 random bytes, or use EdDSA", "HS256 needs a secret")
		}
	case t.Algorithm == "HS256":
		if bad := checkHMACKey(t.Secret.Reveal()); bad != nil {
			d.at(at, bad.hint, "%s", bad.message)
		}
	case !t.Secret.IsZero():
		d.at(at, "leave it out, or write algorithm: HS256", "%s makes its own keys and uses no secret", t.Algorithm)
	}
}

// checkIssuer says whether s is an https origin, and returns it in lower case
// and without the default port.
func checkIssuer(s string) (string, *finding) {
	const like = "write https://gate.example.com"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return s, found(like, "%s is not an https origin", hideUserinfo(s))
	case u.User != nil:
		return s, found(like, "an issuer has no user and password")
	case u.Scheme != "https":
		return s, found("write "+visible("https://"+u.Host), "%s is not https", quote(s))
	case u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#"):
		return s, found("write "+visible("https://"+u.Host), "an issuer is an origin, without a path or query")
	}
	host := u.Hostname()
	if !isIP(host) {
		ascii, ok := asciiHost(host)
		if !ok {
			return s, found(like, "%s is not a host name", quote(host))
		}
		host = ascii
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	switch port := u.Port(); {
	case strings.HasSuffix(u.Host, ":") || port != "" && !goodPort(port):
		return s, found(like, "%s has no valid port", quote(s))
	case port != "" && port != "443":
		host += ":" + port
	}
	return "https://" + host, nil
}

func (d *document) checkSessions(c *Config) {
	s := c.Sessions
	if s.IdleTimeout > s.MaxLifetime && d.clean("sessions") {
		d.at("sessions.idle_timeout", "make max_lifetime longer", "%s is longer than max_lifetime, %s", brief(s.IdleTimeout), brief(s.MaxLifetime))
	}
	if c.Tokens.AccessTTL > s.IdleTimeout && d.clean("sessions") && d.clean("tokens.access_ttl") {
		d.at("sessions.idle_timeout", "write at least the access_ttl", "%s is shorter than tokens.access_ttl, %s: sessions would end while in use", brief(s.IdleTimeout), brief(c.Tokens.AccessTTL))
	}
}

func (d *document) checkAccounts(a *Accounts) {
	seen := set{}
	for i, name := range a.AllowedDomains {
		path := fmt.Sprintf("accounts.allowed_domains[%d]", i)
		a.AllowedDomains[i] = d.domain(path, name)
		if seen.twice(a.AllowedDomains[i]) {
			d.at(path, "remove one of them", "%s is given twice", quote(name))
		}
	}
	if !d.clean("accounts.registration") {
		return
	}
	switch {
	case a.Registration == "domain" && len(a.AllowedDomains) == 0 && d.clean("accounts.allowed_domains"):
		if !d.meant["accounts.allowed_domains"] {
			d.at("accounts.registration", "add allowed_domains: [example.com]", "domain needs allowed_domains")
		}
	case a.Registration == "open":
		d.warn("accounts.registration", "use closed or domain unless strangers are welcome",
			"open lets everybody register, and tells who asks whether an address is taken")
	}
	if a.Registration != "domain" && len(a.AllowedDomains) > 0 {
		d.warn("accounts.allowed_domains", "write registration: domain", "has no effect with registration: %s", a.Registration)
	}
}

// domain checks a mail domain and returns its ASCII form in lower case.
func (d *document) domain(path, name string) string {
	if after, ok := strings.CutPrefix(name, "@"); ok {
		d.at(path, "write "+visible(after), "%s starts with @", quote(name))
		return name
	}
	ascii, ok := asciiHost(name)
	if !ok {
		d.at(path, "write a domain, as in example.com", "%s is not a mail domain", quote(name))
		return name
	}
	return ascii
}

var uiPrefix = regexp.MustCompile(`^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$`)

func (d *document) checkUI(u *UI) {
	if !uiPrefix.MatchString(u.Prefix) || len(u.Prefix) > 64 {
		hint := "write a path such as /_auth"
		if trimmed := "/" + strings.Trim(u.Prefix, "/"); uiPrefix.MatchString(trimmed) {
			hint = "write " + trimmed
		}
		d.at("ui.prefix", hint, "%s is not a path prefix", quote(u.Prefix))
	}
	if strings.TrimSpace(u.Title) == "" || len(u.Title) > 200 {
		d.at("ui.title", "write up to 200 bytes", "is empty or too long")
	}
	if u.LogoFile != "" {
		bad := checkFile(d.resolve(u.LogoFile), u.LogoFile, maxLogoFile, false)
		ext := strings.ToLower(u.LogoFile[strings.LastIndex(u.LogoFile, ".")+1:])
		switch {
		case bad != nil:
			d.at("ui.logo_file", bad.hint, "%s", bad.message)
		case !slices.Contains([]string{"svg", "png", "webp"}, ext):
			d.at("ui.logo_file", "use a file that ends in .svg, .png or .webp", "%s is not SVG, PNG or WebP", quote(u.LogoFile))
		}
	}
}
