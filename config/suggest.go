package config

import (
	"strconv"
	"strings"
)

// suggest returns the candidate a mistyped word most likely meant, or "".
func suggest(word string, candidates []string) string {
	folded := foldWord(word)
	best, least := "", max(1, min(len(folded)/3, 3))+1
	for _, c := range candidates {
		if d := editDistance(folded, foldWord(c), least); d < least {
			best, least = c, d
		}
	}
	for _, c := range candidates {
		if short := min(len(folded), len(foldWord(c))); best == "" && short >= 4 && folded[:short] == foldWord(c)[:short] {
			best = c // as in warning for warn
		}
	}
	return best
}

// foldWord makes the spellings people mix up the same: case and separators.
func foldWord(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(s))
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours (optimal string alignment); limit when it is limit or more.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, prev[j]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}

// didYouMean is the hint for a suggestion, or "".
func didYouMean(s string) string {
	if s == "" {
		return ""
	}
	return "did you mean " + strconv.Quote(s) + "?"
}

// oneOf lists words for a message.
func oneOf(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// quote shows a value in a message: escaped, and short.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "..."
	}
	return strconv.Quote(s)
}
