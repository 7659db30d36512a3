package main

import (
	"embed"
	"html/template"
	"maps"
	"net/http"
	"slices"
)

//go:embed sample/index.html
var samplePage embed.FS

// sampleHandler is an app with no login of its own: it greets whom the headers
// name and shows what it was sent.
func sampleHandler() http.Handler {
	page := template.Must(template.ParseFS(samplePage, "sample/index.html"))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := page.Execute(w, visitorOf(r)); err != nil {
			return // the browser went away
		}
	})
}

func sortedKeys(h http.Header) []string { return slices.Sorted(maps.Keys(h)) }
