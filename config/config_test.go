package config

import (
	"errors"
	"testing"
)

// problems takes an error of Load apart; it must be a Problems.
func problems(t *testing.T, err error) Problems {
	t.Helper()
	var p Problems
	if !errors.As(err, &p) || len(p) == 0 {
		t.Fatalf("error is %v, want problems", err)
	}
	return p
}
