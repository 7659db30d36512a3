package server

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// AuditSummary is what a good audit file says about itself.
type AuditSummary struct {
	Lines int    `json:"lines"`
	First string `json:"first_prev"` // hash the first line builds on; zeros at the very beginning
	Last  string `json:"last_hash"`  // hash of the last line; keep it elsewhere to notice a cut
}

// VerifyAudit checks the chain of one file and names the first line that does
// not fit.
func VerifyAudit(path string) (AuditSummary, error) {
	var out AuditSummary
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer f.Close() //nolint:errcheck // only read
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 0, 4096), 2*maxAuditLine)
	for sc.Scan() {
		line := sc.Bytes()
		covered, hash, ok := splitHash(line)
		if !ok {
			return out, fmt.Errorf("%s:%d: not an audit line", path, out.Lines+1)
		}
		sum := sha256.Sum256(covered)
		if hex.EncodeToString(sum[:]) != hash {
			return out, fmt.Errorf("%s:%d: the line was changed", path, out.Lines+1)
		}
		prev, ok := prevOf(string(covered))
		if !ok {
			return out, fmt.Errorf("%s:%d: not an audit line", path, out.Lines+1)
		}
		if out.Lines == 0 {
			out.First = prev
		} else if prev != out.Last {
			return out, fmt.Errorf("%s:%d: a line before this one was changed, removed or inserted", path, out.Lines+1)
		}
		out.Lines++
		out.Last = hash
	}
	return out, wrapf(sc.Err(), "read %s", path)
}

func prevOf(covered string) (string, bool) {
	const tail = sha256.Size*2 + len(`"`)
	i := len(covered) - tail
	if i < 0 || !strings.HasSuffix(covered[:i], `,"prev":"`) || !strings.HasSuffix(covered, `"`) {
		return "", false
	}
	return covered[i : len(covered)-1], true
}
