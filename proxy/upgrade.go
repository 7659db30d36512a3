package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"gatehouse/web"
)

// closeWait bounds the farewell to a peer that does not take part in it.
const closeWait = 500 * time.Millisecond

// upgradedBody is the body of a 101 answer.
type upgradedBody interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// switchProtocols takes the connection over and copies both ways until both
// ends are done, the session ends or the gateway stops.
func (x *exchange) switchProtocols(resp *http.Response, run *run) *web.Error {
	up, ok := resp.Body.(upgradedBody)
	if !ok || x.upgrade == "" {
		_ = resp.Body.Close() // nothing was agreed on
		return &web.Error{Status: http.StatusBadGateway, Code: "upstream_protocol", Detail: "The application's answer could not be understood.", Cause: errors.New("101 that nobody asked for")}
	}
	defer func() { _ = up.Close() }()
	h := x.w.Header()
	x.rt.responseHeader(h, resp.Header, x.r, x.rec.Secure, x.id != nil, x.result.SetCookie)
	delete(h, "Content-Length")
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		clear(h)
		return &web.Error{Status: http.StatusInternalServerError, Code: "internal_error", Detail: "Something went wrong here. It has been logged.", Cause: err}
	}
	run.socket.Store(true)
	defer func() { _ = conn.Close() }()
	x.p.metrics.sockets.Add(1)
	defer x.p.metrics.sockets.Add(-1)
	_ = conn.SetDeadline(time.Time{}) // a dead connection shows itself in the copy
	if err := writeHead(conn, h); err != nil {
		x.rec.Err = err
		return nil
	}
	x.rec.Err = pump(conn, afterHijack(conn, rw.Reader), up, run)
	return nil
}

// afterHijack reads what the server had read already, then the connection
// itself: net/http's reader would cancel the request at the client's EOF, and
// with it the half of the connection that is still open.
func afterHijack(conn net.Conn, buffered *bufio.Reader) io.Reader {
	early, _ := buffered.Peek(buffered.Buffered()) // no more than is there, so never an error
	if len(early) == 0 {
		return conn
	}
	return io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)
}

func writeHead(w io.Writer, h http.Header) error {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := h.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	_, err := w.Write(b.Bytes())
	return err
}

// pump copies both directions with half-close.
func pump(client net.Conn, fromClient io.Reader, up upgradedBody, run *run) error {
	var down frames
	upward, downward := make(chan error, 1), make(chan error, 1)
	go func() { upward <- relay(up, fromClient, run, nil, up.CloseWrite) }()
	go func() { downward <- relay(client, up, run, &down, func() error { return closeWrite(client) }) }()
	var first error
	for upward != nil || downward != nil {
		var err error
		select {
		case err = <-upward:
			upward = nil
		case err = <-downward:
			downward = nil
		case <-run.Done():
		}
		// An end of ours breaks the app's connection too, and a copy may say so first.
		if why := run.why(); why != nil {
			_ = up.Close() // ends the downward copy, so that nothing interleaves
			_ = client.SetDeadline(time.Now().Add(closeWait))
			if downward != nil {
				<-downward
			}
			farewell(client, fromClient, upward, &down, int(run.code.Load()))
			return why
		}
		if err != nil && first == nil {
			first = err
			_ = client.Close() // one direction broke: the other has no meaning
			_ = up.Close()
		}
	}
	return first
}

// farewell ends a client's connection that nobody else writes to any more:
// with a close frame, if that would not land inside a frame or behind the app's
// own. What the client still sends is read until it closes too, since a
// connection closed over unread bytes is reset, and the frame lost with it.
// upward is nil when its copy has ended.
func farewell(client net.Conn, fromClient io.Reader, upward chan error, down *frames, code int) {
	whole := down.whole()
	if whole {
		_, err := client.Write(closeFrame(code))
		whole = err == nil && closeWrite(client) == nil
	}
	if !whole {
		cut(client)
	}
	if upward != nil {
		<-upward
	}
	if whole {
		_, _ = io.Copy(io.Discard, fromClient) // until it closes, or the deadline
	}
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// cut closes without TLS's own farewell, which would wait for a peer that does
// not read.
func cut(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		_ = t.NetConn().Close() // it ends either way
	}
	_ = c.Close() // as above
}

// firstBuffer is where a relay's buffer starts; bulk makes it grow to
// copyBuffer. Most sockets are quiet, and there may be very many.
const firstBuffer = 2 << 10

func relay(dst io.Writer, src io.Reader, run *run, f *frames, closeWrite func() error) error {
	buf := make([]byte, firstBuffer)
	for {
		n, err := src.Read(buf)
		run.progress()
		if n > 0 {
			sent, werr := dst.Write(buf[:n])
			if f != nil {
				f.feed(buf[:sent])
			}
			if werr != nil {
				if f != nil {
					f.over = true
				}
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return closeWrite()
		}
		if err != nil {
			return err
		}
		if n == len(buf) && n < copyBuffer {
			buf = make([]byte, 2*n)
		}
	}
}

const opClose = 8

// closeFrame is an unmasked close frame (RFC 6455 section 5.5.1).
func closeFrame(code int) []byte {
	if code == 0 {
		code = closeGoingAway
	}
	return []byte{0x80 | opClose, 2, byte(code >> 8), byte(code)} //#nosec G115 -- a 16-bit close code
}

// frames follows the frame boundaries of one direction (RFC 6455 section 5.2),
// so that a frame of ours is never put inside one of the app's.
type frames struct {
	head [14]byte
	have int
	left uint64
	over bool // the app closed, or a write failed: no frame may follow
}

// whole reports whether another frame may follow what went out.
func (f *frames) whole() bool { return f.have == 0 && f.left == 0 && !f.over }

func (f *frames) feed(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(uint64(len(p)), f.left)
			f.left -= n
			p = p[n:]
			continue
		}
		f.head[f.have] = p[0]
		f.have++
		p = p[1:]
		if f.have >= 2 && f.have == f.headLen() {
			f.left = f.payload()
			f.have = 0
			f.over = f.over || f.head[0]&0x0f == opClose
		}
	}
}

func (f *frames) headLen() int {
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *frames) payload() uint64 {
	size := uint64(f.head[1] & 0x7f)
	var ext []byte
	switch size {
	case 126:
		ext = f.head[2:4]
	case 127:
		ext = f.head[2:10]
	default:
		return size
	}
	size = 0
	for _, b := range ext {
		size = size<<8 | uint64(b)
	}
	return size
}
