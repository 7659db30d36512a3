package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"gatehouse/authn/password"
)

// thisProgramHashes is the command line of hasherCommand. The path is of the
// program that is running, whatever has become of its file since: an upgrade
// replaces it.
func thisProgramHashes() []string { return []string{"/proc/self/exe", "hasher"} }

// hasherCommand is no command for people: the gateway runs it.
func (a *app) hasherCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hasher PARALLEL", Short: "Hash passwords for the gateway that started it", Hidden: true,
		Args: args(1, 1, "how many at a time"),
		RunE: func(_ *cobra.Command, given []string) error {
			parallel, err := strconv.Atoi(given[0])
			if err != nil || parallel < 1 {
				return usageError{fmt.Errorf("%q is not how many at a time", given[0])}
			}
			return password.Serve(os.Stdin, os.Stdout, parallel)
		},
	}
}
