package server

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/web"
)

// An access line is the bytes slog would write, whatever it holds.
func TestAccessLinesAreThoseOfSlog(t *testing.T) {
	var all []accessLine
	add := func(change func(l *accessLine)) {
		w := &writer{bytes: 5, rec: web.Record{ID: "0123456789abcdef", Client: netip.MustParseAddr("2001:db8::1"), Start: time.Now(), Route: "wiki"}}
		l := accessLine{w, httptest.NewRequest(http.MethodGet, "https://a.test/path?query", nil), 200, 1500 * time.Microsecond, false}
		change(&l)
		all = append(all, l)
	}
	for _, s := range []string{"", "plain", `a "quoted" word`, `\`, `"`, `\"`, "two\nlines", "tab\t", "\x00", "\x7f", "naïve", "\u2028", "bad \xff byte", strings.Repeat("x", 5000), "</script>&"} {
		add(func(l *accessLine) { l.w.rec.Subject = s })
		add(func(l *accessLine) { l.w.rec.Upstream, l.w.rec.Code, l.w.rec.Session, l.w.rec.Verdict = s, s, s, s })
		add(func(l *accessLine) { l.w.rec.Err = errors.New(s) })
		add(func(l *accessLine) { l.r.Host, l.r.Method, l.r.Header = s, s, http.Header{"User-Agent": {s}} })
		add(func(l *accessLine) { l.w.rec.ID, l.r.Proto = s, s })
	}
	for _, d := range []time.Duration{0, 1, time.Microsecond, 999 * time.Microsecond, time.Millisecond, 1234567 * time.Microsecond, time.Hour, 1000 * time.Hour, -time.Second, math.MaxInt64} {
		add(func(l *accessLine) { l.took = d })
		add(func(l *accessLine) { l.w.rec.Upstream, l.w.rec.UpstreamTime = "u", d })
	}
	for _, start := range []time.Time{{}, time.Unix(1e9, 123456789).UTC(), time.Unix(1e9, 0).In(time.FixedZone("x", 3600))} {
		add(func(l *accessLine) { l.w.rec.Start = start })
	}
	add(func(l *accessLine) { l.aborted, l.status, l.w.bytes = true, 499, math.MaxInt64 })
	add(func(l *accessLine) { l.w.rec.Client, l.r.URL = netip.Addr{}, nil })
	for _, l := range all {
		var ours, theirs bytes.Buffer
		(&Server{log: slog.New(newAccessJSON(&ours, nil))}).logAccess(l)
		(&Server{log: slog.New(slog.NewJSONHandler(&theirs, nil))}).logAccess(l)
		if ours.String() != theirs.String() || strings.Count(ours.String(), "\n") != 1 {
			t.Errorf("%q\nwant %q", ours.String(), theirs.String())
		}
	}
}

// Nearly every line is written the fast way.
func TestUsualAccessLinesNeedNoSlog(t *testing.T) {
	w := &writer{rec: web.Record{ID: "0123", Client: netip.MustParseAddr("192.0.2.1"), Start: time.Now(), Route: "wiki", Subject: "u1", Upstream: "http://127.0.0.1:1", Err: errors.New("line\n")}}
	r := httptest.NewRequest(http.MethodGet, "https://a.test/\"/ä", nil)
	if !newAccessJSON(new(bytes.Buffer), nil).write(accessLine{w, r, 502, time.Second, true}) {
		t.Error("it is written by slog")
	}
}
