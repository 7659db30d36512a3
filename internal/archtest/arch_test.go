package archtest

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,Deps,GoFiles"}, args...)...)
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// allowed lists, for each part, which of our own packages it may import. A
// name covers everything below it. What is not listed may import none.
var allowed = map[string]struct {
	imports []string
	why     string
}{
	"config":        {nil, "a leaf: it states what the file means and nothing else"},
	"identity":      {nil, "a leaf: authn and proxy meet in it without knowing each other"},
	"store":         {nil, "a leaf: contracts know no back end"},
	"wire":          {nil, "a leaf: both sides of the gateway use it"},
	"web":           {nil, "a leaf: how we answer depends on nothing we decide"},
	"store/":        {[]string{"store", "store/circuit", "store/gcra", "store/memlimit", "store/storetest"}, "a back end knows the contracts it keeps"},
	"authn":         {[]string{"authn", "config", "identity", "store", "web"}, "who are you; never routes or upstreams"},
	"authn/":        {[]string{"authn", "config", "identity", "store", "web"}, "who are you; never routes or upstreams"},
	"proxy":         {[]string{"proxy", "config", "identity", "web", "wire"}, "may you pass; never keys, passwords or stores"},
	"proxy/":        {[]string{"proxy", "config", "identity", "web", "wire"}, "may you pass; never keys, passwords or stores"},
	"server":        {[]string{"server", "config", "web", "wire"}, "listeners and the outer chain; it is handed its handlers"},
	"server/":       {[]string{"server", "config", "web", "wire"}, "listeners and the outer chain; it is handed its handlers"},
	"cmd/gatehouse": {[]string{"authn", "config", "identity", "proxy", "server", "store", "web"}, "the only place that knows everything"},
}

func ruleFor(name string) ([]string, bool) {
	if r, ok := allowed[name]; ok {
		return r.imports, true
	}
	top, _, _ := strings.Cut(name, "/")
	r, ok := allowed[top+"/"]
	return r.imports, ok
}

func within(name string, roots []string) bool {
	for _, r := range roots {
		if name == r || strings.HasPrefix(name, r+"/") {
			return true
		}
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, "gatehouse/")
		if name == "e2e" || strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "e2e/") || strings.HasPrefix(name, "bench") {
			continue // test-only machinery may know everything
		}
		may, ok := ruleFor(name)
		if !ok {
			t.Errorf("%s: no rule; say in this file what it may import and why", name)
			continue
		}
		for _, imp := range p.Imports {
			if own, found := strings.CutPrefix(imp, "gatehouse/"); found && !within(own, may) {
				t.Errorf("%s imports %s: %s", name, own, allowed[name].why)
			}
		}
	}
}

// Requirement 11 of the review: one issuer. Handlers cannot sign, because only
// authn/token can reach a signing library.
func TestOnlyTokenSigns(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "github.com/golang-jwt/") && p.ImportPath != "gatehouse/authn/token" {
				t.Errorf("%s imports %s; only authn/token issues and verifies", p.ImportPath, imp)
			}
		}
	}
}

func TestBinaryHoldsNoTestCode(t *testing.T) {
	forbidden := map[string]string{
		"testing":                       "test hooks do not ship",
		"gatehouse/internal/gatetest":   "test hooks do not ship",
		"gatehouse/internal/servertest": "test hooks do not ship",
		"gatehouse/internal/tape":       "test hooks do not ship",
		"gatehouse/store/storetest":     "test hooks do not ship",
		"net/http/httptest":             "test servers do not ship",
	}
	for _, p := range list(t, "./cmd/gatehouse") {
		for _, dep := range p.Deps {
			if why, bad := forbidden[dep]; bad {
				t.Errorf("the binary holds %s: %s", dep, why)
			}
		}
	}
}

func TestEveryPackageSaysWhatItDecides(t *testing.T) {
	for _, p := range list(t, "./...") {
		if docs := packageComments(t, p); docs != 1 {
			t.Errorf("%s has %d package comments, want 1", p.ImportPath, docs)
		}
	}
}

func packageComments(t *testing.T, p pkg) int {
	t.Helper()
	docs := 0
	for _, f := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if file.Doc != nil && len(strings.Fields(file.Doc.Text())) > 5 {
			docs++
		}
	}
	return docs
}

// Longer than this needs a reason in the package comment, which none has.
const (
	maxFunction = 100
	maxFile     = 500
)

func TestFunctionsAndFilesHoldOneThought(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, f := range p.GoFiles {
			checkSizes(t, filepath.Join(p.Dir, f))
		}
	}
}

func checkSizes(t *testing.T, path string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := fset.Position(file.End()).Line; n > maxFile {
		t.Errorf("%s has %d lines, over %d", path, n, maxFile)
	}
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunction {
			t.Errorf("%s: %s has %d lines, over %d", path, fn.Name.Name, n, maxFunction)
		}
	}
}

// No package variable changes after start, and none starts anything by itself.
func TestNoInitFunctions(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, f := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(src), "\nfunc init()") {
				t.Errorf("%s/%s has an init function; constructors do what it does, where it can be seen", p.ImportPath, f)
			}
		}
	}
}
