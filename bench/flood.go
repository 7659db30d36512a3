package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// signIns is how many clients of a flood sign in at a time.
const signIns = 500

// flooding is a flood of sign-ins from a process of its own: beside the clients
// of a flood, whoever measures would wait for them.
type flooding struct {
	cmd *exec.Cmd
	in  io.Closer
	out *json.Decoder
}

// flooded says how many sign-ins were answered 200, and how many otherwise.
type flooded struct{ OK, Other int64 }

// flood begins one, and returns when each client has had an answer: their
// handshakes are no part of the question.
func (r *rig) flood(p *peer) (*flooding, error) {
	cmd := command(r.ctx, r.on.rest, r.self, "flood", p.addr, strconv.FormatBool(r.on.rest == ""))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the flood: %w", err)
	}
	f := &flooding{cmd, in, json.NewDecoder(out)}
	var begun flooded
	if err := f.out.Decode(&begun); err != nil {
		_, _, end := f.stop()
		return nil, errors.Join(fmt.Errorf("flood: %w", err), end)
	}
	return f, nil
}

// stop ends it.
func (f *flooding) stop() (ok, other int64, err error) {
	_ = f.in.Close() // which it reads
	var s flooded
	err = f.out.Decode(&s)
	if err = errors.Join(err, f.cmd.Wait()); err != nil {
		err = fmt.Errorf("flood: %w", err)
	}
	return s.OK, s.Other, err
}

// serveFlood is that process. Where there are no cores of its own for it, it
// runs on what CPU the others leave: so do clients that bring their own.
func serveFlood() error {
	if len(os.Args) != 4 {
		return errors.New("flood wants an address, and whether to stand back")
	}
	if os.Args[3] == "true" {
		if err := standBack(); err != nil {
			return err
		}
	}
	stop := flood(os.Args[2])
	out := json.NewEncoder(os.Stdout)
	err := out.Encode(flooded{})
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed, however
	ok, other := stop()
	return errors.Join(err, out.Encode(flooded{ok, other}))
}

// standBack has all threads, and those to come, run when nobody else wants to.
func standBack() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		if err := unix.SchedSetAttr(id, &attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// flood keeps clients signing in until stop is called, and returns when each has
// had an answer. They do as little as they can.
func flood(addr string) (stop func() (ok, other int64)) {
	body := credentials("flood@bench.test", "correct-horse-battery-1")
	request := fmt.Appendf(nil, "POST /_auth/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
	quit := make(chan struct{})
	var ok, other atomic.Int64
	var all, first sync.WaitGroup
	for range signIns {
		first.Add(1)
		all.Go(func() {
			c := &signer{addr: addr, request: request}
			defer c.close()
			answered := sync.OnceFunc(first.Done)
			defer answered()
			for wait := time.Duration(0); ; {
				select {
				case <-quit:
					return
				case <-time.After(wait):
				}
				wait = time.Second // what Retry-After asks for at least
				switch status, err := c.signIn(); {
				case err != nil:
					c.close()
					continue
				case status == http.StatusOK:
					ok.Add(1)
					wait = 0
				default:
					other.Add(1)
				}
				answered()
			}
		})
	}
	first.Wait()
	return func() (int64, int64) { close(quit); all.Wait(); return ok.Load(), other.Load() }
}

// signer is one client on one connection.
type signer struct {
	addr    string
	request []byte
	conn    *tls.Conn
	in      *bufio.Reader
}

// signIn returns the status of the answer.
func (s *signer) signIn() (int, error) {
	if s.conn == nil {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // a key this program made
		if err != nil {
			return 0, err
		}
		s.conn, s.in = c, bufio.NewReader(c)
	}
	if _, err := s.conn.Write(s.request); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (s *signer) close() {
	if s.conn != nil {
		_ = s.conn.Close() // nothing more is asked of it
		s.conn = nil
	}
}
