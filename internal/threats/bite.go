package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The longest a broken program may keep its tests busy, everyday and at full size.
const (
	longest     = 4 * time.Minute
	longestFull = 15 * time.Minute
)

// biteAll breaks the program in each way whose words, file or tests match the
// expression, and fails if a test does not notice.
func biteAll(expr string) error {
	want, err := regexp.Compile(expr)
	if err != nil {
		return err
	}
	var toothless []string
	n := 0
	for _, b := range bites() {
		if !want.MatchString(b.breaks + "\n" + b.file + "\n" + strings.Join(b.tests, "\n")) {
			continue
		}
		n++
		fmt.Printf("%s (%s)\n", b.breaks, b.file)
		missed, err := b.run(".")
		if err != nil {
			return fmt.Errorf("%q: %w", b.breaks, err)
		}
		toothless = append(toothless, missed...)
	}
	if len(toothless) > 0 {
		return fmt.Errorf("%d tests did not notice:\n%s", len(toothless), strings.Join(toothless, "\n"))
	}
	fmt.Printf("%d breaks, all noticed by every test that should\n", n)
	return nil
}

// run breaks the program by an overlay, which leaves the files alone, and
// returns the tests that passed all the same.
func (b bite) run(root string) (missed []string, err error) {
	dir, err := os.MkdirTemp("", "bite")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := b.overlay(root, dir)
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "GOFLAGS=-overlay="+overlay, "GATEHOUSE_TEST_BINARY="+filepath.Join(dir, "gatehouse"))
	timeout := longest
	if b.full {
		env, timeout = append(env, "GATEHOUSE_FULL=1"), longestFull
	}
	byDir := map[string][]string{}
	for _, test := range b.tests {
		pkg, name, _ := strings.Cut(test, " ")
		byDir[pkg] = append(byDir[pkg], name)
	}
	for pkg, names := range byDir {
		cmd := exec.Command("go", "test", "-vet=off", "-count=1", "-tags=apps", "-timeout", timeout.String(), //nolint:gosec // of the list
			"-run", "^("+strings.Join(names, "|")+")$", "./"+pkg)
		cmd.Dir, cmd.Env = root, env
		out, _ := cmd.CombinedOutput() // which says how it ended
		passed, err := report(pkg, names, string(out))
		if err != nil {
			return nil, err
		}
		missed = append(missed, passed...)
	}
	return missed, nil
}

// report prints what became of each test, and returns those that passed.
func report(pkg string, names []string, out string) (passed []string, err error) {
	bitten, err := verdict(names, out)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if said, ok := bitten[name]; ok {
			fmt.Printf("  %s %s\n    %s\n", pkg, name, said)
			continue
		}
		fmt.Printf("  %s %s did not notice\n", pkg, name)
		passed = append(passed, pkg+" "+name)
	}
	return passed, nil
}

// overlay writes the broken file and the list that puts it in its place.
func (b bite) overlay(root, dir string) (string, error) {
	text, err := b.broken(root)
	if err != nil {
		return "", err
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		return "", err
	}
	path, err := b.path(root)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

// complaint is a line in which a test says what is wrong.
var complaint = regexp.MustCompile(`(?m)^\s+\w+\.go:\d+: .*`)

// verdict reads what go test printed: the tests that failed, with the first
// thing that was said, which may be a log line. A program that does not compile,
// or a run in which nothing was judged, is no bite.
func verdict(names []string, out string) (map[string]string, error) {
	if strings.Contains(out, "[build failed]") || strings.Contains(out, "build gatehouse:") || !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "\nok ") && !strings.HasPrefix(out, "ok ") {
		return nil, fmt.Errorf("the tests did not run:\n%s", out)
	}
	bitten := map[string]string{}
	for _, name := range names {
		if !regexp.MustCompile(`(?m)^--- FAIL: ` + name + ` `).MatchString(out) {
			continue
		}
		said := complaint.FindString(out[strings.Index(out, "--- FAIL: "+name+" "):])
		bitten[name] = fmt.Sprintf("%.200s", strings.TrimSpace(said))
	}
	return bitten, nil
}
