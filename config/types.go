package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Secret is a value that cannot be printed. Any key of this type can also be
// given as <key>_file.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(v string) Secret { return Secret{v} }

// Reveal returns the value; the only way to it.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether nothing was given.
func (s Secret) IsZero() bool { return s.value == "" }

const redacted = "[redacted]"

// String implements fmt.Stringer without the value.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer without the value.
func (s Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer without the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler without the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Size is a number of bytes, written 64KiB, 10MiB, 2GiB; 0 means not given.
type Size int64

// Prefix is a network in CIDR notation; a bare address means that one host.
type Prefix = netip.Prefix

// Rate is COUNT/PERIOD, as in 5/1m; the zero value means not given.
type Rate struct {
	Count int
	Per   time.Duration
}

// IsZero reports whether no rate was given.
func (r Rate) IsZero() bool { return r.Count == 0 }

// Problem is one finding about the file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // 1-based; 0 when the whole file is meant
	Column  int    `json:"column"` // 1-based, in characters
	Path    string `json:"path"`   // as in routes[1].upstream
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // "did you mean ...?" or what to write instead
	Source  string `json:"source,omitempty"`
	Width   int    `json:"-"` // characters to underline
}
