package gatetest

import "os"

// Full reports whether tests run at the size the project's bars ask for
// (GATEHOUSE_FULL=1, `make full`) instead of the size of an everyday run.
func Full() bool { return os.Getenv("GATEHOUSE_FULL") == "1" }

// Scale is everyday, or full when Full holds: a count of rounds, requests or
// bytes. What is asserted is the same at both sizes.
func Scale(everyday, full int) int {
	if Full() {
		return full
	}
	return everyday
}
