package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// Accounts, sessions and keys live in PostgreSQL; a second gateway on the same
// database, named in a file this time, knows them all and learns what happens.
func TestTwoGatewaysOnOnePostgres(t *testing.T) {
	server := servertest.StartPostgres(t)
	up, at := gatetest.NewUpstream(t), server.Database("")
	first := gatetest.Start(t, fmt.Sprintf("store: {postgres: {url: %q, max_connections: 5}}\n", at)+appRoute(up.URL()))
	first.AddUser("ann@example.com", password, "admins")
	second := gatetest.New(t, "")
	if err := os.WriteFile(filepath.Join(second.Dir, "pg.url"), []byte(at+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	byFile := "store: {postgres: {url_file: pg.url}}\n"
	second.Configure(byFile + appRoute(up.URL()))
	second.Run()

	a, b := first.Client("app.test", true), second.Client("app.test", true)
	tok := a.Login("ann@example.com", password)
	if got := b.Status("/", tok.AccessToken); got != 200 {
		t.Fatalf("the second gateway does not know a token of the first: %d", got)
	}
	var next gatetest.Tokens
	if got := b.JSON("/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken}, &next); got.StatusCode != 200 {
		t.Fatalf("refresh at the other gateway: %d %s", got.StatusCode, got.Text)
	}
	if got := b.Must(http.MethodPost, "/_auth/logout", "", gatetest.Bearer(next.AccessToken), "Content-Type: application/json"); got.StatusCode != 204 {
		t.Fatalf("logout: %d", got.StatusCode)
	}
	if got := b.Status("/", tok.AccessToken); got != 401 {
		t.Errorf("accepted where it was signed out: %d", got)
	}
	within(t, "the other gateway refuses it", func() bool { return a.Refused("/", tok.AccessToken) })

	tok = a.Login("ann@example.com", password)
	second.Must("", "user", "disable", "ann@example.com")
	within(t, "both refuse a disabled user", func() bool {
		return a.Refused("/", tok.AccessToken) && b.Refused("/", tok.AccessToken)
	})
	first.Kill()
	first.Run()
	if got := first.Client("app.test", true).Status("/", tok.AccessToken); got != 401 {
		t.Errorf("accepted after kill -9: %d", got)
	}
	if _, errs, code := first.Command("", "backup", filepath.Join(first.Dir, "copy.db")); code != 2 {
		t.Errorf("backup of PostgreSQL: exit %d, %s", code, errs)
	}
}
