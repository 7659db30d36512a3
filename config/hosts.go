package config

import (
	"net/url"
	"slices"
	"strings"
)

// IssuerHost is the host name of the issuer, in lower case and without a port.
func (t Tokens) IssuerHost() string {
	u, err := url.Parse(t.Issuer)
	if err != nil {
		return "" // a loaded configuration has a valid issuer
	}
	return strings.ToLower(u.Hostname())
}

// Hosts lists the host names gatehouse answers for, wildcards included: those
// of the routes, and the issuer's own, which serves the account pages. Sorted.
func (c *Config) Hosts() []string {
	var out []string
	if h := c.Tokens.IssuerHost(); h != "" {
		out = append(out, h)
	}
	for _, r := range c.Routes {
		out = append(out, r.Host)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
