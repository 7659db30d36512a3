package config

import "reflect"

// RestartOnly lists the keys in which next differs from old and which a reload
// cannot change, at their places in next. A reload that changes any is refused.
func RestartOnly(old, next *Config) []Problem {
	var changed Problems
	compareRestart(reflect.ValueOf(old).Elem(), reflect.ValueOf(next).Elem(), "", func(path string) {
		if _, given := next.places[path]; !given {
			if _, asFile := next.places[path+"_file"]; asFile {
				path += "_file"
			}
		}
		d := document{values: next.places}
		at := d.placeOf(path)
		p := Problem{
			File: next.File, Line: at.line, Column: at.column, Width: at.width, Path: path,
			Message: "cannot change while gatehouse runs", Hint: "restart it, or put the old value back",
		}
		if at.line <= len(next.shown) {
			p.Source = next.shown[at.line-1]
		}
		changed = append(changed, p)
	})
	sortProblems(changed)
	return changed
}

func compareRestart(a, b reflect.Value, prefix string, differs func(path string)) {
	for _, f := range fieldsOf(a.Type()) {
		x, y := a.Field(f.index), b.Field(f.index)
		switch {
		case f.restart && !reflect.DeepEqual(x.Interface(), y.Interface()):
			differs(prefix + f.name)
		case shapeOf(f.typ) == shapeSection && x.Kind() == reflect.Struct:
			compareRestart(x, y, prefix+f.name+".", differs)
		}
	}
}
