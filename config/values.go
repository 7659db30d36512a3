package config

import (
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// decodeMap reads a map of text to text; header maps are the only ones.
func (d *document) decodeMap(n *yaml.Node, v reflect.Value, path string) {
	content := deref(n)
	if content.Kind != yaml.MappingNode {
		d.wants(n, path, "a section of header names and values", "")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.eachPair(content, path, func(name string, value *yaml.Node, inner string) {
		if looksSecret(name) {
			d.hide(value)
		}
		var text string
		d.decode(value, reflect.ValueOf(&text).Elem(), field{}, inner)
		v.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(text))
	})
}

// eachPair visits the pairs of a mapping whose keys are header names; names
// that differ in case alone are the same name (threat T4).
func (d *document) eachPair(content *yaml.Node, path string, visit func(name string, value *yaml.Node, inner string)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(content.Content); i += 2 {
		name, value := content.Content[i], content.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			d.hide(value)
			d.report(nodePlace(name), path, found("", "a key is plain text"))
			continue
		}
		inner := join(path, visible(name.Value))
		d.keys[inner] = nodePlace(name)
		canonical := canonicalHeader(name.Value)
		switch line, twice := seen[canonical]; {
		case !validHeaderName(name.Value):
			d.hide(value)
			d.report(nodePlace(name), inner, found("", "%s is not a header name", quote(name.Value)))
			continue
		case twice:
			d.hide(value)
			d.report(nodePlace(name), inner, found("remove one of them", "the same header is already given in line %d", line))
			continue
		}
		seen[canonical] = name.Line
		inner = join(path, canonical)
		d.keys[inner] = nodePlace(name)
		visit(canonical, value, inner)
	}
}

// text is the value of a scalar node with its variables expanded.
func (d *document) text(n *yaml.Node, path, want string) (text string, expanded, ok bool) {
	content := deref(n)
	if content.Kind != yaml.ScalarNode {
		d.wants(n, path, want, "")
		return "", false, false
	}
	text, bad := d.expand(content.Value)
	if bad != nil {
		d.report(nodePlace(n), path, bad)
		return "", false, false
	}
	return text, text != content.Value, true
}

func (d *document) decodeScalar(n *yaml.Node, v reflect.Value, f field, path string) {
	s := shapeOf(v.Type())
	text, expanded, ok := d.text(n, path, wanted(s))
	if !ok {
		return
	}
	content := deref(n)
	if strings.Contains(text, "://") && strings.Contains(text, "@") {
		d.hide(n) // a URL with a password
	}
	quoted := content.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case quoted && !expanded && (s == shapeBool || s == shapeInt):
		d.report(nodePlace(n), path, found("remove the quotes", "is text, want %s", wanted(s)))
		return
	case s == shapeText && len(f.enum) == 0 && !quoted && content.ShortTag() == "!!bool":
		d.report(nodePlace(n), path, found("put it in quotes if it is meant as text", "is true or false, want text"))
		return
	}
	if bad := setScalar(v, f, text, content.Value); bad != nil {
		d.report(nodePlace(n), path, bad)
	}
}

// wanted names a scalar shape for messages.
func wanted(s shape) string {
	switch s {
	case shapeBool:
		return "true or false"
	case shapeInt:
		return "a whole number"
	case shapeDuration:
		return "a duration, as in 5m"
	case shapeSize:
		return "a size, as in 10MiB"
	case shapeRate:
		return "a rate, as in 5/1m"
	case shapePrefix:
		return "a network, as in 10.0.0.0/8"
	}
	return "text"
}

var variable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${NAME} by the environment's value. $${ stands for a
// literal ${; every other $ is itself. What a variable holds is not expanded
// again.
func (d *document) expand(s string) (string, *finding) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			return b.String() + s, nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		m := variable.FindStringSubmatch(s[i:])
		if m == nil {
			return "", found("write ${NAME}, or $${ for a literal ${", "holds ${ without the name of a variable")
		}
		value, ok := d.env(m[1])
		if !ok {
			return "", found("set it, or write $${ for a literal ${", "environment variable %s is not set", m[1])
		}
		b.WriteString(s[:i] + value)
		s = s[i+len(m[0]):]
	}
}
