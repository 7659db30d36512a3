package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Patterns of the written forms, as far as a pattern can tell.
const (
	durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`
	sizePattern     = `^([1-9][0-9]*(B|KiB|MiB|GiB|TiB))?$`
	ratePattern     = `^([1-9][0-9]*/([0-9]+(\.[0-9]+)?(ms|s|m|h))+)?$`
	prefixPattern   = `^[0-9a-fA-F:.]+(/[0-9]{1,3})?$`
	upstreamPattern = `^((http|https|h2c)://[^/?#@]+/?|unix:/.+)$`
	variablePattern = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`
)

type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. The
// loader is stricter: it also knows what only several keys together can tell.
func Schema() []byte {
	root := sectionSchema(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "gatehouse configuration"
	root["$defs"] = object{
		"variable": object{"type": "string", "pattern": variablePattern, "description": "A value from the environment, as in ${NAME}."},
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil // cannot happen: maps, texts and numbers only
	}
	return append(text, '\n')
}

func sectionSchema(t reflect.Type) object {
	properties, required, both := object{}, []string{}, []any{}
	for _, f := range fieldsOf(t) {
		properties[f.name] = describe(fieldSchema(f), f)
		if shapeOf(f.typ) == shapeSecret {
			twin := fileTwin(f)
			properties[twin.name] = describe(object{"type": "string"}, twin)
			both = append(both, object{"not": object{"required": []string{f.name, twin.name}}})
			if f.required {
				both = append(both, object{"anyOf": []any{object{"required": []string{f.name}}, object{"required": []string{twin.name}}}})
			}
			continue
		}
		if f.required || section(f.typ) != nil && f.typ.Kind() != reflect.Pointer && needsValue(f.typ) {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	if len(both) > 0 {
		s["allOf"] = both
	}
	return s
}

// needsValue reports sections that cannot be left out, because something in
// them is required.
func needsValue(t reflect.Type) bool {
	for _, f := range fieldsOf(t) {
		if f.required || section(f.typ) != nil && f.typ.Kind() != reflect.Pointer && needsValue(f.typ) {
			return true
		}
	}
	return false
}

// describe adds what the tags say to the schema of a value.
func describe(s object, f field) object {
	text := f.doc
	if f.limits != "" {
		text += " Range " + strings.Replace(f.limits, "..", " to ", 1) + "."
	}
	if f.unit != "" {
		text += " Unit: " + f.unit + "."
	}
	if f.restart {
		text += " A change needs a restart."
	}
	s["description"] = text
	if !f.hasDefault {
		return s
	}
	s["default"] = f.def
	switch shapeOf(f.typ) {
	case shapeBool:
		s["default"] = f.def == "true"
	case shapeInt:
		n, _ := strconv.Atoi(f.def) // a test reads every default
		s["default"] = n
	case shapeList:
		s["default"] = strings.Split(f.def, ",")
	}
	return s
}

// orVariable also allows ${NAME} where the type alone would not.
func orVariable(s object) object {
	return object{"anyOf": []any{s, object{"$ref": "#/$defs/variable"}}}
}

func pattern(p string) object { return orVariable(object{"type": "string", "pattern": p}) }

func listOf(items object) object { return object{"type": "array", "items": items} }

func fieldSchema(f field) object {
	switch shapeOf(f.typ) {
	case shapeBool:
		return orVariable(object{"type": "boolean"})
	case shapeInt:
		s := object{"type": "integer"}
		if low, high, ok := strings.Cut(f.limits, ".."); ok {
			least, _ := strconv.Atoi(low) // a test parses every range tag
			most, _ := strconv.Atoi(high)
			s["minimum"], s["maximum"] = least, most
		}
		return orVariable(s)
	case shapeDuration:
		return pattern(durationPattern)
	case shapeSize:
		return pattern(sizePattern)
	case shapeRate:
		return pattern(ratePattern)
	case shapePrefix:
		return pattern(prefixPattern)
	case shapeAccess:
		conditions := sectionSchema(reflect.TypeFor[AccessMap]())
		conditions["minProperties"] = 1
		return object{"anyOf": []any{object{"enum": []string{"public", "signed_in", "deny"}}, conditions, object{"$ref": "#/$defs/variable"}}}
	case shapeUpstreams:
		one := pattern(upstreamPattern)
		return object{"anyOf": []any{one, object{"type": "array", "items": one, "minItems": 1}}}
	case shapeIdentity:
		headers := object{"type": "object", "minProperties": 1, "additionalProperties": orVariable(object{"enum": identityFields})}
		return object{"anyOf": []any{object{"enum": presets}, headers, object{"$ref": "#/$defs/variable"}}}
	case shapeSection:
		return sectionSchema(section(f.typ))
	case shapeList:
		return listOf(fieldSchema(field{typ: f.typ.Elem()}))
	case shapeMap:
		return object{"type": "object", "additionalProperties": object{"type": []string{"string", "number"}}}
	}
	if len(f.enum) > 0 {
		return orVariable(object{"enum": f.enum})
	}
	return object{"type": []string{"string", "number"}}
}
