// Command gatehouse is an identity-aware reverse proxy: it signs people in,
// checks every request, and tells the apps behind it who is calling. This
// package is the only place that knows all the others; it wires them and holds
// the commands, one file each, and decides nothing about requests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gatehouse/config"
)

// Exit codes scripts rely on.
const (
	exitFailure = 1 // failed at run time
	exitUsage   = 2 // bad usage or bad configuration
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is what every command shares.
type app struct {
	env            func(string) (string, bool)
	stdin          io.Reader
	stdout, stderr io.Writer
	configFile     string
	asJSON         bool
}

// usageError is a mistake on the command line or in the file: exit 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var problems config.Problems
	switch {
	case err == nil:
		return 0
	case errors.As(err, &problems):
		return exitUsage // printed where it was found
	}
	for line := range strings.Lines(err.Error()) { // joined errors are one per line
		fmt.Fprintln(stderr, "gatehouse:", strings.TrimRight(line, "\n"))
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "gatehouse",
		Short:         "An identity-aware reverse proxy: sign-in, checks and identity headers in front of apps that have no login",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          func(_ *cobra.Command, args []string) error { return noArgs(args) },
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	file := "gatehouse.yaml"
	if v, ok := a.env("GATEHOUSE_CONFIG"); ok && v != "" {
		file = v
	}
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", file, "configuration file (env GATEHOUSE_CONFIG)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		a.serveCommand(), a.checkCommand(), a.demoCommand(), a.userCommand(), a.sessionCommand(), a.keyCommand(), a.statusCommand(), a.storeCommand(),
		a.explainCommand(), a.configCommand(), a.backupCommand(), a.auditCommand(), a.healthcheckCommand(), a.versionCommand(), a.manCommand(), a.hasherCommand(),
	)
	refuseUnknownTopics(root)
	return root
}

// refuseUnknownTopics makes the commands cobra adds by itself keep the exit
// codes too: they would print a help text and end with 0.
func refuseUnknownTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, given []string) error {
				if found, rest, err := root.Find(given); err != nil || found == nil || len(rest) > 0 {
					return usageError{fmt.Errorf("no help on %q; see gatehouse --help", strings.Join(given, " "))}
				}
				return nil
			}
		case "completion":
			c.Args = args(0, 0, "one of bash, zsh, fish, powershell")
			c.RunE = func(*cobra.Command, []string) error {
				return usageError{errors.New("expected one of bash, zsh, fish, powershell; see --help")}
			}
		}
	}
}

// args refuses the wrong number of arguments with exit 2.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		if len(given) < least || len(given) > most {
			return usageError{fmt.Errorf("expected %s; see --help", what)}
		}
		return nil
	}
}

func noArgs(given []string) error {
	if len(given) > 0 {
		return usageError{fmt.Errorf("unknown command %q; see gatehouse --help", given[0])}
	}
	return nil
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: func(_ *cobra.Command, given []string) error { return noArgs(given) },
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(commands...)
	return c
}

// load reads the configuration; problems are printed at their places.
func (a *app) load() (*config.Config, error) {
	cfg, err := config.Load(a.configFile, a.env)
	if err != nil {
		fmt.Fprintln(a.stderr, err)
		return nil, err
	}
	return cfg, nil
}
