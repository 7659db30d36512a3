package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxSource is how much of a line is shown, in characters.
const maxSource = 200

// hiddenText stands where a line holds a secret.
const hiddenText = "[hidden]"

// place is where something stands in the file; lines and columns from 1.
type place struct{ line, column, width int }

// document is one file while it is read: its text, where every key path
// stands, and what was found.
type document struct {
	file      string
	dir       string
	lines     []string
	env       func(string) (string, bool)
	values    map[string]place    // by key path
	keys      map[string]place    // by key path, where the key itself stands
	starts    []place             // of every node, in the order of the file
	hidden    map[int]int         // line -> first column that must not be shown
	broken    map[string]bool     // paths that have a problem already
	holds     map[string]bool     // paths that have one at or below them
	meant     map[string]bool     // paths a mistyped key was probably meant for
	elsewhere map[string][]string // paths by the name of the key, once needed
	nodes     int                 // values visited, aliases counted at every use

	problems Problems
	warnings Problems
}

func newDocument(file, dir string, text []byte, env func(string) (string, bool)) *document {
	return &document{
		file: file, dir: dir, env: env,
		lines:  strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"),
		values: map[string]place{}, keys: map[string]place{}, hidden: map[int]int{},
		broken: map[string]bool{}, holds: map[string]bool{}, meant: map[string]bool{},
	}
}

// problem makes a Problem at a place. The source line is added at the end,
// when it is known what must be hidden.
func (d *document) problem(p place, path, message, hint string) Problem {
	return Problem{File: d.file, Line: p.line, Column: p.column, Path: path, Message: message, Hint: hint, Width: p.width}
}

// report records a problem at a place and remembers its path.
func (d *document) report(p place, path string, bad *finding) {
	d.broken[path] = true
	for p := path; p != "" && !d.holds[p]; p = parent(p) {
		d.holds[p] = true
	}
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, d.problem(p, path, bad.message, bad.hint))
	}
}

// at reports what is wrong with the value at path, unless something is known
// to be wrong with it or with what it is in.
func (d *document) at(path, hint, format string, args ...any) {
	for p := path; p != ""; p = parent(p) {
		if d.broken[p] {
			return
		}
	}
	d.report(d.placeOf(path), path, found(hint, format, args...))
}

// warn records a finding that does not stop a start.
func (d *document) warn(path, hint, format string, args ...any) {
	d.warnings = append(d.warnings, d.problem(d.placeOf(path), path, fmt.Sprintf(format, args...), hint))
}

// clean reports whether nothing is known to be wrong at path or below it.
func (d *document) clean(path string) bool { return !d.holds[path] }

// has reports whether the file gives a value at path.
func (d *document) has(path string) bool {
	_, ok := d.values[path]
	return ok
}

// placeOf is where path stands, or the nearest section that would hold it.
func (d *document) placeOf(path string) place {
	for p := path; p != ""; p = parent(p) {
		if at, ok := d.values[p]; ok {
			if key, named := d.keys[p]; named && p != path {
				return key
			}
			return at
		}
	}
	return place{1, 1, 1}
}

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// nodePlace is where a node stands and how much of its line it takes.
func nodePlace(n *yaml.Node) place {
	width := 1
	switch n.Kind {
	case yaml.ScalarNode:
		width = utf8.RuneCountInString(n.Value)
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			width += 2
		}
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			width = 1
		}
	case yaml.AliasNode:
		width = utf8.RuneCountInString(n.Value) + 1
	}
	return place{n.Line, n.Column, max(width, 1)}
}

// index notes where every node starts, so that the end of one can be found.
func (d *document) index(n *yaml.Node) {
	d.starts = append(d.starts, place{n.Line, n.Column, 0})
	for _, child := range n.Content {
		d.index(child)
	}
}

// hide keeps a node and all it holds out of every message: from its first
// character to the end of that line, and every further line up to the next
// node.
func (d *document) hide(n *yaml.Node) {
	last := n
	for last.Kind != yaml.AliasNode && len(last.Content) > 0 {
		last = last.Content[len(last.Content)-1]
	}
	if n.Kind == yaml.AliasNode {
		d.hide(n.Alias)
	}
	end := place{line: len(d.lines) + 1}
	if i := slices.IndexFunc(d.starts, func(p place) bool {
		return p.line > last.Line || p.line == last.Line && p.column > last.Column
	}); i >= 0 {
		end = d.starts[i]
	}
	d.hideFrom(n.Line, n.Column)
	for line := n.Line + 1; line < end.line; line++ {
		d.hideFrom(line, 1)
	}
	if end.line > n.Line && end.line <= len(d.lines) {
		before := []rune(d.lines[end.line-1])
		if strings.Trim(string(before[:min(max(end.column-1, 0), len(before))]), " -?") != "" {
			d.hideFrom(end.line, 1)
		}
	}
}

func (d *document) hideFrom(line, column int) {
	if old, ok := d.hidden[line]; !ok || column < old {
		d.hidden[line] = column
	}
}

// source is a line as it may be shown.
func (d *document) source(line int) string {
	if line < 1 || line > len(d.lines) {
		return ""
	}
	text := []rune(strings.TrimPrefix(d.lines[line-1], "\ufeff"))
	tail := ""
	if column, ok := d.hidden[line]; ok {
		text, tail = text[:min(max(column-1, 0), len(text))], hiddenText
	}
	if len(text) > maxSource {
		text, tail = text[:maxSource], "..."
	}
	for i, r := range text {
		switch {
		case r == '\t':
			text[i] = ' '
		case !unicode.IsPrint(r):
			text[i] = '?' // control and direction characters do not reach a terminal
		}
	}
	return strings.TrimRight(string(text)+tail, " ")
}

// finish sorts, bounds places to the file and adds the source lines.
func (d *document) finish(p Problems) Problems {
	for i := range p {
		if p[i].Line == 0 {
			continue
		}
		p[i].Line = min(max(p[i].Line, 1), len(d.lines))
		p[i].Column = min(max(p[i].Column, 1), utf8.RuneCountInString(d.lines[p[i].Line-1])+1)
		p[i].Source = d.source(p[i].Line)
	}
	sortProblems(p)
	return p
}
