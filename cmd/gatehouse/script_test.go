package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/internal/gatetest"
)

// The scripts run the production binary as its users do: cmd-*.txtar are about
// the command line, key-*.txtar about what a key of the file does. They have a
// client, an upstream and certificates of their own, see builtins.
func TestScripts(t *testing.T) {
	bin, err := gatetest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	p := testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds:  builtins(),
		Setup: func(env *testscript.Env) error { return setupScript(t, env, filepath.Dir(bin)) },
	}
	if d, ok := t.Deadline(); ok {
		p.Deadline = d.Add(-5 * time.Second)
	}
	testscript.Run(t, p)
}

// setupScript puts the binary on the path and gives the script addresses of
// its own.
func setupScript(t *testing.T, env *testscript.Env, binDir string) error {
	for _, name := range []string{"HTTPS", "HTTP", "ADMIN", "APP", "APP2"} {
		env.Setenv(name, gatetest.FreeAddr(t))
	}
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("GATEHOUSE_CONFIG", "gatehouse.yaml")
	env.Setenv("GOCOVERDIR", os.Getenv("GATEHOUSE_COVERDIR"))
	ctx, cancel := context.WithCancel(context.Background())
	env.Values[held{}] = &holding{ctx: ctx, cancel: cancel}
	env.Defer(cancel)
	return nil
}

// builtins are the commands of the scripts beside testscript's own.
//
//	app [-name NAME] [-alive FILE] [-header 'Name: value'] ADDRESS
//	          an upstream that answers with the request as it came
//	ask [flags] METHOD URL ['Name: value']...
//	          a client of the gateway; prints status, headers and body
//	hold METHOD URL / release
//	          a request that is left waiting, and its end
//	cert CERT_FILE KEY_FILE HOST...
//	wrong ARGS / fails ARGS
//	          gatehouse ARGS has to end with exit code 2, or 1
//	until COMMAND [-- PATTERN]
//	          again and again until it succeeds and its output matches
//	grab NAME PATTERN
//	          sets a variable to the pattern's first group in the output
func builtins() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"app": upstream, "ask": ask, "hold": hold, "release": release, "cert": cert,
		"wrong": exits(exitUsage), "fails": exits(exitFailure), "until": until, "grab": grab,
	}
}

func exits(want int) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := ts.Exec("gatehouse", args...)
		var exit *exec.ExitError
		if neg || !errors.As(err, &exit) || exit.ExitCode() != want {
			ts.Fatalf("gatehouse %s: want exit %d, got %v", strings.Join(args, " "), want, err)
		}
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until command [args...] [-- pattern]")
	}
	pattern := regexp.MustCompile("")
	if n := len(args); n > 2 && args[n-2] == "--" {
		pattern = regexp.MustCompile("(?m)" + args[n-1])
		args = args[:n-2]
	}
	var err error
	var out string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if args[0] == "ask" {
			out, err = answer(ts, args[1:])
		} else {
			err = ts.Exec(args[0], args[1:]...)
			out = ts.ReadFile("stdout")
		}
		if err == nil && pattern.MatchString(out) {
			if args[0] == "ask" {
				_, _ = ts.Stdout().Write([]byte(out)) // a strings.Builder
			}
			return
		}
	}
	ts.Fatalf("not within 30 s: %s (last error %v, last output %s)", strings.Join(args, " "), err, out)
}

func grab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: grab NAME pattern")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("nothing matches %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}
