package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expectations of testdata/bad; read the difference")

const wantMark = "# want "

// testEnv is the environment of the tests.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"WORD": "hunter2", "TTL": "7m", "YES": "true", "EMPTY": "", "NESTED": "${WORD}",
		"HS256": "q83nV0fJ2mXw8RkT5yLb1PzC7dHs4GuA9eNo6Ki",
	}[name]
	return v, ok
}

// findings renders problems as the corpus states them: LINE:COL: path: ...
func findings(t *testing.T, path string, text []byte) []string {
	t.Helper()
	_, err := Parse(path, text, testEnv)
	var out []string
	for _, p := range problems(t, err) {
		if strings.Contains(p.Format(), "hunter") {
			t.Errorf("%s prints a secret:\n%s", path, p.Format())
		}
		line, _, _ := strings.Cut(p.Format(), "\n")
		out = append(out, wantMark+strings.TrimPrefix(line, path+":"))
	}
	return out
}

// Every file of testdata/bad starts with what must be said about it, problem
// by problem: places, paths, texts and hints.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				text = rewrite(t, file, text)
			}
			var want []string
			for _, line := range strings.Split(string(text), "\n") {
				if strings.HasPrefix(line, wantMark) {
					want = append(want, line)
				}
			}
			if diff := cmp.Diff(want, findings(t, file, text)); diff != "" || len(want) == 0 {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// rewrite puts the findings in front of the body, until adding them no longer
// moves their lines.
func rewrite(t *testing.T, file string, text []byte) []byte {
	t.Helper()
	body := string(text)
	for strings.HasPrefix(body, wantMark) {
		_, body, _ = strings.Cut(body, "\n")
	}
	out := body
	for range 3 {
		head := strings.Join(findings(t, file, []byte(out)), "\n") + "\n"
		out = head + body
	}
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	return []byte(out)
}
