package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// result is what one scenario measured.
type result struct {
	Scenario string
	When     time.Time
	Commit   string
	Samples  map[string][]sample
	Figures  map[string]float64
}

func newResult(name string) *result {
	return &result{Scenario: name, When: time.Now(), Samples: map[string][]sample{}, Figures: map[string]float64{}}
}

func (r *result) add(label string, s sample) { r.Samples[label] = append(r.Samples[label], s) }

func (r *result) set(name string, v float64) { r.Figures[name] = v }

// book keeps results between runs: one file for each scenario, good for one
// commit, so that a run that was broken off goes on where it stopped.
type book struct {
	dir, commit string
	results     map[string]*result
}

func newBook(o options) (*book, error) {
	b := &book{dir: o.state, commit: commit(), results: map[string]*result{}}
	if err := os.MkdirAll(b.dir, 0o755); err != nil { //nolint:gosec // nothing secret
		return nil, err
	}
	for _, s := range scenarios() {
		text, err := os.ReadFile(b.file(s.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var r result
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("read %s: %w", b.file(s.name), err)
		}
		if r.Commit == b.commit {
			b.results[s.name] = &r
		}
	}
	return b, nil
}

func (b *book) file(name string) string { return filepath.Join(b.dir, name+".json") }

func (b *book) has(name string) bool { return b.results[name] != nil }

func (b *book) keep(r *result) error {
	r.Commit = b.commit
	b.results[r.Scenario] = r
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.file(r.Scenario), text, 0o644) //nolint:gosec // nothing secret
}

// samples are those of one arm; nil when it was not measured.
func (b *book) samples(scenario, label string) []sample {
	if r := b.results[scenario]; r != nil {
		return r.Samples[label]
	}
	return nil
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// spread is a median with its extremes.
type spread struct{ median, low, high float64 }

func spreadOf(v []float64) (spread, bool) {
	if len(v) == 0 {
		return spread{}, false
	}
	v = slices.Sorted(slices.Values(v))
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{m, v[0], v[len(v)-1]}, !math.IsNaN(m) && !math.IsInf(m, 0)
}

// figure picks one number of a sample.
type figure func(sample) float64

func rate(s sample) float64    { return s.Rate }
func cpuCost(s sample) float64 { return s.CPU }
func p50(s sample) float64     { return s.P50 }
func p99(s sample) float64     { return s.P99 }

// ratio is a/b round by round.
func (b *book) ratio(scenario, one, other string, f figure) (spread, bool) {
	x, y := b.samples(scenario, one), b.samples(scenario, other)
	var v []float64
	for i := range min(len(x), len(y)) {
		v = append(v, f(x[i])/f(y[i]))
	}
	return spreadOf(v)
}

// plain is one arm's own figure.
func (b *book) plain(scenario, label string, f figure) (spread, bool) {
	var v []float64
	for _, s := range b.samples(scenario, label) {
		v = append(v, f(s))
	}
	return spreadOf(v)
}

// wrong counts errors and wrong answers of gatehouse over everything.
func (b *book) wrong() (checked, errors, wrong int64) {
	for _, r := range b.results {
		for label, samples := range r.Samples {
			if _, other := makers()[label]; other && label != "gatehouse" {
				continue
			}
			for _, s := range samples {
				checked, errors, wrong = checked+s.Requests, errors+s.Errors, wrong+s.Wrong
			}
		}
	}
	return checked, errors, wrong
}
