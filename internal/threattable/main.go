// Command threattable writes the table of threats in docs/security.md: what
// gatehouse does about each, and the tests named after it. It decides which
// tests count, by their names alone, and knows nothing of what they do.
package main

import (
	_ "embed"
	"fmt"
	"os"
)

//go:embed threats.txt
var threats string

const page = "docs/security.md"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "threattable:", err)
		os.Exit(1)
	}
}

// run rewrites the page under the working directory, the module's root.
func run() error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err := rewrite(".", string(old))
	if err != nil {
		return err
	}
	return os.WriteFile(page, []byte(text), 0o644) //nolint:gosec // a page of the documentation
}
