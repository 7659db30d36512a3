package http1

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"gatehouse/wire"

	"golang.org/x/net/http/httpguts"
)

// writeInterim sends a 1xx answer at once (RFC 9110 section 15.2).
func (w *writer) writeInterim(status int) {
	w.statusLine(status)
	w.fields(func(name string) bool { return name != "Content-Length" && name != "Transfer-Encoding" })
	w.add("\r\n")
	w.flush()
}

// fix writes the head as it is now, but for the framing of its body.
func (w *writer) fix(status int) {
	w.status = status
	h := w.header
	if b := w.req.body; b != nil && (b.asked.Load() || b.left.Load() > maxDrain) {
		w.keep = false // nobody knows whether the body will be sent, or nobody will read so much
	}
	for _, v := range h["Connection"] {
		if status != http.StatusSwitchingProtocols && httpguts.HeaderValuesContainsToken([]string{v}, "close") {
			w.keep = false
		}
	}
	if v := h["Content-Length"]; len(v) > 0 {
		n, err := strconv.ParseInt(v[0], 10, 64)
		if err != nil || n < 0 {
			n = -1
		}
		w.length = n
	}
	w.statusLine(status)
	w.announce()
	w.fields(w.ordinary)
	if _, has := h["Date"]; !has {
		w.add("Date: ")
		w.add(w.conn.srv.date.Now())
		w.add("\r\n")
	}
}

// ordinary reports the fields that have nothing to do with framing.
func (w *writer) ordinary(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding", "Connection":
		return false
	case "Content-Type":
		return w.status != http.StatusNotModified
	}
	return !strings.HasPrefix(name, http.TrailerPrefix)
}

// announce keeps the names of the trailers the handler announces.
func (w *writer) announce() {
	for _, v := range w.header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); httpguts.ValidTrailerHeader(name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
}

func (w *writer) statusLine(status int) {
	if w.req.ProtoMinor > 0 {
		w.add("HTTP/1.1 ")
	} else {
		w.add("HTTP/1.0 ")
	}
	w.addInt(int64(status), 10)
	w.add(" ")
	if text := http.StatusText(status); text != "" {
		w.add(text)
	} else {
		w.add("status code ")
		w.addInt(int64(status), 10)
	}
	w.add("\r\n")
}

// fields writes those header fields that pass, in the order of their names.
func (w *writer) fields(pass func(name string) bool) {
	names := w.names[:0]
	for name := range w.header {
		if pass(name) && httpguts.ValidHeaderFieldName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range w.header[name] {
			w.field(name, v)
		}
	}
	w.names = names
}

func (w *writer) field(name, value string) {
	w.add(name)
	w.add(": ")
	if !wire.ValidValue(value) || value != textproto.TrimString(value) {
		value = textproto.TrimString(oneLine().Replace(value))
	}
	w.add(value)
	w.add("\r\n")
}

func oneLine() *strings.Replacer { return strings.NewReplacer("\n", " ", "\r", " ") }

// bodyAllowed is RFC 9110 section 6.4.1.
func (w *writer) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// frame ends the head: from here on it is known how the body ends (RFC 9112
// section 6). over says that all of the body is there.
func (w *writer) frame(over bool) {
	w.framed = true
	head := w.req.Method == http.MethodHead
	if over && w.length < 0 && len(w.trailers) == 0 && w.bodyAllowed() && (!head || len(w.held) > 0) {
		w.length = int64(len(w.held))
	}
	known := w.length >= 0
	switch {
	case !w.bodyAllowed():
	case known:
		w.add("Content-Length: ")
		w.addInt(w.length, 10)
		w.add("\r\n")
	case head:
	case w.req.ProtoMinor > 0:
		w.chunked = true
		w.add("Transfer-Encoding: chunked\r\n")
	default:
		w.keep = false // the end of the connection is that of the body
	}
	w.connection()
	w.add("\r\n")
}

func (w *writer) connection() {
	switch values := w.header["Connection"]; {
	case w.status == http.StatusSwitchingProtocols:
		for _, v := range values {
			w.field("Connection", v)
		}
	case !w.keep || w.conn.srv.conns.Closing():
		w.keep = false
		w.add("Connection: close\r\n")
	case w.req.ProtoMinor == 0:
		w.add("Connection: keep-alive\r\n")
	default:
		for _, v := range values {
			w.field("Connection", v)
		}
	}
}
