package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPageIsUpToDate(t *testing.T) {
	root := "../.."
	old, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := rewrite(root, string(old))
	if err != nil {
		t.Fatal(err)
	}
	if fresh != string(old) {
		t.Errorf("%s is out of date: run make docs", page)
	}
}

func TestEveryThreatHasALine(t *testing.T) {
	all, err := parse(threats)
	if err != nil || len(all) != 154 {
		t.Fatalf("%d threats, %v", len(all), err)
	}
	for _, bad := range []string{"1 | a |\n3 | b |", "x | a |", "1 | a", "1 | a |\nna 2 | why"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestNamesOfTestsFindTheirRows(t *testing.T) {
	dir := t.TempDir()
	src := "//go:build apps\n\npackage x\n\nfunc TestT001_T002_Both(t *T) {}\nfunc FuzzT003_Fuzz(f *F) {}\nfunc TestOf_T004(t *T) {}\nfunc helperT005_() {}\n"
	if err := os.WriteFile(filepath.Join(dir, "x_test.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := find(dir)
	if err != nil || len(found) != 3 || found[1][0].name != "TestT001_T002_Both" || found[2][0] != found[1][0] || found[3][0].name != "FuzzT003_Fuzz" {
		t.Fatalf("%v %v", found, err)
	}
	text := render([]threat{{number: 1, does: "a", heading: "H"}, {number: 2, does: "b", not: "because"}, {number: 4, does: "c"}}, found)
	for _, want := range []string{"3 threats: 1 tested, 1 not applicable, 1 without", "| T1 | a | `TestT001_T002_Both` (.) | tested |", "not applicable: because", "| T4 | c |  | no test yet |"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := rewrite(dir, "a page"); err == nil {
		t.Error("a page without a place was taken")
	}
}
