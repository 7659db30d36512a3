// Package e2e drives the production binary from outside: sign-in, the proxied
// request, kill -9, reload and the command line, against raw TCP upstreams.
// With the build tag "apps" it also puts real apps behind the gateway and
// drives them with real clients and a real browser (make e2e). It decides
// nothing and holds no code of the product.
package e2e
