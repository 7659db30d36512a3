package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks per second of /proc's times; fixed on Linux for user space.
const ticks = 100

// proc is one process of a peer, with its children.
type proc struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// cores says where things run.
type cores struct{ proxy, rest string }

// pinning gives the proxy two cores and everything else the others when there
// are enough. All run all over otherwise, or, apart, the proxy has one core.
func pinning(apart bool) cores {
	switch n := runtime.NumCPU(); {
	case n >= 4:
		return cores{"0-1", fmt.Sprintf("2-%d", n-1)}
	case n == 3 && apart:
		return cores{"0", "1-2"}
	case n == 2 && apart:
		return cores{"0", "1"}
	}
	return cores{}
}

// String implements fmt.Stringer.
func (c cores) String() string {
	if c.proxy == "" {
		return "proxy, app and load generator share all cores: rates are pulled towards each other, CPU per request is not"
	}
	return "proxy on core " + c.proxy + ", app and load on " + c.rest
}

func command(ctx context.Context, on string, name string, args ...string) *exec.Cmd {
	if on != "" {
		args = append([]string{"-c", on, name}, args...)
		name = "taskset"
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start runs a process whose output goes to a file in dir.
func start(ctx context.Context, on, dir, name string, args ...string) (*proc, error) {
	cmd := command(ctx, on, name, args...)
	cmd.Dir = dir
	f, err := os.CreateTemp(dir, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the process has its own handle
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &proc{cmd: cmd, log: f.Name(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// stop asks, waits three seconds, and ends it.
func (p *proc) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		for _, pid := range tree(p.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // children first would be no safer
		}
		<-p.done
	}
}

// waitPort waits until somebody listens.
func (p *proc) waitPort(addr string) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			return p.died()
		default:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s does not listen on %s", p.cmd.Path, addr)
}

func (p *proc) died() error {
	text, _ := os.ReadFile(p.log) // what can be had of it
	return fmt.Errorf("%s ended: %s", p.cmd.Path, tail(string(text), 1000))
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// tree lists a process and its descendants.
func tree(root int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if f := statFields(pid); len(f) > 1 {
			parent, _ := strconv.Atoi(f[1]) // 0 for what is no number
			children[parent] = append(children[parent], pid)
		}
	}
	out := []int{root}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// statFields are the fields of /proc/PID/stat after the name, which may hold
// spaces: state, ppid, ...
func statFields(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	if !ok {
		return nil
	}
	return strings.Fields(rest)
}

// cpu is the time the processes and their descendants have used.
func cpu(procs []*proc) time.Duration {
	var sum int64
	for _, p := range procs {
		for _, pid := range tree(p.cmd.Process.Pid) {
			f := statFields(pid)
			if len(f) < 13 {
				continue
			}
			user, _ := strconv.ParseInt(f[11], 10, 64) // the kernel writes numbers
			system, _ := strconv.ParseInt(f[12], 10, 64)
			sum += user + system
		}
	}
	return time.Duration(sum) * time.Second / ticks
}

// memory is the resident set of the processes in KiB.
func memory(procs []*proc) int {
	sum := 0
	for _, p := range procs {
		for _, pid := range tree(p.cmd.Process.Pid) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				// Pss shares what forked workers share.
				if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
					n, _ := strconv.Atoi(strings.Fields(rest)[0]) // as above
					sum += n
				}
			}
		}
	}
	return sum
}

// settled waits until the resident set has stopped falling, at most ten
// seconds, and returns it.
func settled(procs []*proc) int {
	low := memory(procs)
	for quiet := 0; quiet < 4 && low > 0; {
		time.Sleep(500 * time.Millisecond)
		now := memory(procs)
		if now < low-low/200 {
			low, quiet = now, 0
			continue
		}
		low = min(low, now)
		quiet++
	}
	return low
}
