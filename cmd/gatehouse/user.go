package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/authn"
	"gatehouse/store"
)

func (a *app) userCommand() *cobra.Command {
	c := group("user", "Accounts, named by address",
		a.userAddCommand(), a.userListCommand(), a.userShowCommand(),
		a.userSwitchCommand("disable", "Lock an account out and end its sessions", true),
		a.userSwitchCommand("enable", "Let an account in again", false),
		a.userDeleteCommand(), a.userPasswordCommand(), a.userGroupsCommand(), a.userImportCommand())
	c.PersistentFlags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return c
}

// userRow is an account as it is printed; never its password hash.
type userRow struct {
	ID       string    `json:"id"`
	Email    string    `json:"email"`
	Name     string    `json:"name"`
	Groups   []string  `json:"groups"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func rowOf(u store.User) userRow {
	return userRow{u.ID, u.Email, u.Name, append([]string{}, u.Groups...), u.Disabled, u.CreatedAt}
}

func (u userRow) state() string {
	if u.Disabled {
		return "disabled"
	}
	return "active"
}

// done prints what became of an account.
func (a *app) done(what string, u store.User) error {
	if a.asJSON {
		return a.printJSON(rowOf(u))
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s\n", what, u.Email)
	return err
}

func (a *app) userAddCommand() *cobra.Command {
	var name, groups string
	c := &cobra.Command{
		Use: "add EMAIL", Short: "Make an account; the password is one line on stdin, or asked for",
		Args: args(1, 1, "one address"),
		RunE: func(cmd *cobra.Command, given []string) error {
			pass, err := a.password()
			if err != nil {
				return err
			}
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				u, err := adm.Add(cmd.Context(), authn.Registration{Email: given[0], Password: pass, Name: name}, strings.Split(groups, ","))
				if err != nil {
					return err
				}
				return a.done("added", u)
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "display name")
	c.Flags().StringVar(&groups, "groups", "", "groups, separated by commas")
	return c
}

// password reads one line: from a pipe as it is, from a person twice and
// unseen. It never comes from the arguments, which others can read.
func (a *app) password() (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, 64<<10)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", usageError{errors.New("no password: write it as one line to stdin")}
		}
		return line, nil
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(a.stderr, prompt)
		b, err := term.ReadPassword(int(f.Fd())) //#nosec G115 -- as above
		fmt.Fprintln(a.stderr)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", usageError{errors.New("the two passwords differ")}
	}
	return typed[0], nil
}

func (a *app) userListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all accounts", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				users, err := adm.List(cmd.Context())
				if err != nil {
					return err
				}
				rows := make([]userRow, 0, len(users))
				for _, u := range users {
					rows = append(rows, rowOf(u))
				}
				if a.asJSON {
					return a.printJSON(rows)
				}
				return a.table("EMAIL\tNAME\tGROUPS\tSTATE", len(rows), func(i int) string {
					return strings.Join([]string{rows[i].Email, rows[i].Name, strings.Join(rows[i].Groups, ","), rows[i].state()}, "\t")
				})
			})
		},
	}
}

// table prints rows in columns.
func (a *app) table(head string, n int, row func(i int) string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for i := range n {
		fmt.Fprintln(w, row(i))
	}
	return w.Flush()
}

// onUser is a command that does one thing to the account of one address.
func (a *app) onUser(use, short, done string, least, most int, do func(ctx context.Context, adm *authn.Admin, given []string) (store.User, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(least, most, use),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				u, err := do(cmd.Context(), adm, given)
				if err != nil {
					return err
				}
				return a.done(done, u)
			})
		},
	}
}

func (a *app) userShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show EMAIL", Short: "Show one account", Args: args(1, 1, "one address"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				u, err := adm.Find(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(rowOf(u))
				}
				return a.showUser(rowOf(u))
			})
		},
	}
}

func (a *app) showUser(u userRow) error {
	w := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\nemail\t%s\nname\t%s\ngroups\t%s\nstate\t%s\ncreated\t%s\n",
		u.ID, u.Email, u.Name, strings.Join(u.Groups, ","), u.state(), u.Created.Format(time.RFC3339))
	return w.Flush()
}

func (a *app) userSwitchCommand(verb, short string, disabled bool) *cobra.Command {
	return a.onUser(verb+" EMAIL", short, verb+"d", 1, 1, func(ctx context.Context, adm *authn.Admin, given []string) (store.User, error) {
		return adm.SetDisabled(ctx, given[0], disabled)
	})
}

func (a *app) userDeleteCommand() *cobra.Command {
	return a.onUser("delete EMAIL", "Remove an account and end its sessions", "deleted", 1, 1, func(ctx context.Context, adm *authn.Admin, given []string) (store.User, error) {
		return adm.Delete(ctx, given[0])
	})
}

func (a *app) userPasswordCommand() *cobra.Command {
	return a.onUser("set-password EMAIL", "Set a new password (one line on stdin, or asked for) and end all sessions", "password set for", 1, 1,
		func(ctx context.Context, adm *authn.Admin, given []string) (store.User, error) {
			pass, err := a.password()
			if err != nil {
				return store.User{}, err
			}
			return adm.SetPassword(ctx, given[0], pass)
		})
}

func (a *app) userGroupsCommand() *cobra.Command {
	return a.onUser("set-groups EMAIL GROUPS", "Replace the groups, separated by commas; \"\" for none", "groups set for", 2, 2,
		func(ctx context.Context, adm *authn.Admin, given []string) (store.User, error) {
			return adm.SetGroups(ctx, given[0], strings.Split(given[1], ","))
		})
}

// imported is one account to import, as JSON lines.
type imported struct {
	Email  string   `json:"email"`
	Name   string   `json:"name"`
	Hash   string   `json:"hash"`
	Groups []string `json:"groups"`
}

func (a *app) userImportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Import accounts: htpasswd lines, or one JSON object {email, name, hash, groups} a line",
		Args: args(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, given []string) error {
			text, err := os.ReadFile(given[0])
			if err != nil {
				return usageError{fmt.Errorf("import: %w", err)}
			}
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				return a.importLines(cmd.Context(), adm, given[0], strings.Split(string(text), "\n"))
			})
		},
	}
}

func (a *app) importLines(ctx context.Context, adm *authn.Admin, file string, lines []string) error {
	var failed []error
	added := 0
	for i, line := range lines {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		u, err := parseImport(line)
		if err == nil {
			_, err = adm.Import(ctx, u.Email, u.Name, u.Hash, u.Groups)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s:%d: %w", file, i+1, err))
			continue
		}
		added++
	}
	if a.asJSON {
		return errors.Join(a.printJSON(map[string]int{"imported": added, "refused": len(failed)}), errors.Join(failed...))
	}
	fmt.Fprintf(a.stdout, "imported %d accounts, %d refused\n", added, len(failed))
	return errors.Join(failed...)
}

func parseImport(line string) (imported, error) {
	var u imported
	if strings.HasPrefix(line, "{") {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&u); err != nil {
			return u, fmt.Errorf("%w: %w", authn.ErrInput, err)
		}
		return u, nil
	}
	email, hash, ok := strings.Cut(line, ":")
	if !ok {
		return u, fmt.Errorf("%w: neither NAME:HASH nor a JSON object", authn.ErrInput)
	}
	return imported{Email: email, Hash: hash}, nil
}
