package server

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// Keep-alive of client connections: as package net has it by default.
const (
	keepAliveIdle  = 15 // seconds without traffic before the first probe
	keepAliveEvery = 15 // seconds between two
	keepAliveCount = 9  // unanswered ones that end a connection
)

// listen opens a listener whose connections have keep-alive on. They inherit
// the options: set on each, they would be four system calls more for every new
// connection.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = keepAlive(int(fd)) }); err != nil { //#nosec G115 -- a descriptor
			return err
		}
		return failed
	}}
	return lc.Listen(ctx, "tcp", addr)
}

func keepAlive(fd int) error {
	return errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveEvery),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveCount),
	)
}
