package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func fetch(c *http.Client, p *peer, path string) bool {
	req, err := http.NewRequest(http.MethodGet, "https://"+p.addr+path, nil)
	if err != nil {
		return false
	}
	for _, h := range p.header() {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	n, err := io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && n == small
}

// idleConns is how many connections are held open.
const idleConns = 5000

// idle opens connections, sends one request on each and holds them.
func idle(r *rig, res *result) error {
	for _, name := range []string{"gatehouse", "nginx", "haproxy", "caddy", "go-plain"} {
		p, err := r.start(name)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		c := client(false)
		fetch(c, p, "/1k")
		c.CloseIdleConnections()
		before := settled(p.procs)
		conns, err := hold(p, idleConns)
		after := settled(p.procs)
		for _, c := range conns {
			_ = c.Close() // the far side ends with its process
		}
		if err != nil {
			return err
		}
		per := float64(after-before) / float64(len(conns))
		res.set(name, per)
		progress("  %-20s %.1f KiB for each of %d connections", name, per, len(conns))
		r.stopAll()
	}
	return nil
}

func hold(p *peer, n int) ([]*tls.Conn, error) {
	var out []*tls.Conn
	head := "GET /1k HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for _, h := range p.header() {
		head += h + "\r\n"
	}
	buf := make([]byte, 16<<10)
	for range n {
		c, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // a key this program made
		if err != nil {
			return out, err
		}
		out = append(out, c)
		if _, err := c.Write([]byte(head + "\r\n")); err != nil {
			return out, err
		}
		for got := 0; got < small; {
			k, err := c.Read(buf)
			if err != nil {
				return out, err
			}
			got += k
		}
	}
	return out, nil
}

// startToReady measures an empty gatehouse from exec to /readyz.
func startToReady(r *rig, res *result) error {
	for round := range r.o.rounds {
		began := time.Now()
		g, err := r.gate(gateOptions{name: fmt.Sprintf("start %d", round)})
		if err == nil {
			err = g.ready()
		}
		if err != nil {
			return err
		}
		took := time.Since(began)
		res.add("empty", sample{P50: took.Seconds() * 1000})
		progress("  ready after %v", took.Round(time.Millisecond))
		r.stopAll()
	}
	return nil
}

// revocations starts gatehouse on a million revocations and users, and takes
// the memory of the mirror from the difference to an empty one.
func revocations(r *rig, res *result) error {
	const many = 1000000
	g, err := r.gate(gateOptions{name: "million"})
	if err == nil {
		err = g.ready()
	}
	if err != nil {
		return err
	}
	empty := settled(g.procs)
	r.stopAll()
	if err := g.plant(many, many); err != nil {
		return err
	}
	for range min(3, r.o.rounds) {
		began := time.Now()
		if g, err = r.gate(gateOptions{name: "million", dir: g.dir}); err == nil {
			err = g.ready()
		}
		if err != nil {
			return err
		}
		took, used := time.Since(began), cpu(g.procs)
		full := settled(g.procs)
		inUse, err := g.heap()
		if err != nil {
			return err
		}
		res.add("start", sample{P50: took.Seconds() * 1000})
		res.add("memory", sample{P50: float64(full-empty) / 1024})
		progress("  ready after %v (%v of CPU), %d MiB more resident, heap %d MiB", took.Round(time.Millisecond), used, (full-empty)/1024, inUse>>20)
		r.stopAll()
	}
	return nil
}

// gateBenchmark runs the Go benchmark of the gate.
func gateBenchmark(r *rig, res *result) error {
	cmd := exec.CommandContext(r.ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkGate$", "-benchmem", "-count", strconv.Itoa(r.o.rounds), "./authn")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench: %w: %s", err, tail(string(out), 500))
	}
	found := regexp.MustCompile(`BenchmarkGate\S*\s+\d+\s+([0-9.]+) ns/op.*?(\d+) allocs/op`).FindAllStringSubmatch(string(out), -1)
	if len(found) == 0 {
		return fmt.Errorf("go test -bench printed no result in %s: %s", filepath.Base(cmd.Dir), tail(string(out), 300))
	}
	for _, m := range found {
		ns, _ := strconv.ParseFloat(m[1], 64) // the pattern lets numbers through alone
		allocs, _ := strconv.ParseFloat(m[2], 64)
		res.add("gate", sample{P50: ns, P99: allocs})
	}
	return nil
}

// metric reads one value from the text format of Prometheus.
func metric(from io.Reader, name string, into *float64) error {
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			*into, err = strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return err
		}
	}
	return fmt.Errorf("no metric is called %s", name)
}
