package server

import (
	"log/slog"
	"net"
)

// notify tells systemd (sd_notify(3)) how the service is doing.
func (s *Server) notify(state string) {
	path := s.opts.NotifySocket
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path) // a leading @ means the abstract name space to net, too
	if err == nil {
		_, err = c.Write([]byte(state))
		_ = c.Close() // a datagram was sent or not
	}
	if err != nil {
		s.log.Warn("service manager could not be told", slog.Any("error", err))
	}
}
