package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// Load reads and checks the file at path. env looks up the variables that
// ${NAME} names. The error is a Problems with every finding, or nil.
//
// Relative paths in the file are resolved: store.sqlite.path against data_dir,
// all others against the directory of the file.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Problems{{File: path, Message: wholeFile(err), Hint: "name the file with --config"}}
	}
	defer func() { _ = f.Close() }() // opened for reading
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, Problems{{File: path, Message: wholeFile(err)}}
	}
	return Parse(path, text, env)
}

func wholeFile(err error) string {
	var perr *os.PathError
	if errors.As(err, &perr) {
		err = perr.Err
	}
	return "cannot read the configuration: " + err.Error()
}

// Parse is Load for text at hand; name is the path it is said to come from.
func Parse(name string, text []byte, env func(string) (string, bool)) (*Config, error) {
	if len(text) > maxFile {
		return nil, Problems{{File: name, Message: fmt.Sprintf("is larger than %d KiB", maxFile>>10)}}
	}
	dir := filepath.Dir(name)
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	d := newDocument(name, dir, text, env)
	cfg := &Config{File: name, Dir: dir}
	if root := d.parse(text); root != nil {
		d.index(root)
		d.decode(root, reflect.ValueOf(cfg).Elem(), field{}, "")
		if root.Kind == yaml.MappingNode && root.Style&yaml.TaggedStyle == 0 && d.nodes <= maxNodes {
			d.validate(cfg)
		}
	}
	if len(d.problems) > 0 {
		return nil, d.finish(d.problems)
	}
	d.resolvePaths(cfg)
	cfg.Warnings = d.finish(d.warnings)
	cfg.places = d.values
	for i := range d.lines {
		cfg.shown = append(cfg.shown, d.source(i+1))
	}
	return cfg, nil
}

// parse returns the one mapping the file consists of, or reports why not.
func (d *document) parse(text []byte) *yaml.Node {
	if p, bad := unreadable(text); bad != nil {
		d.report(p, "", bad)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	err := decodeYAML(dec, &first)
	switch {
	case errors.Is(err, io.EOF):
		d.report(place{1, 1, 1}, "", found("start from config.example.yaml", "the file is empty"))
		return nil
	case err != nil:
		d.syntax(err, string(text))
		return nil
	case len(first.Content) == 0 || first.Content[0].ShortTag() == "!!null":
		d.report(place{1, 1, 1}, "", found("start from config.example.yaml", "the file is empty"))
		return nil
	}
	switch err := decodeYAML(dec, &second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err, string(text))
	default:
		p := place{second.Line, second.Column, 1}
		if len(second.Content) > 0 {
			d.hide(&second)
			d.hidden = map[int]int{second.Content[0].Line: 1}
		}
		d.report(p, "", found("keep one; a file holds one configuration", "a second document starts here"))
	}
	return first.Content[0]
}

// decodeYAML is dec.Decode with a panic of the parser turned into an error: the
// file is input, and a broken one must not end a running gateway.
func decodeYAML(dec *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: the file cannot be understood")
		}
	}()
	return dec.Decode(into)
}

// unreadable finds the first byte that cannot be part of a YAML file; the
// parser would refuse it without saying where.
func unreadable(text []byte) (place, *finding) {
	p := place{1, 1, 1}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return p, found("save the file as UTF-8", "is not UTF-8 text")
		case r < ' ' && r != '\n' && r != '\r' && r != '\t' || r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfeff && i > 0, r >= 0xfffe && r <= 0xffff:
			return p, found("remove it, or write it as \\u%04X in double quotes", "holds the control character U+%04X", r).with(r)
		case r == '\n':
			p.line, p.column = p.line+1, 0
		}
		p.column++
		i += size
	}
	return p, nil
}

func (f *finding) with(args ...any) *finding {
	f.hint = fmt.Sprintf(f.hint, args...)
	return f
}

var (
	syntaxLine   = regexp.MustCompile(`^line (\d+): `)
	unknownAlias = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

// syntax reports what the YAML parser says. Its messages may quote the file,
// which may hold secrets, so that only known ones are passed on.
func (d *document) syntax(err error, text string) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits by the pattern; finish bounds it
		message = message[len(m[0]):]
		for _, late := range []string{"did not find expected key", "did not find expected node", "did not find expected ','", "did not find expected '-'", "did not find expected <"} {
			if strings.HasPrefix(message, late) {
				line++ // the parser counts these from 0
			}
		}
	}
	hint := ""
	switch m := unknownAlias.FindStringSubmatch(message); {
	case m != nil:
		line = strings.Count(text[:max(strings.Index(text, "*"+m[1]), 0)], "\n") + 1
		message, hint = "an alias (*name) has no anchor (&name)", "put the value in quotes if it is meant as text"
	case strings.Contains(message, "mapping values are not allowed"):
		hint = "quote a value that contains ': ', and check the indentation"
	case strings.Contains(message, "cannot start any token"):
		hint = "indent with spaces, not tabs; quote a value that starts with @, % or `"
	case strings.Contains(message, "did not find expected key"):
		hint = "check the indentation of this line and the one before"
	}
	if strings.Contains(message, "'") && !strings.Contains(message, "did not find expected") && !strings.Contains(message, "could not find expected") {
		message = message[:strings.Index(message, "'")]
	}
	line = min(max(line, 1), len(d.lines))
	source := d.lines[line-1]
	column := len([]rune(source)) - len([]rune(strings.TrimLeft(source, " \t"))) + 1
	d.hideAllSecrets()
	d.report(place{line, column, max(len([]rune(strings.TrimSpace(source))), 1)}, "", found(hint, "is not YAML: %s", strings.TrimSpace(visible(message))))
}

// hideAllSecrets is for files without a tree: every line that is, or stands
// below, a key that sounds like a secret shows its key alone.
func (d *document) hideAllSecrets() {
	below := -1
	for i, line := range d.lines {
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		if below >= 0 && (indent > below || strings.TrimSpace(line) == "") {
			d.hideFrom(i+1, 1)
			continue
		}
		below = -1
		name, rest, isKey := strings.Cut(line, ":")
		if !looksSecret(line) {
			continue
		}
		if isKey && strings.TrimSpace(name) == "tokens" && strings.TrimSpace(rest) == "" {
			continue // a section, most of whose keys are harmless
		}
		if isKey && looksSecret(name) {
			below = indent
			d.hideFrom(i+1, len([]rune(name))+3)
		} else {
			d.hideFrom(i+1, 1)
		}
	}
}

// resolvePaths makes every path usable from any working directory.
func (d *document) resolvePaths(c *Config) {
	c.DataDir = d.resolve(c.DataDir)
	c.Store.SQLite.Path = resolveIn(c.DataDir, c.Store.SQLite.Path)
	for i := range c.TLS.Certificates {
		c.TLS.Certificates[i].CertFile = d.resolve(c.TLS.Certificates[i].CertFile)
		c.TLS.Certificates[i].KeyFile = d.resolve(c.TLS.Certificates[i].KeyFile)
	}
	c.Redis.CAFile = d.resolve(c.Redis.CAFile)
	c.UI.LogoFile = d.resolve(c.UI.LogoFile)
	c.Log.AuditFile = d.resolve(c.Log.AuditFile)
}
