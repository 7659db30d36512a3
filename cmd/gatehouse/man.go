package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages (section 1) into a directory",
		Args: args(1, 1, "the directory"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if err := os.MkdirAll(given[0], 0o755); err != nil { //#nosec G301 -- manual pages are for everybody
				return fmt.Errorf("make %s: %w", given[0], err)
			}
			header := &doc.GenManHeader{Title: "GATEHOUSE", Section: "1", Source: "gatehouse", Manual: "gatehouse manual"}
			if err := doc.GenManTree(cmd.Root(), header, given[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return nil
		},
	}
}
