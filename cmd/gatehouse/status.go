package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/authn"
)

// instanceRow is an instance as it is printed.
type instanceRow struct {
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	Live    bool      `json:"live"`
}

// liveFor is how long an instance counts after its last sign of life; clocks
// may differ by maxSkew.
const liveFor = 15 * time.Second

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "List the instances of a cluster and when each was last seen", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), func(_ *authn.Admin, acc *accounts) error {
				list, err := acc.store.Instances().List(cmd.Context())
				if err != nil {
					return err
				}
				rows := []instanceRow{}
				for _, i := range list {
					rows = append(rows, instanceRow{i.ID, i.Host, i.Version, i.StartedAt, i.SeenAt, time.Since(i.SeenAt) < liveFor})
				}
				if a.asJSON {
					return a.printJSON(rows)
				}
				return a.table("ID\tHOST\tVERSION\tSTARTED\tSEEN\tSTATE", len(rows), func(n int) string {
					r, state := rows[n], "live"
					if !r.Live {
						state = "gone"
					}
					return strings.Join([]string{r.ID, r.Host, r.Version, r.Started.Format(time.RFC3339), r.Seen.Format(time.RFC3339), state}, "\t")
				})
			})
		},
	}
	c.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
	return c
}
