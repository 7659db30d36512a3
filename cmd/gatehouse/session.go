package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn"
	"gatehouse/store"
)

func (a *app) sessionCommand() *cobra.Command {
	c := group("session", "Sessions of one user or all", a.sessionListCommand(), a.sessionRevokeCommand())
	c.PersistentFlags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return c
}

// sessionRow is a session as it is printed.
type sessionRow struct {
	ID       string    `json:"sid"`
	User     string    `json:"user"`
	Device   string    `json:"device"`
	Address  string    `json:"address"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used"`
}

func (a *app) sessionListCommand() *cobra.Command {
	var user string
	c := &cobra.Command{
		Use: "list", Short: "List living sessions", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, acc *accounts) error {
				id := ""
				if user != "" {
					u, err := adm.Find(cmd.Context(), user)
					if err != nil {
						return err
					}
					id = u.ID
				}
				list, err := adm.Sessions(cmd.Context(), id)
				if err != nil {
					return err
				}
				rows := make([]sessionRow, 0, len(list))
				for _, s := range list {
					name := s.UserID
					if u, err := acc.store.Users().ByID(cmd.Context(), s.UserID); err == nil {
						name = u.Email
					}
					rows = append(rows, sessionRow{s.ID, name, authn.Device(s.UserAgent), s.Address, s.CreatedAt, s.LastUsedAt})
				}
				if a.asJSON {
					return a.printJSON(rows)
				}
				return a.table("SESSION\tUSER\tDEVICE\tADDRESS\tLAST USED", len(rows), func(i int) string {
					r := rows[i]
					return strings.Join([]string{r.ID, r.User, r.Device, r.Address, r.LastUsed.Format(time.RFC3339)}, "\t")
				})
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "only of this address")
	return c
}

func (a *app) sessionRevokeCommand() *cobra.Command {
	var user string
	var all bool
	c := &cobra.Command{
		Use: "revoke [SESSION]", Short: "End one session, all of --user, or --all", Args: args(0, 1, "one session, --user or --all"),
		RunE: func(cmd *cobra.Command, given []string) error {
			switch {
			case len(given) == 0 && user == "" && !all:
				return usageError{errors.New("name a session, --user EMAIL or --all")}
			case len(given) == 1 && (user != "" || all), user != "" && all:
				return usageError{errors.New("name only one of a session, --user and --all")}
			}
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				end := store.SessionEnd{Everyone: all}
				if len(given) == 1 {
					end.SessionID = given[0]
				}
				if user != "" {
					u, err := adm.Find(cmd.Context(), user)
					if err != nil {
						return err
					}
					end.UserID = u.ID
				}
				ended, err := adm.EndSessions(cmd.Context(), end)
				if err != nil {
					return err
				}
				if len(given) == 1 && len(ended) == 0 {
					return usageError{fmt.Errorf("there is no living session %s", given[0])}
				}
				if a.asJSON {
					return a.printJSON(append([]string{}, ended...))
				}
				_, err = fmt.Fprintf(a.stdout, "ended %d sessions\n", len(ended))
				return err
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "all sessions of this address")
	c.Flags().BoolVar(&all, "all", false, "every session of everybody")
	return c
}
