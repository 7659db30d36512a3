package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn"
	"gatehouse/identity"
	"gatehouse/proxy"
)

// explainOptions are the flags of explain.
type explainOptions struct{ user, method, address string }

func (a *app) explainCommand() *cobra.Command {
	var o explainOptions
	c := &cobra.Command{
		Use: "explain URL", Short: "Which route matches, what each rule says, and the headers the app would get",
		Args: args(1, 1, "one URL"),
		RunE: func(cmd *cobra.Command, given []string) error { return a.explain(cmd.Context(), given[0], o) },
	}
	c.Flags().StringVar(&o.user, "user", "", "address of the account that asks; nobody when empty")
	c.Flags().StringVar(&o.method, "method", "GET", "request method")
	c.Flags().StringVar(&o.address, "from", "127.0.0.1", "client address")
	c.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return c
}

func (a *app) explain(ctx context.Context, rawURL string, o explainOptions) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	from, err := netip.ParseAddr(o.address)
	if err != nil {
		return usageError{fmt.Errorf("--from %q is no IP address", o.address)}
	}
	if !isToken(o.method) {
		return usageError{fmt.Errorf("--method %q is no HTTP method", o.method)}
	}
	var id *identity.Identity
	if o.user != "" {
		if id, err = a.identityOf(ctx, o.user); err != nil {
			return err
		}
	}
	e, err := proxy.NewExplainer(cfg, time.Now)
	if err != nil {
		return usageError{err}
	}
	out, err := e.Explain(o.method, rawURL, id, from)
	if err != nil {
		return usageError{err}
	}
	if a.asJSON {
		return a.printJSON(out)
	}
	a.printExplanation(out)
	return nil
}

// isToken reports whether s can be a method (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	}) < 0
}

// identityOf is the identity an account would have if it signed in now.
func (a *app) identityOf(ctx context.Context, email string) (id *identity.Identity, err error) {
	err = a.admin(ctx, func(adm *authn.Admin, _ *accounts) error {
		u, err := adm.Find(ctx, email)
		if err != nil {
			return err
		}
		if u.Disabled {
			return fmt.Errorf("%w: the account %s is disabled, so it cannot sign in", authn.ErrInput, u.Email)
		}
		id = &identity.Identity{
			Subject: u.ID, Email: u.Email, EmailVerified: u.EmailVerified, Name: u.Name, Groups: u.Groups, Session: "explain",
			AuthTime: time.Now(), AMR: []string{"pwd"},
		}
		return nil
	})
	return id, err
}

func (a *app) printExplanation(out proxy.Explanation) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "%-10s%s\n", name, value)
		}
	}
	line("request", out.Method+" https://"+out.Host+out.Path)
	line("route", out.Route)
	for _, r := range out.Rules {
		mark := "  "
		if r.Selected {
			mark = "> "
		}
		line("rule", strings.TrimRight(mark+r.Path+" "+strings.Join(r.Methods, ","), " ")+": "+r.Verdict)
	}
	line("verdict", out.Verdict)
	if out.Status != 0 {
		line("status", fmt.Sprint(out.Status))
	}
	line("reason", out.Reason)
	line("upstream", strings.Join(out.Upstream, ", "))
	line("asks for", out.Target)
	for _, name := range slices.Sorted(maps.Keys(out.Headers)) {
		for _, v := range out.Headers[name] {
			line("header", name+": "+v)
		}
	}
}
