package main

import (
	"github.com/spf13/cobra"

	"gatehouse/config"
)

func (a *app) configCommand() *cobra.Command {
	print := func(use, short string, text func() []byte) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: args(0, 0, "no arguments"),
			RunE: func(*cobra.Command, []string) error {
				_, err := a.stdout.Write(text())
				return err
			},
		}
	}
	defaults := &cobra.Command{
		Use: "defaults", Short: "Every key with its default, unit, range and meaning", Args: args(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error { return config.Defaults(a.stdout) },
	}
	return group("config", "What can be configured",
		print("schema", "JSON Schema of the configuration file", config.Schema),
		defaults,
		print("reference", "The configuration reference as Markdown", config.Reference),
	)
}
