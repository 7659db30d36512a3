package main

import "testing"

func TestEveryTestOfAThreatWasSeenToFail(t *testing.T) {
	if err := check("../.."); err != nil {
		t.Error(err)
	}
}
