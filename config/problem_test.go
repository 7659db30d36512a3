package config

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblemsPrintLineAndCaret(t *testing.T) {
	got := refused(t, "tls: {self_signed: true}\ntokens: {issuer: https://gate.example.com, acces_ttl: 5m}\nui:\n\n  title: \"ä\u202eb\"\n  prefix:  _auth\n")
	want := `gatehouse.yaml:2:44: tokens.acces_ttl: unknown key - did you mean "access_ttl"?
    tokens: {issuer: https://gate.example.com, acces_ttl: 5m}
                                               ^~~~~~~~~
gatehouse.yaml:6:12: ui.prefix: "_auth" is not a path prefix - write /_auth
      prefix:  _auth
               ^~~~~`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSourceLinesAreSafeToPrint(t *testing.T) {
	d := newDocument("f", "/", []byte("a\tb\u202ec\u009b\nx"), testEnv)
	if got := d.source(1); got != "a b?c?" {
		t.Errorf("%q", got)
	}
	if d.source(0) != "" || d.source(3) != "" {
		t.Error("a line outside the file")
	}
}

func TestProblemAsJSON(t *testing.T) {
	_, err := Parse("f.yaml", []byte(base+"log: {level: loud}\n"), testEnv)
	got, err := json.Marshal(problems(t, err))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"f.yaml","line":3,"column":14,"path":"log.level","message":"\"loud\" is not one of debug, info, warn or error","source":"log: {level: loud}"}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"upstream", "host", "name", "access", "access_ttl", "warn"}
	for word, want := range map[string]string{
		"upstraem": "upstream", "Host": "host", "nmae": "name", "acess_ttl": "access_ttl", "access-ttl": "access_ttl", "warning": "warn",
		"colour": "", "": "", "x": "", "hosts": "host",
	} {
		if got := suggest(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(c.a, c.b, 10); got != c.want {
			t.Errorf("distance of %q and %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// Aliases let one mistake appear many times; the report stays bounded.
func TestProblemsAreBounded(t *testing.T) {
	text := base
	for i := range 3 * maxProblems {
		text += fmt.Sprintf("k%d: x\n", i)
	}
	_, err := Parse("f", []byte(text), testEnv)
	if got := len(problems(t, err)); got != maxProblems {
		t.Errorf("%d problems", got)
	}
}
