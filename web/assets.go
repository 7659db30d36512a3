package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed assets templates
var files embed.FS

// maxLogo is the largest logo accepted, in bytes.
const maxLogo = 256 << 10

// asset is one file under prefix/assets/. Its name holds its hash, so it may
// be kept for ever.
type asset struct {
	body        []byte
	contentType string
	etag        string
}

// loadAssets names every asset after its content and tells the pages.
func (u *UI) loadAssets() error {
	style, err := files.ReadFile("assets/style.css")
	if err != nil {
		return fmt.Errorf("read the embedded style sheet: %w", err)
	}
	icon, err := files.ReadFile("assets/icon.svg")
	if err != nil {
		return fmt.Errorf("read the embedded icon: %w", err)
	}
	u.frame.Style = u.add("style", ".css", "text/css; charset=utf-8", style)
	u.frame.Icon = u.add("icon", ".svg", "image/svg+xml", icon)
	if len(u.opts.Logo) == 0 {
		return nil
	}
	if len(u.opts.Logo) > maxLogo {
		return fmt.Errorf("the logo has %d bytes; at most %d are allowed", len(u.opts.Logo), maxLogo)
	}
	ext, contentType := imageType(u.opts.Logo)
	if ext == "" {
		return fmt.Errorf("the logo is neither SVG, PNG nor WebP")
	}
	u.frame.Logo = u.add("logo", ext, contentType, u.opts.Logo)
	return nil
}

func (u *UI) add(name, ext, contentType string, body []byte) string {
	sum := sha256.Sum256(body)
	file := name + "-" + hex.EncodeToString(sum[:6]) + ext
	u.assets[file] = asset{body: body, contentType: contentType, etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
	return u.opts.Prefix + "/assets/" + file
}

// imageType looks at the content, never at a file's name.
func imageType(b []byte) (ext, contentType string) {
	switch {
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		return ".png", "image/png"
	case len(b) > 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP":
		return ".webp", "image/webp"
	}
	start := bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	if bytes.HasPrefix(start, []byte("<")) && bytes.Contains(b, []byte("<svg")) {
		return ".svg", "image/svg+xml"
	}
	return "", ""
}

// Asset serves the embedded stylesheet, icon and logo; name is what follows
// prefix/assets/.
func (u *UI) Asset(w http.ResponseWriter, r *http.Request, name string) {
	a, ok := u.assets[name]
	if !ok {
		u.Fail(w, r, &Error{Status: http.StatusNotFound, Code: "not_found", Detail: "There is no such file here."})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		u.Fail(w, r, &Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "Files can only be read."})
		return
	}
	own(w, "asset")
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", a.etag)
	if strings.Contains(r.Header.Get("If-None-Match"), a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, r, http.StatusOK, a.contentType, a.body)
}

// parsePages reads every page together with the layout it fills.
func parsePages() (map[string]*template.Template, error) {
	layout, err := template.New("layout.html").ParseFS(files, "templates/layout.html")
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{}
	for _, name := range []string{"login", "register", "logout", "account", "notice", "error"} {
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(files, "templates/"+name+".html")
		}
		if err != nil {
			return nil, err
		}
		pages[name] = page
	}
	return pages, nil
}
