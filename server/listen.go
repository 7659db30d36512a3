package server

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Keep-alive of client connections: as package net has it by default.
const (
	keepAliveIdle  = 15 // seconds without traffic before the first probe
	keepAliveEvery = 15 // seconds between two
	keepAliveCount = 9  // unanswered ones that end a connection
)

// maxUnsent is how much of an answer the kernel holds, in bytes, for a client
// to make room for, beyond what is on its way (TCP_NOTSENT_LOWAT). Without it
// that is up to tcp_wmem's maximum, usually 4 MiB, for each connection of a
// client that does not read, and filling it takes time from others (threat
// T123).
const maxUnsent = 128 << 10

// listen opens a listener whose connections have keep-alive on and keep little
// unsent. They inherit the options: set on each, they would be five system calls
// more for every new connection. One for Multipath TCP, which package net asks
// for by itself, does not hand on the last.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = inherit(int(fd)) }); err != nil { //#nosec G115 -- a descriptor
			return err
		}
		return failed
	}}
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, "tcp", addr)
}

func inherit(fd int) error {
	return errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveEvery),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveCount),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent),
	)
}
