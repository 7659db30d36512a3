package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
)

// serveBare answers every request itself, with as little as one can do in Go: a
// handshake, one read, one write. No proxy in Go makes more new TLS connections.
func serveBare(f serveFlags) error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", f.listen, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	answer := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", small, filler(small)))
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go answerOnce(c, answer)
	}
}

func answerOnce(c net.Conn, answer []byte) {
	defer func() { _ = c.Close() }() // the client has all of it
	var head []byte
	for buf := make([]byte, 4<<10); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		head = append(head, buf[:n]...)
	}
	_, _ = c.Write(answer) // the client went away
}
