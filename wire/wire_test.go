package wire

import (
	"bufio"
	"net/textproto"
	"strings"
	"testing"
)

// In whatever pieces a head comes, its end is found once it is there, and where
// the standard parser finds it.
func TestHeadEnd(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", "GET / HTTP/1.1\nA: b\n\nrest", "GET / HTTP/1.1\r\nA: b\n\r\nrest\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n", "a\n\n\n", "a\r\r\n\r\n", "a\n\r\r\n\n",
	} {
		r := bufio.NewReader(strings.NewReader(text))
		p := textproto.NewReader(r)
		for line := "x"; line != ""; {
			var err error
			if line, err = p.ReadLine(); err != nil {
				t.Fatal(text, err)
			}
		}
		want := len(text) - r.Buffered()
		for seen := range want {
			if got := HeadEnd([]byte(text[:seen]), 0); got != 0 {
				t.Errorf("%q ends at %d, before its end", text[:seen], got)
			}
			if got := HeadEnd([]byte(text), seen); got != want {
				t.Errorf("%q, %d bytes of it seen before, ends at %d, want %d", text, seen, got, want)
			}
		}
	}
}

func TestHooks(t *testing.T) {
	var h Hooks
	ran := make(chan int, 8)
	var numbers []int
	for i := range 4 { // more than there is room for
		numbers = append(numbers, h.Add(func() { ran <- i }))
	}
	if !h.Remove(numbers[1]) || h.Remove(numbers[1]) || h.Remove(0) {
		t.Error("one is removed once")
	}
	h.Run()
	got := 0
	for range 3 {
		got |= 1 << <-ran
	}
	if got != 1|1<<2|1<<3 {
		t.Errorf("ran %b", got)
	}
	if h.Remove(numbers[0]) {
		t.Error("what ran is not forgotten")
	}
	h.Run()
	if len(ran) > 0 {
		t.Error("one ran twice")
	}
}
