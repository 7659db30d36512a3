package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// kindName says how the value of f is written.
func kindName(f field) string {
	switch shapeOf(f.typ) {
	case shapeBool:
		return "true or false"
	case shapeInt:
		return "number"
	case shapeDuration:
		return "duration"
	case shapeSize:
		return "size"
	case shapeRate:
		return "rate"
	case shapePrefix:
		return "CIDR"
	case shapeSecret:
		return "secret"
	case shapeAccess:
		return "access"
	case shapeUpstreams:
		return "URL or list"
	case shapeIdentity:
		return "preset or map"
	case shapeSection:
		return "section"
	case shapeList:
		if section(f.typ.Elem()) != nil {
			return "list of sections"
		}
		return "list of " + kindName(field{typ: f.typ.Elem()})
	case shapeMap:
		return "map of text"
	}
	if len(f.enum) > 0 {
		return strings.Join(f.enum, ", ")
	}
	return "text"
}

// defaultText is how the default is written in a file, or what stands for it.
func defaultText(f field) string {
	switch {
	case f.required:
		return "required"
	case !f.hasDefault:
		return "none"
	case shapeOf(f.typ) == shapeList:
		return "[" + f.def + "]"
	case strings.HasPrefix(f.def, ":"):
		return `"` + f.def + `"`
	}
	return f.def
}

// limitsText names range and unit.
func limitsText(f field) string {
	text := strings.Replace(f.limits, "..", " to ", 1)
	if f.unit != "" {
		text += " " + f.unit
	}
	return strings.TrimSpace(text)
}

// Defaults prints every key with default, range, unit and meaning.
func Defaults(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tDEFAULT\tKIND\tRANGE\tRESTART\tMEANING") // errors surface in Flush
	for _, k := range allKeys() {
		if k.section {
			continue
		}
		restart := "-"
		if k.restart {
			restart = "yes"
		}
		limits := limitsText(k.field)
		if limits == "" {
			limits = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", k.path, defaultText(k.field), kindName(k.field), limits, restart, k.doc)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print defaults: %w", err)
	}
	return nil
}

const referenceHead = `# Configuration reference

Every key of the file, made from the program itself: ` + "`gatehouse config reference`" + ` prints this page,
` + "`gatehouse config schema`" + ` the JSON Schema for editors, ` + "`gatehouse config defaults`" + ` a plain table.
A commented file with every key is ` + "`config.example.yaml`" + `.

## How values are written

The file is one YAML document of up to 1 MiB. It is read strictly: an unknown or duplicate key, a wrong type, a value
out of range, a second document and an empty file are errors, and all of them are reported at once, each at its place.
` + "`gatehouse check`" + ` does nothing else. Merge keys (` + "`<<`" + `) and YAML tags are not understood; plain aliases are.

| kind | written as |
|---|---|
| duration | ` + "`10s`, `5m`, `12h`, `1h30m`" + `; a number without a unit is refused |
| size | ` + "`64KiB`, `10MiB`, `2GiB`" + ` |
| rate | ` + "`5/1m`" + `: five in one minute |
| CIDR | ` + "`10.0.0.0/8`, `fd00::/8`" + `, or one address |
| access | ` + "`public`, `signed_in`, `deny`" + `, or conditions that must all hold, as in ` + "`{groups: [admins], networks: [10.0.0.0/8]}`" + `; a list holds when one entry matches, and an empty list is an error |
| preset or map | ` + "`x-forwarded`, `remote-user`, `x-auth-request`, `x-webauth`, `x-remote-user`" + `, or a map such as ` + "`{X-User: email, X-Roles: groups}`" + ` with the fields sub, email, name, groups, sid and amr |
| URL or list | ` + "`http://127.0.0.1:8081`, `https://app:8443`, `h2c://127.0.0.1:50051`, `unix:/run/app.sock`" + `, or a list of them |
| secret | the value itself, or ` + "`KEY_file`" + ` with the name of a file that holds it; one line end at its end is not part of it. A file that other users of the machine can read is refused |

` + "`${NAME}`" + ` in a value stands for an environment variable; one that is not set is an error. Keys are never expanded, nor is
what a variable holds. ` + "`$${`" + ` stands for a literal ` + "`${`" + `; any other ` + "`$`" + ` is itself. Inside ` + "`{...}`" + ` or ` + "`[...]`" + ` put it in quotes.

0 never means unlimited: a limit is left out, not set to 0. Relative file names start at the directory of the
configuration file, ` + "`store.sqlite.path`" + ` at ` + "`data_dir`" + `. Header names may be written in any case.

A change of the file, or SIGHUP, reloads it: everything is checked first, then swapped at once; on any problem the old
configuration stays. Keys marked *restart* cannot change that way; a reload that changes one is refused.
`

// Reference returns the Markdown reference of every key.
func Reference() []byte {
	var b strings.Builder
	b.WriteString(referenceHead)
	open := ""
	for _, k := range allKeys() {
		top, _, below := strings.Cut(k.path, ".")
		top = strings.TrimSuffix(top, "[]")
		if top != open {
			open = top
			fmt.Fprintf(&b, "\n## %s\n", top)
			if k.section {
				fmt.Fprintf(&b, "\n%s\n", k.doc)
			}
			b.WriteString("\n| key | default | kind | meaning |\n|---|---|---|---|\n")
		}
		if k.section && !below {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.path, code(k.field, k.section), kindName(k.field), meaning(k))
	}
	return []byte(b.String())
}

func code(f field, section bool) string {
	switch text := defaultText(f); {
	case section && !f.required && !f.hasDefault:
		return ""
	case text == "required" || text == "none":
		return text
	case text == "":
		return "empty"
	default:
		return "`" + text + "`"
	}
}

func meaning(k key) string {
	text := strings.ReplaceAll(k.doc, "|", "\\|")
	if limits := limitsText(k.field); limits != "" {
		text += " Range " + limits + "."
	}
	if k.restart {
		text += " *Restart.*"
	}
	return text
}
