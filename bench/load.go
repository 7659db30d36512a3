package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// load is what a generator does for one measurement.
type load struct {
	path     string
	http2    bool
	conns    int
	streams  int // of each HTTP/2 connection
	headers  []string
	script   string        // Lua for wrk: an upload, or many tokens
	duration time.Duration // of one measurement
}

// sample is one measurement of one peer.
type sample struct {
	Rate     float64 // requests a second
	CPU      float64 // seconds of all its processes for 100,000 requests
	P50, P99 float64 // milliseconds
	Requests int64
	Errors   int64 // connections, timeouts, and statuses other than 2xx
	Wrong    int64 // answers a client in between found wrong
}

// drive puts the load on a peer while a checking client asks in between.
func (r *rig) drive(p *peer, l load) (sample, error) {
	l.headers = append(l.headers, p.header()...)
	checks := newChecker(p)
	before := cpu(p.procs)
	checks.start()
	var s sample
	var err error
	if l.http2 {
		s, err = r.h2load(p, l)
	} else {
		s, err = r.wrk(p, l)
	}
	asked, wrong, first := checks.stop()
	used := cpu(p.procs) - before
	if err != nil {
		return s, fmt.Errorf("%s: %w", p.name, err)
	}
	if wrong > 0 {
		progress("    %s: %d of %d checked answers were wrong, the first: %s", p.name, wrong, asked, first)
	}
	if s.Requests == 0 {
		return s, fmt.Errorf("%s: %w in %v", p.name, errSilent, l.duration)
	}
	s.Wrong = wrong
	s.CPU = used.Seconds() * 1e5 / float64(s.Requests+asked)
	return s, nil
}

// report is the end of every wrk script.
const report = `
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.duration, summary.requests, e.connect + e.read + e.write + e.timeout, e.status, latency:percentile(50), latency:percentile(99)))
end
`

func (r *rig) wrk(p *peer, l load) (sample, error) {
	script, err := r.write("load.lua", l.script+report)
	if err != nil {
		return sample{}, err
	}
	threads := 1
	if r.on.rest != "" {
		threads = 2
	}
	args := []string{"-t", strconv.Itoa(threads), "-c", strconv.Itoa(l.conns), "-d", seconds(l.duration) + "s", "--timeout", "10s", "-s", script}
	for _, h := range l.headers {
		args = append(args, "-H", h)
	}
	out, err := r.output("wrk", append(args, "https://"+p.addr+l.path)...)
	if err != nil {
		return sample{}, err
	}
	_, line, ok := strings.Cut(out, "RESULT ")
	if !ok {
		return sample{}, fmt.Errorf("wrk printed no result: %s", tail(out, 500))
	}
	var micros, requests, broken, status, p50, p99 int64
	if _, err := fmt.Sscan(line, &micros, &requests, &broken, &status, &p50, &p99); err != nil {
		return sample{}, fmt.Errorf("read wrk's result: %w", err)
	}
	return sample{
		Rate: float64(requests) * 1e6 / float64(micros), Requests: requests, Errors: broken + status,
		P50: float64(p50) / 1000, P99: float64(p99) / 1000,
	}, nil
}

func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(d/time.Second))) }

// output runs a generator off the proxy's cores.
func (r *rig) output(name string, args ...string) (string, error) {
	cmd := command(r.ctx, r.on.rest, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return "", err
		}
		return "", fmt.Errorf("%s: %w: %s", name, err, tail(out.String(), 500))
	}
	return out.String(), nil
}

// patterns of h2load's summary.
type h2patterns struct{ finished, requests, codes *regexp.Regexp }

func newH2Patterns() h2patterns {
	return h2patterns{
		regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`),
		regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`),
		regexp.MustCompile(`status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`),
	}
}

func (r *rig) h2load(p *peer, l load) (sample, error) {
	args := []string{"-t", "1", "-c", strconv.Itoa(l.conns), "-m", strconv.Itoa(l.streams), "-D", seconds(l.duration)}
	for _, h := range l.headers {
		args = append(args, "-H", h)
	}
	out, err := r.output("h2load", append(args, "https://"+p.addr+l.path)...)
	if err != nil {
		return sample{}, err
	}
	re := newH2Patterns()
	rate, counts, codes := re.finished.FindStringSubmatch(out), re.requests.FindStringSubmatch(out), re.codes.FindStringSubmatch(out)
	if rate == nil || counts == nil || codes == nil {
		return sample{}, fmt.Errorf("h2load printed no result: %s", tail(out, 500))
	}
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64) // the pattern lets digits through alone
		return n
	}
	var s sample
	s.Requests = number(counts[1])
	for _, n := range append(codes[1:], counts[4:]...) {
		s.Errors += number(n)
	}
	if s.Rate, err = strconv.ParseFloat(rate[1], 64); err != nil {
		return s, err
	}
	return s, nil
}

// uploadScript makes wrk post one MiB.
func uploadScript() string {
	return fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = string.rep(\"0123456789abcdef\", %d)\nwrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n", huge/16)
}

// tokensScript makes wrk go round many tokens, formatted before it starts.
func tokensScript(tokens []minted) string {
	var b strings.Builder
	b.WriteString("local tokens = {\n")
	for _, t := range tokens {
		fmt.Fprintf(&b, "%q,\n", t.text)
	}
	b.WriteString(`}
local reqs, n = {}, 0
init = function(args)
  for i, t in ipairs(tokens) do reqs[i] = wrk.format("GET", nil, {["Authorization"] = "Bearer " .. t}) end
end
request = function() n = n % #reqs + 1; return reqs[n] end
`)
	return b.String()
}
