package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// layers loads gatehouse, takes a CPU profile from its admin listener, and says
// which layer each sample belongs to.
func layers(args []string) error {
	var o options
	var work, keep, read string
	set := flag.NewFlagSet("layers", flag.ContinueOnError)
	set.StringVar(&o.binary, "gatehouse", "bin/gatehouse", "the production binary")
	set.StringVar(&work, "work", "h1-1k,h2-1k", "comma-separated kinds of load: h1-1k, h2-1k, h1-64k, h1-up, h1-conn")
	set.StringVar(&keep, "keep", "", "directory for the profiles")
	set.StringVar(&read, "read", "", "classify this profile instead of taking one")
	set.BoolVar(&o.write, "write", false, "write the table to docs/performance.md")
	set.DurationVar(&o.duration, "duration", 10*time.Second, "length of a profile")
	if err := set.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	names := strings.Split(work, ",")
	if read != "" {
		shares, err := classify(ctx, read)
		if err != nil {
			return err
		}
		fmt.Print(shareTable([]string{read}, []map[string]float64{shares}))
		return nil
	}
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer r.close()
	if keep == "" {
		keep = r.dir
	}
	var all []map[string]float64
	for _, name := range names {
		path, err := r.profile(name, keep)
		if err != nil {
			return err
		}
		shares, err := classify(ctx, path)
		if err != nil {
			return err
		}
		all = append(all, shares)
	}
	text := shareTable(names, all)
	fmt.Print(text)
	if o.write {
		return replacePart(document, "layers", text)
	}
	return nil
}

// profiled are the loads a profile can be taken under.
func profiled() map[string]load {
	return map[string]load{
		"h1-1k":   {path: "/1k", conns: 64},
		"h2-1k":   {path: "/1k", http2: true, conns: 16, streams: 4},
		"h1-64k":  {path: "/64k", conns: 64},
		"h1-up":   {path: "/up", conns: 16, script: uploadScript()},
		"h1-conn": {path: "/1k", conns: 64, headers: []string{"Connection: close"}},
	}
}

// profile keeps a CPU profile of gatehouse under one load.
func (r *rig) profile(name, dir string) (string, error) {
	l, ok := profiled()[name]
	if !ok {
		return "", fmt.Errorf("no load is called %q", name)
	}
	g, err := r.gate(gateOptions{name: "profile " + name})
	if err != nil {
		return "", err
	}
	defer r.stopAll()
	tokens, err := g.mint(r.ctx, 1)
	if err != nil {
		return "", err
	}
	g.token = tokens[0].text
	l.duration = r.o.duration + 3*time.Second
	loaded := make(chan error, 1)
	go func() {
		s, err := r.drive(g.peer, l)
		progress("%s: %.0f/s, %.2f CPU s/100k, %d errors, %d wrong", name, s.Rate, s.CPU, s.Errors, s.Wrong)
		loaded <- err
	}()
	path := dir + "/" + name + ".pprof"
	err = fetchProfile(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%s", g.admin, seconds(r.o.duration)), path)
	return path, errors.Join(err, <-loaded)
}

func fetchProfile(url, path string) error {
	resp, err := http.Get(url) //nolint:gosec // loopback
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

// classify adds up the samples of a profile by layer, as shares of the whole.
func classify(ctx context.Context, path string) (map[string]float64, error) {
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", path).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	shares := map[string]float64{}
	var stack []string
	var value, total time.Duration
	flush := func() {
		if len(stack) > 0 {
			shares[layerOf(stack)] += value.Seconds()
			total += value
		}
		stack = nil
	}
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "-----------+") {
			flush()
			continue
		}
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && stack == nil:
			if d, err := time.ParseDuration(f[0]); err == nil {
				value, stack = d, []string{f[1]}
			}
		case len(f) >= 1 && stack != nil:
			stack = append(stack, f[0])
		}
	}
	flush()
	if total == 0 {
		return nil, errors.New("the profile holds no samples")
	}
	for k := range shares {
		shares[k] *= 100 / total.Seconds()
	}
	return shares, nil
}

// layer is a name for the functions whose names begin with one of the
// prefixes.
type layer struct {
	name     string
	prefixes []string
}

