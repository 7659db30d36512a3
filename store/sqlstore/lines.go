package sqlstore

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"gatehouse/store"
)

var errBadLine = errors.New("a revocation cannot be read")

// revocationLines reads lines of six numbers in brackets: sequence, kind,
// generation, created, expires and the length of the key in bytes, which
// follows. Because of the length a key may hold anything. The keys are parts of
// the text, which therefore lives as long as any of them.
func revocationLines(text string) ([]store.Revocation, error) {
	entries := make([]store.Revocation, 0, strings.Count(text, "\n")+1)
	for text != "" {
		n, rest, ok := numbers(text)
		text = rest
		if !ok || n[5] < 0 || n[5] > int64(len(text)) || n[1] < 0 || n[1] > math.MaxUint8 {
			return nil, errBadLine
		}
		key, rest := text[:n[5]], text[n[5]:]
		if rest != "" && rest[0] != '\n' {
			return nil, errBadLine
		}
		text = strings.TrimPrefix(rest, "\n")
		entries = append(entries, store.Revocation{
			Seq: n[0], Key: key, Generation: n[2],
			Kind:      store.Kind(n[1]), //#nosec G115 -- bounded above
			CreatedAt: fromMicros(n[3]), Expires: fromMicros(n[4]),
		})
	}
	return entries, nil
}

// numbers cuts six of them off a text: [1,2,3,4,5,6].
func numbers(text string) (n [6]int64, rest string, ok bool) {
	if text, ok = strings.CutPrefix(text, "["); !ok {
		return n, text, false
	}
	for i := range n {
		end := byte(',')
		if i == len(n)-1 {
			end = ']'
		}
		if n[i], text, ok = number(text, end); !ok {
			return n, text, false
		}
	}
	return n, text, true
}

// sureDigits is how many digits fit into 64 bits whatever they are.
const sureDigits = 18

// number cuts a number and the byte that ends it off a text. A start reads
// millions of them, nearly all short and without a sign; what else there is,
// strconv judges.
func number(text string, end byte) (n int64, rest string, ok bool) {
	for i := range min(len(text), sureDigits+1) {
		digit := text[i] - '0'
		if digit > 9 {
			if i > 0 && text[i] == end {
				return n, text[i+1:], true
			}
			break
		}
		n = 10*n + int64(digit)
	}
	word, rest, ok := strings.Cut(text, string(end))
	n, err := strconv.ParseInt(word, 10, 64)
	return n, rest, ok && err == nil
}
