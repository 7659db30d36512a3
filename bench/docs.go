package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// The document has parts that are written by hand and parts that are measured;
// the latter stand between marks.
const (
	document = "docs/performance.md"
	picture  = "docs/img/performance.svg"
)

// writeDocs puts table, absolute figures and chart of one run into the document.
func writeDocs(b *book, t table, where cores) error {
	if err := os.WriteFile(picture, []byte(chart(b)), 0o644); err != nil { //nolint:gosec // a document
		return err
	}
	var text strings.Builder
	text.WriteString(strings.ReplaceAll(heading(where), "\n", "  \n"))
	fmt.Fprintf(&text, "%s  \n", strings.Join(versions(), "; "))
	checked, errors, wrong := b.wrong()
	fmt.Fprintf(&text, "%d requests to gatehouse, %d errors, %d wrong answers.\n\n", checked, errors, wrong)
	text.WriteString("| figure | median | min .. max | first stage | goal | |\n|---|---|---|---|---|---|\n")
	for _, r := range t {
		value, span := "-", ""
		if r.measured {
			value, span = strings.TrimSpace(number(r.value.median)+" "+r.unit), number(r.value.low)+" .. "+number(r.value.high)
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %s | %s |\n", r.name, value, span, number(r.first), number(r.goal), r.verdict())
	}
	text.WriteString("\nWhat every peer did in the same run (medians):\n\n| work | peer | requests/s | CPU s / 100k | p50 ms | p99 ms |\n|---|---|---|---|---|---|\n")
	for _, name := range []string{"h1-1k", "h2-1k", "h1-64k", "h1-up", "h1-conn", "h1-one"} {
		for _, label := range ranked(b, name) {
			r, _ := b.plain(name, label, rate)
			c, _ := b.plain(name, label, cpuCost)
			mid, _ := b.plain(name, label, p50)
			high, _ := b.plain(name, label, p99)
			fmt.Fprintf(&text, "| %s | %s | %.0f | %s | %s | %s |\n", name, label, r.median, number(c.median), orDash(mid.median), orDash(high.median))
		}
	}
	return replacePart(document, "measured", text.String())
}

// orDash hides what a generator does not report.
func orDash(v float64) string {
	if v == 0 {
		return "-"
	}
	return number(v)
}

// ranked lists the arms of a scenario, fastest first.
func ranked(b *book, scenario string) []string {
	r := b.results[scenario]
	if r == nil {
		return nil
	}
	var names []string
	for name := range r.Samples {
		names = append(names, name)
	}
	speed := func(name string) float64 { v, _ := b.plain(scenario, name, rate); return v.median }
	slices.SortFunc(names, func(x, y string) int {
		if speed(x) > speed(y) {
			return -1
		}
		return 1
	})
	return names
}

// replacePart replaces what stands between the marks of a part.
func replacePart(path, part, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	from, to := "<!-- "+part+" -->\n", "<!-- /"+part+" -->"
	head, rest, ok1 := strings.Cut(string(old), from)
	_, foot, ok2 := strings.Cut(rest, to)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no part %q", path, part)
	}
	return os.WriteFile(path, []byte(head+from+"\n"+strings.TrimSpace(text)+"\n\n"+to+foot), 0o644) //nolint:gosec // a document
}

// chart draws rate and cost of the plainest work as bars.
func chart(b *book) string {
	names := ranked(b, "h1-1k")
	const left, width, line = 170.0, 330.0, 26
	var top, cost float64
	for _, n := range names {
		r, _ := b.plain("h1-1k", n, rate)
		c, _ := b.plain("h1-1k", n, cpuCost)
		top, cost = max(top, r.median), max(cost, c.median)
	}
	var s strings.Builder
	height := 60 + line*len(names)
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="960" height="%d" font-family="sans-serif" font-size="13">`+"\n", height)
	s.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	fmt.Fprintf(&s, `<text x="%v" y="22" font-weight="bold">requests per second (more is better)</text><text x="%v" y="22" font-weight="bold">CPU seconds per 100,000 requests (less is better)</text>`+"\n", left, left+width+80)
	for i, n := range names {
		r, _ := b.plain("h1-1k", n, rate)
		c, _ := b.plain("h1-1k", n, cpuCost)
		y := 36 + line*i
		colour := "#9aa7b4"
		if n == "gatehouse" {
			colour = "#1f6feb"
		}
		fmt.Fprintf(&s, `<text x="%v" y="%d" text-anchor="end">%s</text>`, left-10, y+14, n)
		bar := func(x, v, most float64, text string) {
			w := width * 0.8 * v / most
			fmt.Fprintf(&s, `<rect x="%v" y="%d" width="%.1f" height="18" fill="%s"/><text x="%.1f" y="%d" fill="#444">%s</text>`, x, y, w, colour, x+w+6, y+14, text)
		}
		bar(left, r.median, top, fmt.Sprintf("%.0f", r.median))
		bar(left+width+80, c.median, cost, number(c.median))
		s.WriteString("\n")
	}
	fmt.Fprintf(&s, `<text x="%v" y="%d" fill="#666">GET of 1 KiB, TLS 1.3, HTTP/1.1 keep-alive, 64 connections; medians of one run</text>`+"\n</svg>\n", left, height-8)
	return s.String()
}
