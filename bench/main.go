// Command bench measures gatehouse against what people run today: it starts
// each peer with a configuration of its own making, puts the same load on all
// of them in interleaved rounds, and prints ratios formed round by round. It
// decides what is measured and how; it knows gatehouse as a process, by its
// command line and its file, except where it plants tokens and rows that would
// take hours to make from outside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	only     string
	rounds   int
	duration time.Duration
	binary   string
	state    string
	fresh    bool
	write    bool
	apart    bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		exit(serve(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "layers" {
		exit(layers(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "flood" {
		exit(serveFlood())
	}
	var o options
	flag.StringVar(&o.only, "scenarios", "", "comma-separated scenarios; empty means all")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of every comparison")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "length of one measurement")
	flag.StringVar(&o.binary, "gatehouse", "bin/gatehouse", "the production binary")
	flag.StringVar(&o.state, "state", ".bench", "where results are kept between runs")
	flag.BoolVar(&o.fresh, "fresh", false, "measure again what the state holds for this commit")
	flag.BoolVar(&o.write, "write", false, "write the table and the chart to docs/performance.md")
	flag.BoolVar(&o.apart, "apart", false, "with few cores: one for the proxy, the others for everything else")
	flag.Parse()
	if o.apart && o.write {
		exit(errors.New("the document is about all cores: -apart is not written there"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exit(measure(ctx, o))
}

func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// measure runs the scenarios that are asked for and missing, and prints what is
// known afterwards.
func measure(ctx context.Context, o options) error {
	if o.apart {
		o.state += "/apart"
	}
	b, err := newBook(o)
	if err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.close()
	var failed []error
	for _, s := range chosen {
		if b.has(s.name) && !o.fresh {
			progress("%s: kept from %s", s.name, b.results[s.name].When.Format(time.RFC3339))
			continue
		}
		progress("%s: %s", s.name, s.what)
		res := newResult(s.name)
		err := s.run(r, res)
		r.stopAll()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			progress("%s: %v", s.name, err)
			continue
		}
		if err := b.keep(res); err != nil {
			return err
		}
	}
	table := judge(b)
	fmt.Print(heading(r.on), "\n", table.text())
	if o.write {
		if err := writeDocs(b, table, r.on); err != nil {
			failed = append(failed, err)
		}
	}
	if n := table.missed(); n > 0 {
		failed = append(failed, fmt.Errorf("%d of %d rows miss the first stage", n, table.measured()))
	}
	return errors.Join(failed...)
}

func choose(only string) ([]scenario, error) {
	all := scenarios()
	if only == "" {
		return all, nil
	}
	var out []scenario
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, s := range all {
			if s.name == strings.TrimSpace(name) {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no scenario is called %q", name)
		}
	}
	return out, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
