package gatetest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// AskHTTP2 sends one request of fields (":method", "GET", ...) as a HEADERS
// frame of these very bytes on a connection of its own, and returns the status;
// 400 when the server resets the stream or ends the connection.
func (g *Gate) AskHTTP2(host string, fields ...string) (int, error) {
	raw, err := g.Dial(g.t.Context(), "tcp", "")
	if err != nil {
		return 0, err
	}
	cfg := g.TLSConfig()
	cfg.ServerName, cfg.NextProtos = host, []string{"h2"}
	conn := tls.Client(raw, cfg)
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return 0, fmt.Errorf("write preface: %w", err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := enc.WriteField(hpack.HeaderField{Name: strings.ToLower(fields[i]), Value: fields[i+1]}); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})); err != nil {
		return 0, fmt.Errorf("write request: %w", err)
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return 0, fmt.Errorf("read answer: %w", err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			var status int
			_, err := fmt.Sscan(f.PseudoValue("status"), &status)
			return status, err
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 400, nil
		}
	}
}
