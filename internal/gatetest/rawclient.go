package gatetest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// RawAnswer is an answer with its header lines as they came, names in lower
// case. Err says that the body was cut, or that there was no answer at all.
type RawAnswer struct {
	Status  int
	Header  [][2]string
	Trailer [][2]string
	Body    string
	Interim []int // status codes of interim answers
	Err     error
}

// Values returns the values of a header in the order in which they came.
func (a RawAnswer) Values(name string) []string { return values(a.Header, name) }

func values(lines [][2]string, name string) (out []string) {
	for _, l := range lines {
		if strings.EqualFold(l[0], name) {
			out = append(out, l[1])
		}
	}
	return out
}

// RawTLS connects to the gate for one protocol, "h2" or "http/1.1".
func (g *Gate) RawTLS(host, protocol string) *tls.Conn {
	g.t.Helper()
	conf := g.TLSConfig()
	conf.ServerName, conf.NextProtos = host, []string{protocol}
	c, err := tls.Dial("tcp", g.HTTPS, conf)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// Raw1 is a client that writes HTTP/1.1 byte by byte.
type Raw1 struct {
	*tls.Conn
	R *bufio.Reader
}

// Raw1 connects to the gate.
func (g *Gate) Raw1(host string) *Raw1 {
	g.t.Helper()
	c := g.RawTLS(host, "http/1.1")
	return &Raw1{c, bufio.NewReader(c)}
}

// Say writes bytes.
func (c *Raw1) Say(text string) { _, _ = io.WriteString(c.Conn, text) } // a peer that is gone shows itself in the answer

// Answer reads the answer to a request with the given method.
func (c *Raw1) Answer(method string) RawAnswer {
	var a RawAnswer
	for {
		head, err := readHead(c.R)
		if err != nil {
			a.Err = err
			return a
		}
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head), onlyReader{c.R})), &http.Request{Method: method})
		if err != nil {
			a.Err = err
			return a
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			a.Interim = append(a.Interim, resp.StatusCode)
			continue
		}
		a.Status, a.Header = resp.StatusCode, lines(head)
		if a.Status == http.StatusSwitchingProtocols {
			return a
		}
		c.body(&a, method)
		return a
	}
}

// body reads a body from the connection's own reader, so that nothing behind
// it is taken.
func (c *Raw1) body(a *RawAnswer, method string) {
	if method == http.MethodHead || a.Status == 204 || a.Status == 304 {
		return
	}
	var text strings.Builder
	switch length := a.Values("Content-Length"); {
	case len(a.Values("Transfer-Encoding")) > 0:
		a.Err = c.chunks(&text, a)
	case len(length) > 0:
		n := 0
		for _, d := range length[0] {
			n = n*10 + int(d-'0')
		}
		_, a.Err = io.CopyN(&text, c.R, int64(n))
	default:
		_, a.Err = io.Copy(&text, c.R)
	}
	a.Body = text.String()
}

func (c *Raw1) chunks(text io.Writer, a *RawAnswer) error {
	for {
		line, err := c.R.ReadString('\n')
		if err != nil {
			return err
		}
		n := int64(0)
		for _, d := range strings.TrimSuffix(line, "\r\n") {
			n = n*16 + int64(strings.IndexRune("0123456789abcdef", d))
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(text, c.R, n); err != nil {
			return err
		}
		if _, err := c.R.Discard(2); err != nil {
			return err
		}
	}
	for {
		line, err := c.R.ReadString('\n')
		if err != nil || line == "\r\n" {
			return err
		}
		a.Trailer = append(a.Trailer, lines("\r\n"+line)...)
	}
}

type onlyReader struct{ io.Reader }

// lines splits a head into its fields.
func lines(head string) (out [][2]string) {
	for _, l := range strings.Split(head, "\r\n")[1:] {
		if name, value, ok := strings.Cut(l, ":"); ok {
			out = append(out, [2]string{strings.ToLower(name), strings.Trim(value, " \t")})
		}
	}
	return out
}

// Raw2 is a client that writes HTTP/2 frame by frame, one stream at a time.
type Raw2 struct {
	*http2.Framer
	conn   *tls.Conn
	enc    *hpack.Encoder
	buf    bytes.Buffer
	next   uint32
	window int64 // of the connection, for sending
	stream int64 // of the stream in hand
}

// Raw2 connects to the gate.
func (g *Gate) Raw2(host string) *Raw2 {
	g.t.Helper()
	c := g.RawTLS(host, "h2")
	r := &Raw2{Framer: http2.NewFramer(c, c), conn: c, next: 1, window: 65535}
	r.enc = hpack.NewEncoder(&r.buf)
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		g.t.Fatal(err)
	}
	if err := errors.Join(r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 24}), r.WriteWindowUpdate(0, 1<<30)); err != nil {
		g.t.Fatal(err)
	}
	return r
}

