package password

import (
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	serviceName = "Work"
	idleFor     = time.Minute      // without work, until the process is ended
	restFor     = time.Minute      // after a failure, until one is started again
	patience    = 10 * time.Second // with one piece of work; a bcrypt of cost 15 takes three
)

var errSlow = errors.New("no answer in time")

// process has work done in a process of its own, so that the kernel can put it
// behind the proxied traffic, which one Go process cannot do for a part of
// itself. It is started when there is work and ended when there was none for a
// while. Passwords reach it through a pipe, and through nothing others can see.
type process struct {
	command              []string
	log                  *slog.Logger
	idle, rest, patience time.Duration

	mu     sync.Mutex
	child  *child // nil while none runs
	busy   int    // calls under way
	timer  *time.Timer
	again  time.Time // no start before
	warned bool      // of a failure, and all was well never since
	closed bool
}

func newProcess(command []string, parallel int, log *slog.Logger) *process {
	p := &process{command: append(command[:len(command):len(command)], strconv.Itoa(parallel)), log: log, idle: idleFor, rest: restFor, patience: patience}
	p.timer = time.AfterFunc(idleFor, p.expire)
	p.timer.Stop()
	return p
}

// call reports whether the process did the work. When not, the caller has to:
// nobody is refused a sign-in because of it.
func (p *process) call(method string, arg, result any) bool {
	c := p.take()
	if c == nil {
		return false
	}
	err := c.call(method, arg, result, p.patience)
	p.give(c, err)
	return err == nil
}

// take returns the running process, or starts one.
func (p *process) take() *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		if p.closed || time.Now().Before(p.again) {
			return nil
		}
		c, err := start(p.command)
		if err != nil {
			p.failed(err)
			return nil
		}
		p.child = c
	}
	p.timer.Stop()
	p.busy++
	return p.child
}

// give ends a call.
func (p *process) give(c *child, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	switch {
	case err == nil:
		p.warned = false
	case p.child == c:
		p.child = nil
		p.failed(fmt.Errorf("%w; %s", err, c.end()))
	}
	if p.busy == 0 && p.child != nil {
		p.timer.Reset(p.idle)
	}
}

func (p *process) failed(err error) {
	p.again = time.Now().Add(p.rest)
	if !p.warned {
		p.log.Warn("passwords are hashed in this process, which slows proxied requests down, because the one for it failed", slog.Any("error", err))
	}
	p.warned = true
}

func (p *process) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy == 0 {
		p.stop()
	}
}

func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.timer.Stop()
	p.stop()
}

func (p *process) stop() {
	if p.child != nil {
		_ = p.child.end() // how does not matter when it was asked for
		p.child = nil
	}
}

// child is one running process.
type child struct {
	cmd    *exec.Cmd
	client *rpc.Client
	reaped chan struct{}
}

// start starts a process with an empty environment, no file but its two pipes,
// and a process group of its own.
func start(command []string) (*child, error) {
	cmd := exec.Command(command[0], command[1:]...) //#nosec G204 -- this program itself
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, err // closes the pipes
	}
	c := &child{cmd: cmd, client: rpc.NewClient(pipe{out, in}), reaped: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // end says how
		close(c.reaped)
	}()
	return c, nil
}

func (c *child) call(method string, arg, result any, patience time.Duration) error {
	call := c.client.Go(serviceName+"."+method, arg, result, make(chan *rpc.Call, 1))
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-call.Done:
		return call.Error
	case <-timer.C:
		_ = c.end()
		<-call.Done // nothing writes to result any more
		return errSlow
	}
}

// end ends the process, which holds nothing that could be lost, and returns how
// it ended.
func (c *child) end() string {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.reaped
	_ = c.client.Close() // as above
	return c.cmd.ProcessState.String()
}
