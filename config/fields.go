package config

import (
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// field is one key of the schema, read from the tags of a struct field.
type field struct {
	name       string
	index      int
	typ        reflect.Type
	def        string
	hasDefault bool
	limits     string // inclusive, as in 1m..15m
	enum       []string
	required   bool
	doc        string
	unit       string
	restart    bool
}

// fieldsOf lists the keys of a section in the order they are declared.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name := tag.Get("yaml")
		if name == "" || name == "-" {
			continue
		}
		f := field{name: name, index: i, typ: t.Field(i).Type, limits: tag.Get("range"), doc: tag.Get("doc"), unit: tag.Get("unit")}
		f.def, f.hasDefault = tag.Lookup("default")
		f.required, f.restart = tag.Get("required") == "true", tag.Get("restart") == "true"
		if e := tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
		}
		fields = append(fields, f)
	}
	return fields
}

// shape is how a type is written in the file.
type shape int

const (
	shapeText shape = iota
	shapeBool
	shapeInt
	shapeDuration
	shapeSize
	shapeRate
	shapePrefix
	shapeSecret
	shapeAccess
	shapeUpstreams
	shapeIdentity
	shapeSection
	shapeList
	shapeMap
)

// shapeOf says how t is written; a pointer is written as what it points to.
func shapeOf(t reflect.Type) shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return shapeDuration
	case reflect.TypeFor[Size]():
		return shapeSize
	case reflect.TypeFor[Rate]():
		return shapeRate
	case reflect.TypeFor[netip.Prefix]():
		return shapePrefix
	case reflect.TypeFor[Secret]():
		return shapeSecret
	case reflect.TypeFor[Access]():
		return shapeAccess
	case reflect.TypeFor[Upstreams]():
		return shapeUpstreams
	case reflect.TypeFor[IdentityHeaders]():
		return shapeIdentity
	}
	switch t.Kind() {
	case reflect.Bool:
		return shapeBool
	case reflect.Int:
		return shapeInt
	case reflect.Struct:
		return shapeSection
	case reflect.Slice:
		return shapeList
	case reflect.Map:
		return shapeMap
	}
	return shapeText
}

// section returns the struct behind t, or nil when t is written otherwise.
func section(t reflect.Type) reflect.Type {
	if shapeOf(t) != shapeSection {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// key is one key of the whole file with its path, as in routes[].rules[].path.
type key struct {
	field
	path    string
	section bool // holds other keys
}

// allKeys lists every key of the file in the order of the schema, sections
// before what they hold. Secrets appear twice, the second time as <key>_file.
func allKeys() []key { return keysBelow(reflect.TypeFor[Config](), "") }

func keysBelow(t reflect.Type, prefix string) []key {
	var keys []key
	for _, f := range fieldsOf(t) {
		path := prefix + f.name
		inner := section(f.typ)
		if shapeOf(f.typ) == shapeList {
			path += "[]"
			inner = section(f.typ.Elem())
		}
		if shapeOf(f.typ) == shapeAccess {
			inner = reflect.TypeFor[AccessMap]()
		}
		keys = append(keys, key{f, strings.TrimSuffix(path, "[]"), inner != nil && shapeOf(f.typ) != shapeAccess})
		if shapeOf(f.typ) == shapeSecret {
			keys = append(keys, key{fileTwin(f), path + "_file", false})
		}
		if inner != nil {
			keys = append(keys, keysBelow(inner, path+".")...)
		}
	}
	return keys
}

// fileTwin is the <key>_file of a secret.
func fileTwin(f field) field {
	return field{
		name: f.name + "_file", index: f.index, typ: reflect.TypeFor[string](), restart: f.restart,
		doc: "File that holds " + f.name + " instead; relative to the configuration file, readable by others is refused.",
	}
}

// Keys lists the path of every key that takes a value; [] stands for the
// entries of a list.
func Keys() []string {
	var paths []string
	for _, k := range allKeys() {
		if !k.section {
			paths = append(paths, k.path)
		}
	}
	return paths
}
