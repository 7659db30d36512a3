package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var auditTime = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("x", 3600))

func openAudit(t *testing.T, path string) *Audit {
	t.Helper()
	a, err := OpenAudit(path, slog.New(slog.DiscardHandler), func() time.Time { return auditTime })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func auditEvents(t *testing.T, path string) []map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for line := range bytes.Lines(b) {
		var m map[string]string
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

func verified(t *testing.T, path string, lines int) AuditSummary {
	t.Helper()
	sum, err := VerifyAudit(path)
	if err != nil || sum.Lines != lines {
		t.Fatalf("verify: %+v %v, want %d lines", sum, err, lines)
	}
	return sum
}

func TestT137_AuditLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log := openAudit(t, path).Logger().With(slog.String("actor", "admin")).WithGroup("more").With(slog.Int("n", 7))
	log.LogAttrs(context.Background(), slog.LevelDebug, "login.failure", slog.String("reason", "bad"), slog.Group("in", slog.Bool("x", true)))
	openAudit(t, path).Logger().LogAttrs(context.Background(), slog.LevelInfo, "logout",
		slog.String("request_id", "r1"), slog.String("ip", "203.0.113.5"), slog.String("subject", "u1"), slog.String("session", "s1"), slog.String("route", "wiki"),
		slog.String("outcome", "success"), slog.String("ua", "a\n\"b\"\u202e\U0001F600\x00"), slog.String("prev", "forged"), slog.String("hash", "forged"), slog.String("extra", strings.Repeat("x", 5000)))
	got := auditEvents(t, path)
	want := map[string]string{"time": "2026-01-02T02:04:05.000006Z", "event": "login.failure", "actor": "admin", "more.n": "7", "more.reason": "bad", "more.in.x": "true", "prev": genesis, "hash": got[0]["hash"]}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	if got[1]["ua"] != "a\n\"b\"\u202e\U0001F600\x00" || got[1]["prev_"] != "forged" || got[1]["hash_"] != "forged" || got[1]["prev"] != got[0]["hash"] || len(got[1]["extra"]) != maxAuditValue+3 {
		t.Errorf("%v", got[1])
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsFunc(text, func(r rune) bool { return r > 0x7e || (r < 0x20 && r != '\n') }) || bytes.Count(text, []byte("\n")) != 2 {
		t.Errorf("T135: a line holds more than visible ASCII: %q", text)
	}
	if i, j := bytes.Index(text, []byte(`"session"`)), bytes.Index(text, []byte(`"ip"`)); i < 0 || j < i {
		t.Error("the fields are not in their order")
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", fi.Mode(), err)
	}
	verified(t, path, 2)
}

func TestAuditChainGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for i := range 3 {
		a := openAudit(t, path)
		a.Logger().Info("start", slog.Int("n", i))
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sum := verified(t, path, 3)
	if sum.First != genesis {
		t.Errorf("first prev %s", sum.First)
	}

	// A crash leaves half a line.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"time":"2026`)
	_ = f.Close()
	a := openAudit(t, path)
	a.Logger().Info("after the crash")
	sum = verified(t, path, 4)

	// Rotation: the chain goes on in the new file.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	a.Logger().Info("rotated")
	if next := verified(t, path, 1); next.First != sum.Last {
		t.Errorf("the new file builds on %s, not on %s", next.First, sum.Last)
	}
	verified(t, path+".1", 4)
}

func TestAuditNoticesWhatWasDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log := openAudit(t, path).Logger()
	for i := range 5 {
		log.Info("event", slog.Int("n", i))
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(good), "\n")
	for name, c := range map[string]struct {
		text, want string
	}{
		"changed":    {strings.Replace(string(good), `"n":"2"`, `"n":"9"`, 1), ":3: the line was changed"},
		"removed":    {lines[0] + lines[1] + lines[3], ":3: a line before"},
		"swapped":    {lines[0] + lines[2] + lines[1], ":2: a line before"},
		"inserted":   {lines[0] + lines[0], ":2: a line before"},
		"not a line": {lines[0] + "hello\n", ":2: not an audit line"},
		"torn":       {lines[0] + lines[1][:50], ":2: not an audit line"},
	} {
		p := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(p, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyAudit(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := VerifyAudit(path + ".none"); err == nil {
		t.Error("a missing file is fine")
	}
	if _, ok := prevOf("short"); ok {
		t.Error("prevOf")
	}
}

func TestAuditSharedByManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var wg sync.WaitGroup
	for i := range 4 {
		log := openAudit(t, path).Logger() // each as another process would
		wg.Go(func() {
			for j := range 25 {
				log.Info("event", slog.String("who", fmt.Sprint(i, j)))
			}
		})
	}
	wg.Wait()
	verified(t, path, 100)
}

func TestAuditFromAnotherProcess(t *testing.T) {
	if p := os.Getenv("GATEHOUSE_TEST_AUDIT"); p != "" {
		log := openAudit(t, p).Logger()
		for range 20 {
			log.Info("child")
		}
		return
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	cmd := exec.Command(os.Args[0], "-test.run=^TestAuditFromAnotherProcess$")
	cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_AUDIT="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := openAudit(t, path).Logger()
	for range 20 {
		log.Info("parent")
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	verified(t, path, 40)
}

func TestAuditFailuresAreLogged(t *testing.T) {
	out := &lines{}
	log := slog.New(slog.NewJSONHandler(out, nil))
	path := filepath.Join(t.TempDir(), "audit.log")
	a, err := OpenAudit(path, log, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	a.Logger().Info("lost")
	if got := out.records(t, "audit event could not be written"); len(got) != 1 || got[0]["event"] != "lost" {
		t.Errorf("%v", got)
	}
	for name, spoil := range map[string]func(p string) error{
		"a directory":      func(p string) error { return os.Mkdir(p, 0o700) },
		"open to others":   func(p string) error { return os.WriteFile(p, nil, 0o604) },
		"no such folder":   func(p string) error { return nil },
		"foreign content ": func(p string) error { return os.WriteFile(p, []byte("hello\n"), 0o600) },
	} {
		p := filepath.Join(t.TempDir(), "audit.log")
		if name == "no such folder" {
			p = filepath.Join(p, "x")
		}
		if err := spoil(p); err != nil {
			t.Fatal(err)
		}
		if name == "open to others" {
			_ = os.Chmod(p, 0o604) // whatever the umask
		}
		a, err := OpenAudit(p, log, time.Now)
		if err == nil {
			err = (&auditHandler{a: a}).Handle(context.Background(), slog.NewRecord(time.Now(), slog.LevelInfo, "e", 0))
			_ = a.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b, _ := os.ReadFile(path)
	if len(b) != 0 {
		t.Errorf("%q", b)
	}
}

func TestAuditWithoutAFile(t *testing.T) {
	out := &lines{}
	a, err := OpenAudit("", slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelError})), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	a.Logger().With("actor", "x").WithGroup("g").Info("logout", "subject", "u1")
	got := out.records(t, "logout")
	if len(got) != 1 || got[0]["actor"] != "x" {
		t.Errorf("%v", got)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
