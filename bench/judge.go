package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// row is one line of the table: a figure with what it must reach.
type row struct {
	name     string
	unit     string
	first    float64 // the first stage
	goal     float64
	atLeast  bool // the figure must not be below; otherwise not above
	value    spread
	measured bool
}

func (r row) met() bool { return r.reaches(r.first) }

func (r row) reaches(mark float64) bool {
	if r.atLeast {
		return r.value.median >= mark
	}
	return r.value.median <= mark
}

// verdict is the last column.
func (r row) verdict() string {
	switch {
	case !r.measured:
		return "not measured"
	case r.reaches(r.goal):
		return "pass, goal too"
	case r.met():
		return "pass"
	}
	return "MISSED"
}

type table []row

func (t table) measured() int {
	n := 0
	for _, r := range t {
		if r.measured {
			n++
		}
	}
	return n
}

func (t table) missed() int {
	n := 0
	for _, r := range t {
		if r.measured && !r.met() {
			n++
		}
	}
	return n
}

// judge fills the table from what was measured.
func judge(b *book) table {
	var t table
	add := func(name, unit string, first, goal float64, v spread, ok bool) {
		t = append(t, row{name: name, unit: unit, first: first, goal: goal, atLeast: goal >= first, value: v, measured: ok})
	}
	against := func(name, scenario, other string, f figure, first, goal float64) {
		v, ok := b.ratio(scenario, "gatehouse", other, f)
		add(name, "", first, goal, v, ok)
	}
	against("h1 1 KiB: rate / nginx", "h1-1k", "nginx", rate, 0.55, 1.0)
	against("h1 1 KiB: CPU / nginx", "h1-1k", "nginx", cpuCost, 1.8, 1.0)
	against("h2 1 KiB: rate / nginx", "h2-1k", "nginx", rate, 0.50, 1.0)
	against("h2 1 KiB: CPU / nginx", "h2-1k", "nginx", cpuCost, 2.4, 1.2)
	against("64 KiB: rate / nginx", "h1-64k", "nginx", rate, 0.95, 1.1)
	against("64 KiB: CPU / nginx", "h1-64k", "nginx", cpuCost, 1.05, 0.9)
	against("1 MiB upload: rate / nginx", "h1-up", "nginx", rate, 1.0, 1.2)
	against("new TLS connections: rate / nginx", "h1-conn", "nginx", rate, 1.2, 1.5)
	against("h1: rate / nginx + auth_request (HS256)", "h1-1k", "nginx auth HS256", rate, 2.0, 4)
	against("h2: rate / nginx + auth_request (HS256)", "h2-1k", "nginx auth HS256", rate, 1.4, 2.5)
	against("rate / caddy + forward_auth", "h1-1k", "caddy forward_auth", rate, 5, 10)
	against("rate / oauth2-proxy, cookie", "h1-1k", "oauth2-proxy", rate, 6, 12)
	against("rate / oauth2-proxy, Redis", "h1-1k", "oauth2-proxy redis", rate, 5, 10)
	against("rate / haproxy jwt_verify ES256", "h1-1k", "haproxy jwt ES256", rate, 2.2, 4)
	against("rate / haproxy jwt_verify HS256", "h1-1k", "haproxy jwt HS256", rate, 0.9, 1.6)
	against("rate / tuned ReverseProxy", "h1-1k", "go-tuned", rate, 1.3, 2.5)
	v, ok := b.ratio("tax", "protected", "public", cpuCost)
	add("identity tax: CPU, protected / public, same request", "", 1.08, 1.03, v, ok)
	v, ok = b.ratio("tax", "protected", "public, no credential", cpuCost)
	add("identity tax: CPU, protected / public without a token, as many bytes", "", 1.08, 1.03, v, ok)
	v, ok = b.ratio("h1-many", "10000 tokens", "1 token", cpuCost)
	add("10,000 tokens / 1 token: CPU", "", 1.10, 1.04, v, ok)
	against("p99 / nginx, 64 connections", "h1-1k", "nginx", p99, 2.2, 1.2)
	against("p50 / nginx, one connection", "h1-one", "nginx", p50, 1.3, 1.1)
	judgeMemory(b, add)
	return t
}

func judgeMemory(b *book, add func(name, unit string, first, goal float64, v spread, ok bool)) {
	if r := b.results["idle"]; r != nil {
		kib := r.Figures["gatehouse"]
		add("memory of an idle TLS connection", "KiB", 45, 20, spread{kib, kib, kib}, true)
	} else {
		add("memory of an idle TLS connection", "KiB", 45, 20, spread{}, false)
	}
	v, ok := b.plain("gate", "gate", p50)
	add("gate: cache hit + revocation check", "ns", 1500, 300, v, ok)
	v, ok = b.plain("gate", "gate", p99)
	add("gate: allocations", "", 0, 0, v, ok)
	v, ok = b.plain("revoked", "memory", p50)
	add("1,000,000 live revocations", "MiB", 128, 64, v, ok)
	v, ok = b.plain("revoked", "start", p50)
	add("start to ready, 10^6 users and revocations", "ms", 2000, 1000, v, ok)
	v, ok = b.plain("start", "empty", p50)
	add("start to ready, empty", "ms", 200, 100, v, ok)
	v, ok = b.ratio("log", "on", "off", cpuCost)
	add("access log on / off: CPU", "", 1.10, 1.05, v, ok)
	v, ok = b.ratio("login-flood", "flood", "idle", p99)
	add("proxied p99 during 500 sign-ins / idle", "", 3, 1.5, v, ok)
	v, ok = b.ratio("routes", "1000", "1", cpuCost)
	add("1,000 routes / 1 route: CPU", "", 1.08, 1.03, v, ok)
}

func (t table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-70s %9s %22s %12s %8s  %s\n", "figure", "median", "min .. max", "first stage", "goal", "")
	for _, r := range t {
		if !r.measured {
			fmt.Fprintf(&b, "%-70s %9s %22s %12s %8s  %s\n", r.name, "-", "", number(r.first), number(r.goal), r.verdict())
			continue
		}
		fmt.Fprintf(&b, "%-70s %9s %22s %12s %8s  %s\n", r.name, strings.TrimSpace(number(r.value.median)+" "+r.unit),
			number(r.value.low)+" .. "+number(r.value.high), number(r.first), number(r.goal), r.verdict())
	}
	return b.String()
}

// number prints three significant digits at most.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// heading says when, on what and how, since figures without that mean nothing.
func heading(where cores) string {
	return fmt.Sprintf("%s; commit %s; %s, %d cores; %s\n", time.Now().Format("2006-01-02"), commit(), processor(), runtime.NumCPU(), where) +
		"ratios are formed round by round; access logs are off except where they are measured\n"
}

func processor() string {
	out, err := exec.Command("sh", "-c", "sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1").Output()
	if err != nil {
		return runtime.GOARCH
	}
	return strings.TrimSpace(string(out))
}

// versions of what was measured.
func versions() []string {
	var out []string
	for _, args := range [][]string{{"nginx", "-v"}, {"haproxy", "-v"}, {"caddy", "version"}, {"oauth2-proxy", "--version"}, {"wrk", "-v"}, {"h2load", "--version"}, {"go", "version"}} {
		text, _ := exec.Command(args[0], args[1:]...).CombinedOutput() // some print it and fail
		line, _, _ := strings.Cut(string(text), "\n")
		if line != "" {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
