package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxProblems bounds how many findings are collected; aliases could otherwise
// multiply one mistake without end.
const maxProblems = 1000

// Problems is every finding about one file, in the order of the file. It is
// the error Load returns.
type Problems []Problem

// Error prints all problems, each with its line and a caret.
func (p Problems) Error() string {
	text := make([]string, len(p))
	for i, problem := range p {
		text[i] = problem.Format()
	}
	return strings.Join(text, "\n")
}

// Format prints FILE:LINE:COL: path: message - hint, then the line of the
// file with a caret under the place. Values of secret keys are not in it.
func (p Problem) Format() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" - " + p.Hint)
	}
	if p.Source != "" {
		fmt.Fprintf(&b, "\n    %s\n    %s", p.Source, caret(p.Source, p.Column, p.Width))
	}
	return b.String()
}

// caret underlines width characters from column on, within the line.
func caret(line string, column, width int) string {
	length := utf8.RuneCountInString(line)
	start := min(max(column-1, 0), length)
	return strings.Repeat(" ", start) + "^" + strings.Repeat("~", max(min(width, length-start)-1, 0))
}

// sortProblems orders by place, and then by text so that output is stable.
func sortProblems(p Problems) {
	slices.SortStableFunc(p, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if a.Column != b.Column {
			return a.Column - b.Column
		}
		return strings.Compare(a.Path+a.Message, b.Path+b.Message)
	})
}
