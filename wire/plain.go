package wire

import (
	"net/http"
	"net/textproto"
	"strings"
)

// plainMost is far more lines than clients and apps send.
const plainMost = 100

// PlainFields reads the field lines of a head, with the empty one that ends it,
// as package textproto would and in a fraction of the time, if there is only
// one way to read them: every line ends with CR LF, its name is of letters,
// digits, "-" and "_", and its value of visible ASCII, with a space before it or
// none. No field is about the connection or the framing of a body but Host,
// Content-Length, of which there may be several, and a Connection that is kept
// alive. What is not ok is for textproto to judge.
func PlainFields(lines string) (h http.Header, ok bool) {
	n := strings.Count(lines, "\n") - 1
	if n < 0 || n > plainMost {
		return nil, false
	}
	h, room := make(http.Header, n), make([]string, n)
	for i := range room {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		name, value, ok := plainField(line)
		if !ok {
			return nil, false
		}
		if has := h[name]; has != nil {
			h[name] = append(has, value)
			continue
		}
		room[i] = value
		h[name] = room[i : i+1 : i+1]
	}
	return h, lines == "\r\n"
}

// plainField reads a line that has lost its LF.
func plainField(line string) (name, value string, ok bool) {
	colon := 0
	for colon < len(line) && plainName(line[colon]) {
		colon++
	}
	last := len(line) - 1
	if colon == 0 || colon >= last || line[colon] != ':' || line[last] != '\r' {
		return "", "", false
	}
	name, value = textproto.CanonicalMIMEHeaderKey(line[:colon]), strings.TrimPrefix(line[colon+1:last], " ")
	return name, value, plainValue(value) && harmless(name, value)
}

func plainName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// plainValue has spaces inside alone.
func plainValue(s string) bool {
	return Visible(s) && (s == "" || s[0] != ' ' && s[len(s)-1] != ' ')
}

// harmless reports that a field decides nothing about the connection or a body,
// and that package net/http does not read more into it.
func harmless(name, value string) bool {
	switch name {
	case "Transfer-Encoding", "Trailer", "Upgrade", "Expect", "Pragma":
		return false
	case "Connection":
		return strings.EqualFold(value, "keep-alive")
	}
	return true
}
