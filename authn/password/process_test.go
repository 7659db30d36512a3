package password

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the process of a Hasher, as gatehouse is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "hasher" {
		parallel, err := strconv.Atoi(os.Args[2])
		if err != nil || Serve(os.Stdin, os.Stdout, parallel) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// apart makes a Hasher with a process of its own, and the log it writes to.
func apart(t *testing.T, command ...string) (*Hasher, *lines) {
	t.Helper()
	log := &lines{}
	if len(command) == 0 {
		command = []string{"/proc/self/exe", "hasher"}
	}
	h, err := NewHasher(Options{Parallel: 2, Queue: 100, Wait: time.Minute, Command: command, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h, log
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) want(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := strings.Count(l.buf.String(), "\n"); got != n {
		t.Errorf("%d lines in the log, want %d:\n%s", got, n, l.buf.String())
	}
}

// pid is that of the running process, 0 for none.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return 0
	}
	return p.child.cmd.Process.Pid
}

// works fails the test unless a right password is right and a wrong one wrong.
func works(t *testing.T, h *Hasher) {
	t.Helper()
	for text, want := range map[string]bool{"password": true, "Password": false} {
		if ok, rehash, err := h.Verify(t.Context(), "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", text); ok != want || rehash != want || err != nil {
			t.Fatal(text, ok, rehash, err)
		}
	}
}

// Every form of hash is made and judged in the other process as it is here.
func TestProcessJudgesAlike(t *testing.T) {
	h, log := apart(t)
	hash, err := h.Hash(t.Context(), "pass wörd")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hash, password string
		want           Verdict
	}{
		{hash, "pass wo\u0308rd", Verdict{OK: true}},
		{hash, "pass word", Verdict{}},
		{"$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng", "password", Verdict{}},
		{"$2a$05$pKRa9b4DdY77DXHMh62xcORPRGlm7vPm3kRADeGUJXPrDgjiU0Aqq", "password", Verdict{OK: true, Rehash: true}},
		{"pbkdf2_sha256$1000$salt$YywoEuRtRgQQK6dhjp1tfS+BKPYma0oDJk0qBGC33LM=", "password", Verdict{OK: true, Rehash: true}},
		{"$apr1$r31.....$ARC3pREO82RIm0aQ2zszC0", "password", Verdict{OK: true, Rehash: true}},
		{"$apr1$r31.....$ARC3pREO82RIm0aQ2zszC0", strings.Repeat("x", MaxBytes), Verdict{}},
		{"nonsense", "", Verdict{Unknown: true}},
	} {
		ok, rehash, err := h.Verify(t.Context(), c.hash, c.password)
		if got := (Verdict{OK: ok, Rehash: rehash, Unknown: errors.Is(err, ErrUnknownHash)}); got != c.want {
			t.Errorf("%q, %.10q: %+v", c.hash, c.password, got)
		}
	}
	if h.there.pid() == 0 {
		t.Error("no process did it")
	}
	log.want(t, 0)
}

// The process stands back with all its threads, and holds neither the
// environment nor the files of the one that started it; nobody reads a password
// in its arguments (threat T113).
func TestT113_ProcessStandsBackAndHoldsNothing(t *testing.T) {
	t.Setenv("A_SECRET", "x")
	h, _ := apart(t)
	works(t, h)
	proc := fmt.Sprintf("/proc/%d/", h.there.pid())
	stats, err := filepath.Glob(proc + "task/*/stat")
	if err != nil || len(stats) < 2 {
		t.Fatal(stats, err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if nice := strings.Fields(rest)[16]; nice != strconv.Itoa(niceness) {
			t.Errorf("a thread of niceness %s", nice)
		}
	}
	for file, want := range map[string]string{"environ": "", "cmdline": "/proc/self/exe\x00hasher\x002\x00", "comm": "gatehouse\n"} {
		if text, err := os.ReadFile(proc + file); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
	fds, err := filepath.Glob(proc + "fd/*")
	if err != nil || len(fds) < 3 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		// Its pipes, and what the Go runtime opens for itself.
		to, err := os.Readlink(fd)
		if err == nil && !regexp.MustCompile(`^(/dev/null|pipe:.*|anon_inode:.*|/sys/fs/cgroup/.*)$`).MatchString(to) {
			t.Errorf("it holds %s", to)
		}
	}
}

// Whatever becomes of the process, passwords are judged; the log says so once,
// and after a rest there is another process.
func TestT113_NoSignInFailsWithTheProcess(t *testing.T) {
	t.Run("it cannot be started", func(t *testing.T) {
		h, log := apart(t, "/nonexistent")
		h.there.rest = 0
		works(t, h)
		log.want(t, 1)
	})
	t.Run("it ends at once", func(t *testing.T) {
		h, log := apart(t, "/bin/false")
		h.there.rest = 0
		works(t, h)
		log.want(t, 1)
	})
	t.Run("it is killed", func(t *testing.T) {
		h, log := apart(t)
		works(t, h)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { works(t, h) })
		}
		if err := syscall.Kill(h.there.pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		works(t, h)
		log.want(t, 1)
		if h.there.pid() != 0 {
			t.Error("started again without a rest")
		}
		h.there.mu.Lock()
		h.there.again = time.Now()
		h.there.mu.Unlock()
		works(t, h)
		if h.there.pid() == 0 {
			t.Error("not started again")
		}
	})
	t.Run("it does not answer", func(t *testing.T) {
		h, log := apart(t)
		works(t, h)
		h.there.patience = time.Millisecond
		if err := syscall.Kill(h.there.pid(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		works(t, h)
		log.want(t, 1)
	})
}

// It is deaf to what asks the gateway to end, which goes on for a while.
func TestProcessOutlivesTheSignalsOfAnEnd(t *testing.T) {
	h, log := apart(t)
	works(t, h)
	pid := h.there.pid()
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	works(t, h)
	if h.there.pid() != pid {
		t.Error("another process")
	}
	log.want(t, 0)
}

// Without work there is no process; with new work there is one again.
func TestProcessEndsWithoutWork(t *testing.T) {
	h, log := apart(t)
	h.there.idle = time.Millisecond
	for range 2 {
		works(t, h)
		for deadline := time.Now().Add(time.Minute); h.there.pid() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("still there")
			}
		}
	}
	h.Close()
	works(t, h)
	if h.there.pid() != 0 {
		t.Error("started after the end")
	}
	log.want(t, 0)
}