// wholeStack are layers that own a sample wherever they stand in its stack.
func wholeStack() []layer {
	return []layer{
		{"GC and allocation", []string{"runtime.gcBgMarkWorker", "runtime.mallocgc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssistAlloc", "runtime.growslice", "runtime.newobject", "runtime.makeslice", "runtime.gcStart", "runtime.gcMark", "runtime.wbBufFlush", "runtime.(*mcache)", "runtime.GC", "runtime.rawstring", "runtime.concatstring"}},
		{"deadlines and timers", []string{"internal/poll.setDeadlineImpl", "internal/poll.runtime_pollSetDeadline", "time.AfterFunc", "time.(*Timer)", "runtime.(*timer", "time.stopTimer", "time.resetTimer", "time.newTimer", "context.AfterFunc", "context.WithCancel", "context.WithDeadline", "context.(*"}},
		{"scheduler and netpoll", []string{"runtime.schedule", "runtime.findRunnable", "runtime.mcall", "runtime.park_m", "runtime.goexit0", "runtime.mstart", "runtime.sysmon", "runtime.ready", "runtime.goready", "runtime.exitsyscall", "runtime.entersyscall", "runtime.reentersyscall", "runtime.newproc", "runtime.gopark", "runtime.netpoll", "runtime.systemstack_switch"}},
	}
}

// nearest are layers that own a sample when one of their functions is the
// first on the way from the leaf that any layer knows.
func nearest() []layer {
	return []layer{
		{"syscalls", []string{"internal/runtime/syscall.", "syscall.", "runtime/internal/syscall."}},
		{"gate: token, revocation", []string{"gatehouse/authn"}},
		{"parsing heads", []string{"gatehouse/wire.", "gatehouse/server/http1.plain", "gatehouse/proxy/upstream.plain", "net/textproto.", "net/http.ReadResponse", "net/http.readTransfer", "net/http.(*conn).readRequest", "net/http.readRequest", "net/url.", "net/http.parse", "golang.org/x/net/http2/hpack", "net/http.newTextproto", "net/http.fixLength", "net/http.validHeader", "vendor/golang.org/x/net/http/httpguts", "golang.org/x/net/http/httpguts"}},
		{"upstream client", []string{"gatehouse/proxy/upstream"}},
		{"headers", []string{"gatehouse/proxy.(*table).requestHeader", "gatehouse/proxy.(*table).copyClient", "gatehouse/proxy.(*table).passes", "gatehouse/proxy.(*table).isReserved", "gatehouse/proxy.hopByHop", "gatehouse/proxy.nominates", "gatehouse/proxy.set", "gatehouse/proxy.forwarded", "gatehouse/proxy.(*route).responseHeader", "gatehouse/proxy.cutCookie",
			"net/http.Header.", "net/http.extraHeader", "net/http.(*chunkWriter).writeHeader", "net/http.headerSorter", "net/textproto.CanonicalMIME", "net/textproto.canonicalMIME"}},
		{"copy", []string{"gatehouse/proxy.(*exchange).copyBody", "io.Copy", "io.copyBuffer", "net/http.(*body)", "net/http/internal.(*chunked"}},
		{"match, decide, forward", []string{"gatehouse/proxy"}},
		{"log and metrics", []string{"log/slog", "gatehouse/server.(*Server).logAccess", "gatehouse/server.(*metrics)", "github.com/prometheus"}},
		{"HTTP/1.1 server", []string{"gatehouse/server/http1"}},
		{"HTTP/2 server", []string{"gatehouse/server/http2", "golang.org/x/net/http2.(*Framer)"}},
		{"outer chain", []string{"gatehouse/server", "gatehouse/web"}},
		{"TLS", []string{"crypto/"}},
		{"net/http server", []string{"net/http."}},
		{"sockets in Go (poll, net)", []string{"internal/poll", "net."}},
	}
}

// layerOf owns a stack, leaf first.
func layerOf(stack []string) string {
	// A system call inside the scheduler (epoll, futex) belongs to it.
	for _, l := range wholeStack() {
		for _, frame := range stack {
			if l.has(frame) {
				return l.name
			}
		}
	}
	for _, frame := range stack {
		for _, l := range nearest() {
			if l.has(frame) {
				return l.name
			}
		}
	}
	return "the rest of the runtime"
}

func (l layer) has(frame string) bool {
	return slices.ContainsFunc(l.prefixes, func(p string) bool { return strings.HasPrefix(frame, p) })
}

func shareTable(names []string, all []map[string]float64) string {
	order := map[string]float64{}
	for _, shares := range all {
		for k, v := range shares {
			order[k] += v
		}
	}
	keys := make([]string, 0, len(order))
	for k := range order {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if order[a] > order[b] {
			return -1
		}
		return 1
	})
	var b strings.Builder
	b.WriteString("| layer | " + strings.Join(names, " | ") + " |\n|---|" + strings.Repeat("---|", len(names)) + "\n")
	for _, k := range keys {
		b.WriteString("| " + k)
		for _, shares := range all {
			fmt.Fprintf(&b, " | %.1f %%", shares[k])
		}
		b.WriteString(" |\n")
	}
	return b.String()
}
