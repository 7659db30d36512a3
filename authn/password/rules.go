package password

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"gatehouse/config"
)

//go:embed data/common.txt.gz
var common []byte

// Rules judges new passwords. It is read-only after NewRules.
type Rules struct {
	cfg     config.Password
	blocked map[string]struct{}
	words   []string
}

// NewRules reads the blocklist. words are the names nobody may build a
// password on: the product, the hosts.
func NewRules(cfg config.Password, words []string) (*Rules, error) {
	r := &Rules{cfg: cfg, blocked: map[string]struct{}{}}
	if !cfg.Blocklist {
		return r, nil
	}
	for _, w := range append([]string{"gatehouse"}, words...) {
		r.words = append(r.words, contextWords(w)...)
	}
	z, err := gzip.NewReader(bytes.NewReader(common))
	if err != nil {
		return nil, fmt.Errorf("read the password blocklist: %w", err)
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		r.blocked[lines.Text()] = struct{}{}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the password blocklist: %w", err)
	}
	if len(r.blocked) < 10_000 {
		return nil, errors.New("read the password blocklist: it is cut short")
	}
	return r, nil
}

// MinLength is the shortest password accepted, in characters.
func (r *Rules) MinLength() int { return r.cfg.MinLength }

// Check returns everything that is wrong with a new password, as sentences for
// the person who chose it; none means that it is good. context is what belongs
// to that person: address and name. The work is bounded by the length, which is
// looked at first.
func (r *Rules) Check(password string, context ...string) []string {
	if len(password) > r.cfg.MaxLength {
		return []string{fmt.Sprintf("Use at most %d bytes.", r.cfg.MaxLength)}
	}
	// U+FFFD is what decoders make of bytes they cannot read: many passwords
	// would become one.
	if !utf8.ValidString(password) || strings.ContainsRune(password, utf8.RuneError) || strings.ContainsFunc(password, unicode.IsControl) {
		return []string{"Use printable characters only."}
	}
	text := norm.NFKC.String(password)
	var wrong []string
	if n := utf8.RuneCountInString(text); n < r.cfg.MinLength {
		wrong = append(wrong, fmt.Sprintf("Use at least %d characters.", r.cfg.MinLength))
	}
	wrong = append(wrong, r.composition(text)...)
	if !r.cfg.Blocklist {
		return wrong
	}
	if r.common(text) {
		wrong = append(wrong, "This is among the most common passwords; choose another.")
	}
	if r.built(text, context) {
		wrong = append(wrong, "Do not build it on your address, your name or the name of this site.")
	}
	return wrong
}

func (r *Rules) composition(text string) []string {
	var wrong []string
	if r.cfg.RequireUpper && !strings.ContainsFunc(text, unicode.IsUpper) {
		wrong = append(wrong, "Use an upper-case letter.")
	}
	if r.cfg.RequireDigit && !strings.ContainsFunc(text, unicode.IsDigit) {
		wrong = append(wrong, "Use a digit.")
	}
	special := func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	if r.cfg.RequireSpecial && !strings.ContainsFunc(text, special) {
		wrong = append(wrong, "Use a character that is neither a letter nor a digit.")
	}
	return wrong
}

// common reports whether the password, or what is left of it without letter
// case, the usual substitutions and digits or signs around it, is on the list,
// or is one on the list written twice.
func (r *Rules) common(text string) bool {
	lower := strings.ToLower(text)
	plain := unleet(lower)
	for _, form := range []string{lower, core(lower), plain, core(plain)} {
		if _, ok := r.blocked[form]; ok {
			return true
		}
		if half := len(form) / 2; half >= 4 && form[:half] == form[half:] {
			if _, ok := r.blocked[form[:half]]; ok {
				return true
			}
		}
	}
	return uniform(lower)
}

// core cuts digits and signs from both ends.
func core(s string) string {
	return strings.TrimFunc(s, func(c rune) bool { return !unicode.IsLetter(c) })
}

// leet undoes the usual substitutions; a Replacer is never changed.
var leet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

func unleet(s string) string { return leet.Replace(s) }

// uniform reports a password of one or two different characters, or a run.
func uniform(s string) bool {
	seen := map[rune]bool{}
	run, last := true, rune(-1)
	for _, c := range s {
		if last >= 0 && c != last+1 && c != last-1 {
			run = false
		}
		last = c
		seen[c] = true
	}
	return len(seen) <= 2 || run
}

// built reports whether a context word makes up most of the password.
func (r *Rules) built(text string, context []string) bool {
	plain := unleet(strings.ToLower(text))
	words := r.words
	for _, c := range context {
		words = append(words[:len(words):len(words)], contextWords(c)...)
	}
	for _, w := range words {
		w = unleet(w)
		if len(w) >= 4 && strings.Contains(plain, w) && utf8.RuneCountInString(plain)-utf8.RuneCountInString(w) < 8 {
			return true
		}
	}
	return false
}

// contextWords takes an address or a name apart.
func contextWords(s string) []string {
	s = strings.ToLower(s)
	words := strings.FieldsFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	if local, _, ok := strings.Cut(s, "@"); ok {
		words = append(words, local)
	}
	return append(words, s)
}
