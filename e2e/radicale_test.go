//go:build apps

package e2e

import (
	"strings"
	"testing"

	"gatehouse/internal/gatetest"
)

// Radicale learns who is calling from X-Remote-User alone, answers HTTP/1.0
// and closes each connection.
func TestRadicale(t *testing.T) {
	dir, addr := t.TempDir(), gatetest.FreeAddr(t)
	conf := write(t, dir, "config", "[server]\nhosts = "+addr+"\n[auth]\ntype = http_x_remote_user\n[storage]\nfilesystem_folder = "+dir+"/coll\n[web]\ntype = internal\n")
	startApp(t, addr, "radicale", "--config", conf)
	_, c, tok := oneRoute(t, "cal.test", "http://"+addr, "    identity_headers: x-remote-user\n")
	auth := gatetest.Bearer(tok.AccessToken)

	if got := c.Must("PROPFIND", "/", "").StatusCode; got != 401 {
		t.Fatalf("PROPFIND without a token: %d", got)
	}
	a := c.Must("PROPFIND", "/", `<?xml version="1.0"?><propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>`, auth, "Depth: 0", "X-Remote-User: root", "X_Remote_User: root")
	if a.StatusCode != 207 || !strings.Contains(a.Text, "/ann%40example.com/") || strings.Contains(a.Text, "root") {
		t.Fatalf("PROPFIND: %d\n%s", a.StatusCode, a.Text)
	}
	home := "/ann%40example.com/"
	if a := c.Must("MKCALENDAR", home+"work/", "", auth); a.StatusCode != 201 {
		t.Fatalf("MKCALENDAR: %d %s", a.StatusCode, a.Text)
	}
	event := "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260102T100000Z\r\nSUMMARY:Tea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	if a := c.Must("PUT", home+"work/1.ics", event, auth, "Content-Type: text/calendar"); a.StatusCode != 201 {
		t.Fatalf("PUT: %d %s", a.StatusCode, a.Text)
	}
	if a := c.Must("GET", home+"work/1.ics", "", auth); a.StatusCode != 200 || !strings.Contains(a.Text, "SUMMARY:Tea") {
		t.Fatalf("GET: %d %s", a.StatusCode, a.Text)
	}
	report := `<?xml version="1.0"?><C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><getetag/></prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>`
	if a := c.Must("REPORT", home+"work/", report, auth, "Depth: 1"); a.StatusCode != 207 || !strings.Contains(a.Text, "1.ics") {
		t.Fatalf("REPORT: %d %s", a.StatusCode, a.Text)
	}
	// The web interface signs in by Basic of its own; a good cookie still decides.
	c.Form("/_auth/login", "email", "ann@example.com", "password", password)
	if a := c.Must("PROPFIND", home, "", "Authorization: Basic YW5uOng=", "Depth: 0"); a.StatusCode != 207 {
		t.Errorf("PROPFIND by cookie with the app's own Basic: %d %s", a.StatusCode, a.Text)
	}
}
