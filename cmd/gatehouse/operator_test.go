package main

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/server"
)

// A command's events go where a script keeps them, not before a person's eyes;
// what went wrong goes to both.
func TestACommandsEventsAreForScripts(t *testing.T) {
	for _, person := range []bool{false, true} {
		var out strings.Builder
		log := commandLog(&out, person)
		audit, err := server.OpenAudit("", log, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		audit.Logger().Info("user.add", slog.String("actor", "admin"))
		audit.Logger().With("a", "b").WithGroup("g").Info("user.add")
		log.Warn("the store is slow")
		if got, want := strings.Count(out.String(), "user.add"), 2; !person && got != want || person && got != 0 {
			t.Errorf("person %v: %d events:\n%s", person, got, out.String())
		}
		if !strings.Contains(out.String(), "the store is slow") {
			t.Errorf("person %v: no warning", person)
		}
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	audit, err := server.OpenAudit(path, commandLog(io.Discard, true), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	audit.Logger().Info("user.add", slog.String("outcome", "success"))
	if err := audit.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.VerifyAudit(path); err != nil {
		t.Error(err)
	}
}
