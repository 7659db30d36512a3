package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn"
	"gatehouse/store"
)

// keyRow is a signing key as it is printed; never its secret.
type keyRow struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"algorithm"`
	State     string    `json:"state"` // signing, verifying, retired, revoked
	Created   time.Time `json:"created"`
}

func (a *app) keyCommand() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Sign with a new key at once; the old one verifies until its tokens have expired", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, acc *accounts) error {
				kid, err := adm.RotateKey(cmd.Context())
				if err != nil {
					return err
				}
				return a.keyDone("%s\n", kid)
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke KID", Short: "Refuse every token this key has signed", Args: args(1, 1, "one kid"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				if err := adm.RevokeKey(cmd.Context(), given[0]); err != nil {
					return err
				}
				return a.keyDone("revoked %s\n", given[0])
			})
		},
	}
	c := group("key", "Signing keys", a.keyListCommand(), rotate, revoke, a.keySealCommand())
	c.PersistentFlags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return c
}

// keyDone prints which key was changed.
func (a *app) keyDone(format, kid string) error {
	if a.asJSON {
		return a.printJSON(map[string]string{"kid": kid})
	}
	_, err := fmt.Fprintf(a.stdout, format, kid)
	return err
}

func (a *app) keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the signing keys", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(adm *authn.Admin, _ *accounts) error {
				keys, err := adm.Keys(cmd.Context())
				if err != nil {
					return err
				}
				rows := []keyRow{}
				for _, k := range keys {
					if k.Purpose == store.PurposeSign {
						rows = append(rows, keyRow{k.ID, k.Algorithm, keyState(k, time.Now()), k.CreatedAt})
					}
				}
				if a.asJSON {
					return a.printJSON(rows)
				}
				return a.table("KID\tALGORITHM\tSTATE\tCREATED", len(rows), func(i int) string {
					r := rows[i]
					return strings.Join([]string{r.ID, r.Algorithm, r.State, r.Created.Format(time.RFC3339)}, "\t")
				})
			})
		},
	}
}

func keyState(k store.Key, now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case k.RetireAt.IsZero():
		return "signing"
	case now.Before(k.RetireAt):
		return "verifying"
	}
	return "retired"
}
