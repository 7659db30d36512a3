package http2

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatehouse/wire"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// scratch is what it takes to write an answer. Header blocks refer to nothing
// that was sent before (RFC 7541 section 2.3.3 without a dynamic table): they
// can be made without the connection's lock, and their length tells nothing of
// another answer's secrets.
type scratch struct {
	header  http.Header
	block   bytes.Buffer
	encoder *hpack.Encoder
	held    []byte
	names   []string
}

var scratches = sync.Pool{New: func() any {
	s := &scratch{header: http.Header{}, held: make([]byte, 0, holdBody)}
	s.encoder = hpack.NewEncoder(&s.block)
	s.encoder.SetMaxDynamicTableSize(0)
	s.field("date", "") // the encoder says first that its table is empty, which no client needs to hear
	s.block.Reset()
	return s
}}

// maxScratch is the largest head whose room is kept.
const maxScratch = 16 << 10

func (s *scratch) clear() {
	clear(s.header)
	clear(s.names[:cap(s.names)])
	s.held = s.held[:0]
	s.block.Reset()
	if s.block.Cap() > maxScratch {
		s.block = bytes.Buffer{}
	}
}

// field puts a field into the block. Who may read our answer to a person must
// not keep it for another one.
func (s *scratch) field(name, value string) {
	_ = s.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: name == "set-cookie"}) // into memory
}

// encode makes the block a head: its status, and those fields that pass, in the
// order of their names.
func (w *writer) encode(status int, pass func(name string) bool) {
	w.block.Reset()
	w.field(":status", statusText(status))
	names := w.names[:0]
	for name := range w.header {
		if httpguts.ValidHeaderFieldName(name) && pass(name) && !connectionSpecific(lowerName(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		w.fields(name, w.header[name])
	}
	w.names = names
}

func statusText(status int) string {
	if status == http.StatusOK {
		return "200"
	}
	return strconv.Itoa(status)
}

// fields puts those of one name. One that cannot be sent is left out: clients
// reset the stream for it (RFC 9113 section 8.2.1).
func (s *scratch) fields(name string, values []string) {
	if !httpguts.ValidHeaderFieldName(name) {
		return
	}
	name = lowerName(name)
	for _, v := range values {
		if v = clean(v); wire.ValidValue(v) {
			s.field(name, v)
		}
	}
}

// clean has a value be one line.
func clean(v string) string {
	if wire.ValidValue(v) && v == textproto.TrimString(v) {
		return v
	}
	return textproto.TrimString(oneLine().Replace(v))
}

func oneLine() *strings.Replacer { return strings.NewReplacer("\n", " ", "\r", " ") }

// connectionSpecific is RFC 9113 section 8.2.2.
func connectionSpecific(name string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// ordinary reports the fields that have nothing to do with a body's length.
func (w *writer) ordinary(name string) bool {
	switch lowerName(name) {
	case "content-length":
		return false
	case "content-type":
		return w.status != http.StatusNotModified
	}
	return !strings.HasPrefix(name, http.TrailerPrefix)
}

// bodyAllowed is RFC 9110 section 6.4.1.
func (w *writer) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// frame ends the head. over says that all of the body is there.
func (w *writer) frame(over bool) {
	w.sent = true
	if over && w.length < 0 && w.bodyAllowed() && w.written <= measure && (!w.head || w.written > 0) {
		w.length = w.written
	}
	if w.length >= 0 && w.bodyAllowed() {
		w.field("content-length", strconv.FormatInt(w.length, 10))
	}
}

// announce keeps the names of the trailers the handler announces.
func (w *writer) announce() {
	for _, v := range w.header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); httpguts.ValidTrailerHeader(name) && !slices.Contains(w.trailers, name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
}

// hasTrailers reports that the handler has set one.
func (w *writer) hasTrailers() bool {
	for _, name := range w.trailers {
		if len(w.header[name]) > 0 {
			return true
		}
	}
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// encodeTrailers returns the block of those announced, and of those whose names
// say what they are. It is behind the head in the same buffer, if there is one.
func (w *writer) encodeTrailers() []byte {
	from := w.block.Len()
	for _, name := range w.trailers {
		w.fields(name, w.header[name])
	}
	for name, values := range w.header {
		if name, is := strings.CutPrefix(name, http.TrailerPrefix); is && httpguts.ValidTrailerHeader(name) {
			w.fields(name, values)
		}
	}
	return w.block.Bytes()[from:]
}
