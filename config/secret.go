package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	maxSecretFile = 64 << 10
	maxLogoFile   = 256 << 10
	minHMACKey    = 32 // RFC 7518, 3.2: at least the size of the hash
)

func (d *document) decodeSecret(n *yaml.Node, s *Secret, at string) {
	text, _, ok := d.text(n, at, "text")
	switch {
	case !ok:
	case text == "":
		d.report(nodePlace(n), at, found("give it a value, or use "+lastName(at)+"_file", "is empty"))
	case strings.ContainsRune(text, 0):
		d.report(nodePlace(n), at, found("", "holds a NUL byte"))
	default:
		*s = NewSecret(text)
	}
}

func lastName(at string) string { return at[strings.LastIndex(at, ".")+1:] }

// decodeSecretFile reads <key>_file. One trailing line end is not part of the
// secret.
func (d *document) decodeSecretFile(n *yaml.Node, s *Secret, at string) {
	var name string
	d.values[at] = nodePlace(n)
	if content := deref(n); content.Kind == yaml.ScalarNode && content.ShortTag() == "!!null" {
		d.report(nodePlace(n), at, found("give it one, or leave the key out", "has no value"))
		return
	}
	name, _, ok := d.text(n, at, "the name of a file")
	if !ok {
		return
	}
	text, bad := readSecret(d.resolve(name), name)
	if bad != nil {
		d.report(nodePlace(n), at, bad)
		return
	}
	*s = NewSecret(text)
}

func readSecret(path, shown string) (string, *finding) {
	if bad := checkFile(path, shown, maxSecretFile, true); bad != nil {
		return "", bad
	}
	f, err := os.Open(path)
	if err != nil {
		return "", cannotRead(shown, err)
	}
	defer func() { _ = f.Close() }() // opened for reading
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	if err != nil {
		return "", cannotRead(shown, err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return "", found("", "%s is empty", quote(shown))
	}
	return string(text), nil
}

// checkFile says whether path is a readable, regular file of limit bytes at
// most (0 = any size) and, for secrets, closed to others (threat T138).
func checkFile(path, shown string, limit int64, secret bool) *finding {
	if shown == "" {
		return found("", "is empty")
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return cannotRead(shown, err)
	case !info.Mode().IsRegular():
		return found("", "%s is not a regular file", quote(shown))
	case secret && info.Mode().Perm()&0o007 != 0:
		return found("run: chmod o-rwx "+visible(shown), "%s can be read or written by other users of this machine", quote(shown))
	case limit > 0 && info.Size() > limit:
		return found("", "%s is larger than %d KiB", quote(shown), limit>>10)
	}
	f, err := os.Open(path)
	if err != nil {
		return cannotRead(shown, err)
	}
	_ = f.Close() // opened for reading
	return nil
}

func cannotRead(shown string, err error) *finding {
	cause := "cannot be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		cause = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		cause = "cannot be read: permission denied"
	}
	return found("", "file %s %s", quote(shown), cause)
}

// resolve makes a path relative to the configuration file usable from
// anywhere. Empty stays empty.
func (d *document) resolve(name string) string { return resolveIn(d.dir, name) }

func resolveIn(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// randomBytes are the bytes behind the text of a key: what its hex or base64
// stands for, and otherwise the text. The key itself is always the text.
func randomBytes(text string) []byte {
	if key, err := hex.DecodeString(text); err == nil {
		return key
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.Strict().DecodeString(text); err == nil && len(key) >= minHMACKey {
			return key
		}
	}
	return []byte(text)
}

// checkHMACKey refuses keys an attacker would try first (threat T138).
func checkHMACKey(text string) *finding {
	key := randomBytes(text)
	const advice = "make one with: openssl rand -base64 32"
	if len(key) < minHMACKey {
		return found(advice, "has %d bytes, HS256 needs %d or more", len(key), minHMACKey)
	}
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(text+" "+string(key)))
	for _, sample := range knownSamples() {
		if strings.Contains(plain, sample) {
			return found(advice, "is a sample known to everybody")
		}
	}
	if !looksRandom(key) {
		return found(advice, "is not random enough")
	}
	return nil
}

// knownSamples are secrets, or parts of them, that documentation and default
// configurations have spread; letters and digits only.
func knownSamples() []string {
	return []string{
		"your256bitsecret", "your384bitsecret", "your512bitsecret", "stringsecretatleast", "changeme", "changethis", "replaceme",
		"supersecret", "secretkey", "mysecret", "yoursecret", "jwtsecret", "secretsecret", "passwordpassword", "thisisasecret",
		"abcdefghijklmnop", "0123456789abcdef", "1234567890123456", "examplesecret", "notsosecret", "topsecret", "insecure",
	}
}

// looksRandom is a coarse test: enough different bytes, no short period and no
// run. 32 random bytes have about 30 different values.
func looksRandom(key []byte) bool {
	var counts [256]int
	different, steps := 0, map[byte]int{}
	for i, b := range key {
		if counts[b]++; counts[b] == 1 {
			different++
		}
		if i > 0 {
			steps[b-key[i-1]]++
		}
	}
	for _, n := range steps {
		if n > len(key)/2 {
			return false
		}
	}
	for period := 1; period <= len(key)/2; period++ {
		if bytes.Equal(key[period:], key[:len(key)-period]) {
			return false
		}
	}
	return different >= 12
}
