package sqlstore

import (
	"errors"
	"fmt"
	"math"
	"testing"
)

// What is not a list is an error: an entry that is overlooked would be a token
// that is good again.
func TestBrokenRevocationLines(t *testing.T) {
	if got, err := revocationLines("[1,2,0,0,9,1]a\n[2,1,0,0,9,3]b c"); err != nil || len(got) != 2 || got[1].Key != "b c" {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, text := range []string{
		"1", "[", "[1", "[]", "[1,2,0,0,9", "[1,2,0,0,9]", "[1,2,0,0,9,x]a", "[1,2,0,0,9,2]a", "[1,2,0,0,9,-1]a", "[1,2,0,0,9,1]ab", "[1,256,0,0,9,1]a",
		"[1,-1,0,0,9,1]a", "[1,2,0,0,9,1]a\nx", "\n", "[99999999999999999999,2,0,0,9,1]a", "[1,2,0,0,9,1]a[2,1,0,0,9,1]b", "[1,2,0,0,9,1,1]a",
		"[1,2,,0,9,1]a", "[1,2,0.5,0,9,1]a", "[1,2,null,0,9,1]a", "[1,2,0,0,9,1a", "1,2,0,0,9,1]a",
	} {
		if got, err := revocationLines(text); !errors.Is(err, errBadLine) {
			t.Errorf("%q gave %+v, %v", text, got, err)
		}
	}
}

func TestNumbersOfAnyLength(t *testing.T) {
	for _, n := range []int64{0, 7, 999999999999999999, 1000000000000000000, 1234567890123456789, math.MaxInt64, -1, math.MinInt64} {
		if got, rest, ok := number(fmt.Sprintf("%d,8]", n), ','); !ok || got != n || rest != "8]" {
			t.Errorf("%d is read as %d, then %q, %v", n, got, rest, ok)
		}
	}
	for _, text := range []string{"", ",", "7", "7 ,", "9223372036854775808,", "0x7,", "-,"} {
		if got, _, ok := number(text, ','); ok {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}
