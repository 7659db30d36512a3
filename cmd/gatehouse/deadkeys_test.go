package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"gopkg.in/yaml.v3"

	"gatehouse/config"
)

// No key is dead: each one that the schema knows is set by a script or an
// end-to-end test that runs the binary with it.
func TestNoKeyIsDead(t *testing.T) {
	used := map[string]bool{}
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range scripts {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".yaml") && !strings.HasPrefix(f.Name, "bad") {
				noteKeys(used, string(f.Data))
			}
		}
	}
	tests, err := filepath.Glob("../../e2e/*_test.go")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no end-to-end tests: %v", err)
	}
	for _, name := range tests {
		for _, text := range literals(t, name) {
			noteKeys(used, text)
		}
	}
	var dead []string
	for _, key := range keys(t) {
		if !used[key] {
			dead = append(dead, key)
		}
	}
	if len(dead) > 0 {
		t.Errorf("no end-to-end script sets %d keys: %s", len(dead), strings.Join(dead, ", "))
	}
}

// keys lists every key as `gatehouse config defaults` does.
func keys(t *testing.T) []string {
	t.Helper()
	var out strings.Builder
	if err := config.Defaults(&out); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
		all = append(all, strings.Fields(line)[0])
	}
	if len(all) < 50 || !slices.Contains(all, "routes[].access") {
		t.Fatalf("this is not the list of keys: %v", all)
	}
	return all
}

// literals returns the string constants of a Go file, joined where they are
// concatenated with something.
func literals(t *testing.T, name string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if text, ok := constant(e); ok {
				out = append(out, text)
				return false
			}
		}
		return true
	})
	return out
}

// constant is the text of a string expression; what is not constant is X.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := constant(e.X)
		right, ok2 := constant(e.Y)
		if e.Op != token.ADD || !ok && !ok2 {
			return "", false
		}
		if !ok {
			left = "X"
		}
		if !ok2 {
			right = "X"
		}
		return left + right, true
	}
	return "", false
}

var verb = regexp.MustCompile(`%[qsdv]`)

// noteKeys adds the keys of text, if it is part of a configuration.
func noteKeys(used map[string]bool, text string) {
	var top yaml.Node
	if yaml.Unmarshal([]byte(verb.ReplaceAllString(text, "X")), &top) == nil && len(top.Content) == 1 {
		walkKeys(used, top.Content[0], "")
	}
}

func walkKeys(used map[string]bool, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			used[key] = true
			walkKeys(used, n.Content[i+1], key)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			walkKeys(used, c, path+"[]")
		}
	}
}
