package password

import (
	"io"
	"net/rpc"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// niceness is how far a process of its own stands back: on a processor that
// proxied requests want as well, it gets a quarter. Less would be enough for
// them, and sign-ins would wait in vain on a machine that is busy for long.
const niceness = 5

// service is what a Hasher calls over the pipe.
type service struct{ work }

// Hash is Hasher.Hash without its limits.
func (s service) Hash(password string, hash *string) error {
	*hash = s.hash(password)
	runtime.GC() // or the next one's memory comes on top of this one's
	return nil
}

// Verify is Hasher.Verify without its limits.
func (s service) Verify(c Claim, v *Verdict) error {
	*v = s.verify(c)
	runtime.GC()
	return nil
}

// Serve does the work of the Hasher at the other ends of in and out, parallel
// pieces at a time, until in ends. It makes the whole process one for this: of
// low priority, deaf to the signals that ask the gateway to end (which it does
// only when nobody needs it any more), and with so few processors that garbage
// collection takes no others.
func Serve(in io.ReadCloser, out io.WriteCloser, parallel int) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	runtime.GOMAXPROCS(parallel)
	standBack()
	server := rpc.NewServer()
	if err := server.RegisterName(serviceName, service{newWork()}); err != nil {
		return err
	}
	server.ServeConn(pipe{in, out})
	return nil
}

// standBack lowers the priority of all threads, which Linux keeps for each: of
// those there are, by way of the process group, of which this process is the
// only one. Later ones inherit it. Where it is not allowed, the work is done
// all the same.
func standBack() {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, 0, niceness)
	_ = os.WriteFile("/proc/self/comm", []byte("gatehouse"), 0) // for ps and top: the path it was started by says nothing
}

// pipe is two one-way streams as one connection.
type pipe struct {
	io.ReadCloser
	out io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

func (p pipe) Close() error {
	_ = p.out.Close() // a pipe has nothing left to lose
	return p.ReadCloser.Close()
}
