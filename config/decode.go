package config

import (
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxNodes bounds the values visited, aliases counted at every use, so that a
// small file cannot stand for an endless one.
const maxNodes = 100_000

// deref follows an alias to what it stands for.
func deref(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// decode reads the node n into v, which f describes.
func (d *document) decode(n *yaml.Node, v reflect.Value, f field, path string) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 { // said however much else is wrong
			d.problems = append(d.problems, d.problem(nodePlace(n), path, fmt.Sprintf("the file stands for more than %d values", maxNodes), "use fewer aliases"))
		}
		return
	}
	d.values[path] = nodePlace(n)
	content := deref(n)
	s := shapeOf(v.Type())
	if s == shapeSecret || s == shapeSection && content.Kind != yaml.MappingNode && holdsSecret(section(v.Type())) {
		d.hide(n)
	}
	if content.Style&yaml.TaggedStyle != 0 {
		d.report(nodePlace(n), path, found("leave the tag out; quote the value if it starts with !", "YAML tags are not understood"))
		return
	}
	if content.Kind == yaml.ScalarNode && content.ShortTag() == "!!null" {
		d.report(nodePlace(n), path, found("give it one, or leave the key out", "has no value"))
		return
	}
	if v.Kind() == reflect.Pointer && s != shapeInt {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch s {
	case shapeSection:
		d.decodeSection(n, v, path)
	case shapeList:
		d.decodeList(n, v, f, path)
	case shapeMap:
		d.decodeMap(n, v, path)
	case shapeAccess:
		d.decodeAccess(n, v.Addr().Interface().(*Access), path)
	case shapeUpstreams:
		d.decodeUpstreams(n, v.Addr().Interface().(*Upstreams), path)
	case shapeIdentity:
		d.decodeIdentity(n, v.Addr().Interface().(*IdentityHeaders), path)
	case shapeSecret:
		d.decodeSecret(n, v.Addr().Interface().(*Secret), path)
	default:
		d.decodeScalar(n, v, f, path)
	}
}

func holdsSecret(t reflect.Type) bool {
	for _, f := range fieldsOf(t) {
		if shapeOf(f.typ) == shapeSecret {
			return true
		}
	}
	return false
}

// kind names what a node is, for messages.
func kind(n *yaml.Node) string {
	switch deref(n).Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// wants reports a node of the wrong kind.
func (d *document) wants(n *yaml.Node, path, want, hint string) {
	d.report(nodePlace(n), path, found(hint, "is %s, want %s", kind(n), want))
}

// section decodes a mapping key by key.
func (d *document) decodeSection(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	content := deref(n)
	if content.Kind != yaml.MappingNode {
		d.wants(n, path, "a section with the keys "+strings.Join(names(fields), ", "), "")
		return
	}
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(content.Content); i += 2 {
		name, value := content.Content[i], content.Content[i+1]
		f, file, ok := d.lookup(name, value, fields, path)
		if !ok || d.duplicate(name, value, f, seen, path) {
			continue
		}
		inner := join(path, name.Value)
		d.keys[inner] = nodePlace(name)
		if file {
			if twin := seen[f.name]; twin != nil {
				d.both(name, path, f.name)
			}
			d.decodeSecretFile(value, v.Field(f.index).Addr().Interface().(*Secret), inner)
			continue
		}
		if seen[f.name+"_file"] != nil && shapeOf(f.typ) == shapeSecret {
			d.both(name, path, f.name)
		}
		d.decode(value, v.Field(f.index), f, inner)
	}
	for _, f := range fields {
		if seen[f.name] == nil && (shapeOf(f.typ) != shapeSecret || seen[f.name+"_file"] == nil) {
			d.absent(v.Field(f.index), f, join(path, f.name), nodePlace(n))
		}
	}
}

func (d *document) both(name *yaml.Node, path, secret string) {
	d.report(nodePlace(name), join(path, name.Value), found("keep one of them", "%s and %s_file are both given", secret, secret))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func names(fields []field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.name)
	}
	return out
}

// lookup finds the field a key names; file says that the key is a <key>_file.
func (d *document) lookup(name, value *yaml.Node, fields []field, path string) (f field, file, ok bool) {
	if name.Kind != yaml.ScalarNode || name.Style&yaml.TaggedStyle != 0 {
		d.hide(value)
		d.report(nodePlace(name), path, found("", "a key is plain text"))
		return field{}, false, false
	}
	if name.ShortTag() == "!!merge" {
		d.hide(value)
		for _, f := range fields {
			d.meant[join(path, f.name)] = true
		}
		d.report(nodePlace(name), path, found("write the keys out; a whole value can be an alias", "merge keys (<<) are not understood"))
		return field{}, false, false
	}
	var known []string
	for _, f := range fields {
		if f.name == name.Value {
			return f, false, true
		}
		known = append(known, f.name)
		if shapeOf(f.typ) == shapeSecret {
			if f.name+"_file" == name.Value {
				return f, true, true
			}
			known = append(known, f.name+"_file")
		}
	}
	d.unknown(name, value, known, path)
	return field{}, false, false
}

// unknown reports a key that is not in the schema. Its value may be a secret.
func (d *document) unknown(name, value *yaml.Node, known []string, path string) {
	best := suggest(name.Value, known)
	if looksSecret(name.Value) || looksSecret(best) {
		d.hide(value)
	}
	hint := didYouMean(best)
	if best != "" {
		d.meant[join(path, strings.TrimSuffix(best, "_file"))] = true
	} else if elsewhere := d.keyElsewhere(name.Value); elsewhere != "" {
		hint = didYouMean(elsewhere)
	} else {
		hint = "known here: " + strings.Join(known, ", ")
	}
	d.report(nodePlace(name), join(path, visible(name.Value)), found(hint, "unknown key"))
}

// visible makes text from the file safe for a terminal, and short.
func visible(s string) string {
	q := quote(s)
	if q[1:len(q)-1] == s {
		return s
	}
	return q
}

// keyElsewhere is the one path at which a key of this name exists, or "".
func (d *document) keyElsewhere(name string) string {
	if d.elsewhere == nil {
		d.elsewhere = map[string][]string{}
		for _, k := range allKeys() {
			d.elsewhere[k.name] = append(d.elsewhere[k.name], k.path)
		}
	}
	if paths := d.elsewhere[name]; len(paths) == 1 {
		return paths[0]
	}
	return ""
}

// looksSecret guesses from a name whether its value must not be shown.
func looksSecret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// duplicate reports the second of two equal keys.
func (d *document) duplicate(name, value *yaml.Node, f field, seen map[string]*yaml.Node, path string) bool {
	first := seen[name.Value]
	if first == nil {
		seen[name.Value] = name
		return false
	}
	if shapeOf(f.typ) == shapeSecret || section(f.typ) != nil {
		d.hide(value)
	}
	d.report(nodePlace(name), join(path, name.Value), found("remove one of them", "duplicate key, already given in line %d", first.Line))
	return true
}

// absent gives a key that the file lacks its default, or reports it missing.
func (d *document) absent(v reflect.Value, f field, path string, at place) {
	switch {
	case f.required && !d.meant[path]:
		d.report(at, path, found(strings.TrimSuffix(f.doc, "."), "is missing"))
	case f.hasDefault:
		d.setDefault(v, f)
	case shapeOf(v.Type()) == shapeSection && v.Kind() != reflect.Pointer:
		for _, inner := range fieldsOf(v.Type()) {
			d.absent(v.Field(inner.index), inner, join(path, inner.name), at)
		}
	}
}

// setDefault stores the default of the schema. A test reads every default.
func (d *document) setDefault(v reflect.Value, f field) {
	switch shapeOf(v.Type()) {
	case shapeAccess:
		v.Set(reflect.ValueOf(Access{Kind: accessWords[f.def]}))
	case shapeIdentity:
		v.Set(reflect.ValueOf(IdentityHeaders{Preset: f.def}))
	case shapeList:
		v.Set(reflect.ValueOf(strings.Split(f.def, ",")))
	default:
		_ = setScalar(v, f, f.def, f.def) // cannot fail: a test sets every default of the schema
	}
}

func (d *document) decodeList(n *yaml.Node, v reflect.Value, f field, path string) {
	content := deref(n)
	if content.Kind != yaml.SequenceNode {
		hint := ""
		if content.Kind == yaml.ScalarNode && shapeOf(v.Type().Elem()) != shapeSection {
			hint = "write [" + visible(content.Value) + "]"
		}
		d.wants(n, path, "a list", hint)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(content.Content), len(content.Content)))
	for i, item := range content.Content {
		if d.nodes > maxNodes {
			return
		}
		d.decode(item, v.Index(i), field{required: true}, fmt.Sprintf("%s[%d]", path, i))
	}
}
