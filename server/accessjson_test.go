package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"
)

func TestAccessLinesAreThoseOfSlog(t *testing.T) {
	texts := []string{"", "plain", `a "quoted" word`, `\`, `"`, `\"`, "two\nlines", "tab\t", "\x00", "\x7f", "naïve", "\u2028", "bad \xff byte", strings.Repeat("x", 5000), "</script>&"}
	var attrs [][]slog.Attr
	for _, s := range texts {
		attrs = append(attrs, []slog.Attr{slog.String("text", s), slog.String(s, "key"), slog.Int("n", len(s))})
	}
	for _, f := range []float64{0, 0.001, 1, 1.5, 12345.678, 1e20, 1e21, 1e-7, -1, math.MaxFloat64} {
		attrs = append(attrs, []slog.Attr{slog.Float64("f", f), slog.Bool("b", f > 1)})
	}
	attrs = append(attrs, nil, []slog.Attr{slog.Int64("min", math.MinInt64), slog.Any("err", errors.New("e")), slog.Duration("d", 5), slog.Time("t", time.Unix(1, 2))},
		[]slog.Attr{slog.Group("named", slog.Int("a", 1))}, []slog.Attr{{Value: slog.GroupValue()}})
	for _, start := range []time.Time{{}, time.Unix(1e9, 123456789).UTC(), time.Unix(1e9, 0).In(time.FixedZone("x", 3600)), time.Now()} {
		for _, list := range attrs {
			for _, message := range []string{"request", "re\"quest", "é"} {
				r := slog.NewRecord(start, slog.LevelInfo, message, 0)
				r.AddAttrs(slog.Attr{Value: slog.GroupValue(list...)})
				var ours, theirs bytes.Buffer
				if err := errors.Join(newAccessJSON(&ours, nil).Handle(context.Background(), r), slog.NewJSONHandler(&theirs, nil).Handle(context.Background(), r)); err != nil {
					t.Fatal(err)
				}
				if ours.String() != theirs.String() {
					t.Errorf("%q\nwant %q", ours.String(), theirs.String())
				}
			}
		}
	}
}

func TestAccessLinesWithMoreAreThoseOfSlog(t *testing.T) {
	var ours, theirs bytes.Buffer
	for _, l := range []*slog.Logger{slog.New(newAccessJSON(&ours, nil)), slog.New(slog.NewJSONHandler(&theirs, nil))} {
		r := slog.NewRecord(time.Unix(1, 0), slog.LevelWarn, "m", 0)
		if err := l.With("a", 1).WithGroup("g").Handler().Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	if ours.String() != theirs.String() {
		t.Errorf("%q\nwant %q", ours.String(), theirs.String())
	}
}
