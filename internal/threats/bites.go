package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// bite is one way to break the program, and the tests that have to notice. A
// test that was never seen to fail proves nothing.
type bite struct {
	breaks string   // what the broken program does, in words
	file   string   // from the module's root; "std:net/http/server.go" for a file of Go's library
	old    string   // is there exactly once
	new    string   // what stands there instead; compiles
	tests  []string // "proxy TestT001_Name": the package's folder and the test, all of which fail
	full   bool     // they notice at full size alone, and wait for it longer
}

// bites holds them in the order of threats.txt, and those of faults last.
func bites() []bite {
	return slices.Concat(identityBites, forwardingBites, pathBites, framingBites, browserBites, tokenBites, accountBites, transportBites, operationBites, faultBites)
}

// goroot is where Go's library is.
var goroot = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	return strings.TrimSpace(string(out)), err
})

// path is where the file of b is.
func (b bite) path(root string) (string, error) {
	std, ok := strings.CutPrefix(b.file, "std:")
	if !ok {
		return filepath.Join(root, b.file), nil
	}
	dir, err := goroot()
	return filepath.Join(dir, "src", std), err
}

// broken returns the file's text with the break in it.
func (b bite) broken(root string) (string, error) {
	path, err := b.path(root)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), b.old); n != 1 {
		return "", fmt.Errorf("%s: what is to be replaced is there %d times: %q", b.file, n, b.old)
	}
	return strings.Replace(string(text), b.old, b.new, 1), nil
}

// check holds the list of bites against the tests there are: no bite for a
// test that does not exist, and no test of a threat or a fault without one.
func check(root string) error {
	found, err := find(root)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for list := range maps.Values(found) {
		for _, p := range list {
			known[p.dir+" "+p.name] = true
		}
	}
	var wrong []error
	seen := map[string]bool{}
	for _, b := range bites() {
		if _, err := b.broken(root); err != nil && !strings.HasPrefix(b.file, "std:") {
			wrong = append(wrong, err)
		}
		for _, test := range b.tests {
			if !known[test] {
				wrong = append(wrong, fmt.Errorf("%q: there is no test %s", b.breaks, test))
			}
			seen[test] = true
		}
	}
	for _, test := range slices.Sorted(maps.Keys(known)) {
		if !seen[test] {
			wrong = append(wrong, fmt.Errorf("%s: wants a bite", test))
		}
	}
	return errors.Join(wrong...)
}
