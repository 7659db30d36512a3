// Command threats keeps the numbered list of what gatehouse defends against
// (threats.txt) and two things that follow from it: the table in
// docs/security.md, and the proof that the tests named after the numbers bite.
// It decides which tests count by their names alone.
package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
)

//go:embed threats.txt
var threats string

const (
	page  = "docs/security.md"
	usage = "usage: threats table | threats bite REGEXP"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "threats:", err)
		os.Exit(1)
	}
}

// run works in the module's root.
func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "table":
		return writeTable()
	case len(args) == 2 && args[0] == "bite":
		return biteAll(args[1])
	}
	return errors.New(usage)
}
