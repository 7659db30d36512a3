package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
)

// Options configures the pages.
type Options struct {
	Prefix string // reserved path prefix, as in /_auth
	Title  string // heading of the sign-in page
	Logo   []byte // SVG, PNG or WebP, at most 256 KiB; nil for none
	Issuer string
}

// UI renders pages, JSON and problems. It is safe for concurrent use.
type UI struct {
	opts   Options
	pages  map[string]*template.Template
	assets map[string]asset
	frame  frame
}

// New parses the embedded templates and fingerprints the assets. It fails when
// the logo is too large or of none of the types named in Options.
func New(opts Options) (*UI, error) {
	if opts.Title == "" {
		opts.Title = "Sign in"
	}
	u := &UI{opts: opts, assets: map[string]asset{}, frame: frame{Prefix: opts.Prefix}}
	if err := u.loadAssets(); err != nil {
		return nil, err
	}
	pages, err := parsePages()
	if err != nil {
		return nil, fmt.Errorf("parse the embedded pages: %w", err)
	}
	u.pages = pages
	return u, nil
}

// JSON answers with v; code becomes Gatehouse-Response. A Cache-Control that
// the caller has set stays (the public keys are cacheable); otherwise the
// answer is not stored anywhere.
func (u *UI) JSON(w http.ResponseWriter, status int, code string, v any) {
	keep := w.Header().Get("Cache-Control")
	body, err := json.Marshal(v)
	if err != nil {
		err = fmt.Errorf("encode answer %s: %w", code, err)
		u.problem(w, nil, complete(&Error{Status: http.StatusInternalServerError, Code: "internal_error", Cause: err}))
		return
	}
	own(w, code)
	if keep != "" {
		w.Header().Set("Cache-Control", keep)
	}
	send(w, nil, status, "application/json", append(body, '\n'))
}

// Redirect answers with 303, or with 302 (to a proxy that asked) or 308 when
// that is given; never with a 307, which would repeat a form post (threat T74).
// The caller has checked location.
func (u *UI) Redirect(w http.ResponseWriter, _ *http.Request, status int, code, location string) {
	if status != http.StatusPermanentRedirect && status != http.StatusFound {
		status = http.StatusSeeOther
	}
	own(w, code)
	w.Header().Set("Location", location)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// Empty answers 204, or another status, without a body.
func (u *UI) Empty(w http.ResponseWriter, status int, code string) {
	own(w, code)
	if status != http.StatusNoContent && status != http.StatusNotModified && status >= http.StatusOK {
		w.Header().Set("Content-Length", "0")
	}
	w.WriteHeader(status)
}

// render executes a page into memory first, so that a failure is still a whole
// answer.
func (u *UI) render(w http.ResponseWriter, r *http.Request, status int, code, page string, data any) {
	var body bytes.Buffer
	if err := u.pages[page].Execute(&body, data); err != nil {
		err = fmt.Errorf("render page %s: %w", page, err)
		u.problem(w, r, complete(&Error{Status: http.StatusInternalServerError, Code: "internal_error", Cause: err}))
		return
	}
	own(w, code)
	w.Header().Set("Content-Language", "en")
	send(w, r, status, "text/html; charset=utf-8", body.Bytes())
}

// send writes a whole body, or only its length for HEAD.
func send(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r != nil && r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) // the client went away; nobody is left to tell
}
