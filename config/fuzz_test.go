package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever the file holds: no panic, and either a configuration or problems,
// each at a place that exists in the file.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../config.example.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("\xff\xfe"))
	f.Add([]byte("? a\n: &a [*a]\n"))
	f.Add([]byte("routes: &r [{rules: *r}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := Parse("fuzz.yaml", text, testEnv)
		if err == nil {
			if cfg == nil {
				t.Fatal("neither a configuration nor problems")
			}
			for _, r := range cfg.Routes {
				if r.Access.Kind == AccessConditions && len(r.Access.Groups)+len(r.Access.Users)+len(r.Access.EmailDomains)+len(r.Access.Networks) == 0 && r.Access.MaxAuthAge == 0 {
					t.Error("conditions without a condition")
				}
				if r.Host == "" || len(r.Upstream) == 0 || !strings.HasPrefix(r.Path, "/") {
					t.Errorf("route %+v", r)
				}
			}
			return
		}
		var found Problems
		if cfg != nil || !errors.As(err, &found) || len(found) == 0 {
			t.Fatalf("cfg %v, error %v", cfg, err)
		}
		lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
		for _, p := range found {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1 {
				t.Errorf("%d:%d is outside the file: %s", p.Line, p.Column, p.Message)
			}
			if p.Message == "" || strings.ContainsAny(p.Format(), "\x00\x1b\r") {
				t.Errorf("message %q", p.Format())
			}
		}
	})
}
