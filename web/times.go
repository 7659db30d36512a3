package web

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// sessionView is a session row with its times in words.
type sessionView struct {
	SessionRow
	Since, Used moment
}

// moment is a point in time for people and for machines.
type moment struct{ Text, Full, Machine string }

// ago puts a past time into words, seen from now. Times ahead of now, from a
// clock that was set back, count as now.
func ago(now, t time.Time) moment {
	if t.IsZero() {
		return moment{Text: "never"}
	}
	t = t.UTC()
	m := moment{Full: t.Format("2 January 2006, 15:04 UTC"), Machine: t.Format(time.RFC3339)}
	switch d := now.Sub(t); {
	case d < time.Minute:
		m.Text = "just now"
	case d < time.Hour:
		m.Text = count(int(d/time.Minute), "minute")
	case d < 24*time.Hour:
		m.Text = count(int(d/time.Hour), "hour")
	case d < 30*24*time.Hour:
		m.Text = count(int(d/(24*time.Hour)), "day")
	default:
		m.Text = t.Format("2 Jan 2006")
	}
	return m
}

func count(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return strconv.Itoa(n) + " " + unit + " ago"
}

func lengthHint(least int) string {
	if least <= 0 {
		return ""
	}
	return "At least " + strconv.Itoa(least) + " characters. A few unrelated words work well."
}

// initial is the letter in the circle of the account page.
func initial(name, email string) string {
	for _, s := range []string{strings.TrimSpace(name), email} {
		if r, _ := utf8.DecodeRuneInString(s); s != "" && r != utf8.RuneError {
			return strings.ToUpper(string(r))
		}
	}
	return "?"
}
