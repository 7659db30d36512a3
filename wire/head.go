// Package wire has what both sides of the gateway need of HTTP/1.x connections,
// the one that serves clients and the one that asks apps: where a head ends,
// and what happens when an exchange does.
package wire

import "bytes"

// HeadEnd returns the length of the head b begins with, its empty line
// included, or 0; b[:seen] is known not to hold its end. It ends where package
// net/textproto finds an empty line, or before: with LF alone too.
func HeadEnd(b []byte, seen int) int {
	for at := max(seen-2, 0); ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := b[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 2
		}
	}
}