// Open sends a head on a new stream and returns its number.
func (c *Raw2) Open(end bool, fields ...[2]string) uint32 {
	id := c.next
	c.next, c.stream = c.next+2, 65535
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(fields), EndStream: end, EndHeaders: true}) // see Say
	return id
}

// Close ends the connection.
func (c *Raw2) Close() { _ = c.conn.Close() } // nothing is written any more

func (c *Raw2) block(fields [][2]string) []byte {
	c.buf.Reset()
	for _, f := range fields {
		_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // into a buffer
	}
	return c.buf.Bytes()
}

// Trailers ends a stream with trailers.
func (c *Raw2) Trailers(id uint32, fields ...[2]string) {
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(fields), EndStream: true, EndHeaders: true}) // see Say
}

// Data sends body bytes as the windows allow. What arrives meanwhile and
// matters is kept in a.
func (c *Raw2) Data(id uint32, text string, end bool, a *RawAnswer) {
	for text != "" {
		n := min(int64(len(text)), c.window, c.stream, 16000)
		if n <= 0 {
			if c.frame(id, a) {
				return
			}
			continue
		}
		_ = c.WriteData(id, false, []byte(text[:n])) // see Say
		c.window, c.stream, text = c.window-n, c.stream-n, text[n:]
	}
	if end {
		_ = c.WriteData(id, true, nil)
	}
}

// Answer reads frames until the stream is over.
func (c *Raw2) Answer(id uint32) RawAnswer {
	var a RawAnswer
	c.Finish(id, &a)
	return a
}

// Finish reads frames into a until the stream is over.
func (c *Raw2) Finish(id uint32, a *RawAnswer) {
	for !c.frame(id, a) {
	}
}

// frame takes one frame; true means that the stream is over.
func (c *Raw2) frame(id uint32, a *RawAnswer) bool {
	f, err := c.ReadFrame()
	if err != nil {
		a.Err = err
		return true
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
				c.stream += int64(v) - 65535
			}
			_ = c.WriteSettingsAck() // see Say
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
		} else if f.StreamID == id {
			c.stream += int64(f.Increment)
		}
	case *http2.MetaHeadersFrame:
		return f.StreamID == id && c.head(f, a)
	case *http2.DataFrame:
		if f.StreamID == id {
			a.Body += string(f.Data())
			return f.StreamEnded()
		}
	case *http2.RSTStreamFrame:
		if f.StreamID == id && f.ErrCode != http2.ErrCodeNo {
			a.Err = http2.StreamError{StreamID: id, Code: f.ErrCode}
		}
		return f.StreamID == id
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo {
			a.Err = http2.ConnectionError(f.ErrCode)
			return true
		}
	}
	return false
}

func (c *Raw2) head(f *http2.MetaHeadersFrame, a *RawAnswer) bool {
	var fields [][2]string
	status := 0
	for _, h := range f.Fields {
		if h.Name == ":status" {
			for _, d := range h.Value {
				status = status*10 + int(d-'0')
			}
			continue
		}
		fields = append(fields, [2]string{h.Name, h.Value})
	}
	switch {
	case status >= 100 && status < 200:
		a.Interim = append(a.Interim, status)
		return false
	case a.Status == 0:
		a.Status, a.Header = status, fields
	default:
		a.Trailer = fields
	}
	return f.StreamEnded()
}

// Request2 is the pseudo header of a request.
func Request2(method, host, target string) [][2]string {
	return [][2]string{{":method", method}, {":scheme", "https"}, {":authority", host}, {":path", target}}
}
