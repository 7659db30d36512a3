package sqlstore

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"gatehouse/store"
)

var errBadLine = errors.New("a revocation cannot be read")

// revocationLines reads lines of numbers, each ended by a space: sequence, kind,
// generation, created, expires and the length of the key in bytes, which
// follows. Because of the length a key may hold anything.
func revocationLines(text string) ([]store.Revocation, error) {
	entries := make([]store.Revocation, 0, strings.Count(text, "\n")+1)
	for text != "" {
		var n [6]int64
		for i := range n {
			word, rest, ok := strings.Cut(text, " ")
			v, err := strconv.ParseInt(word, 10, 64)
			if !ok || err != nil {
				return nil, errBadLine
			}
			n[i], text = v, rest
		}
		if n[5] < 0 || n[5] > int64(len(text)) || n[1] < 0 || n[1] > math.MaxUint8 {
			return nil, errBadLine
		}
		key, rest := text[:n[5]], text[n[5]:]
		if rest != "" && rest[0] != '\n' {
			return nil, errBadLine
		}
		text = strings.TrimPrefix(rest, "\n")
		entries = append(entries, store.Revocation{
			Seq: n[0], Key: strings.Clone(key), Generation: n[2],
			Kind:      store.Kind(n[1]), //#nosec G115 -- bounded above
			CreatedAt: fromMicros(n[3]), Expires: fromMicros(n[4]),
		})
	}
	return entries, nil
}
