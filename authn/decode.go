package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"gatehouse/web"
)

// maxBody bounds what any endpoint reads (threat T127).
const maxBody = 16 << 10

// input is a decoded body: exactly one of form and JSON.
type input struct {
	form url.Values // nil for JSON
	json []byte
}

func (in input) isForm() bool { return in.form != nil }

// readInput reads a body of one of the two types we take, whole and bounded.
// An empty body without a type counts as JSON without fields.
func readInput(w http.ResponseWriter, r *http.Request) (input, error) {
	if strings.Join(r.Header.Values("Content-Encoding"), "") != "" {
		return input{}, &web.Error{Status: 415, Code: "unsupported_encoding", Detail: "Send the body uncompressed."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return input{}, &web.Error{Status: 413, Code: "body_too_large", Detail: "The body is larger than 16 KiB."}
	case err != nil && web.RecordOf(w).SlowBody.Load():
		return input{}, web.BodyTooSlow(err)
	case err != nil:
		return input{}, &web.Error{Status: 400, Code: "bad_body", Detail: "The body could not be read.", Cause: err}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/json", r.Header.Get("Content-Type") == "" && len(body) == 0:
		return input{json: body}, nil
	case err == nil && kind == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return input{}, &web.Error{Status: 400, Code: "bad_body", Detail: "The form could not be read.", Cause: err}
		}
		for _, values := range form {
			if len(values) > 1 {
				return input{}, &web.Error{Status: 400, Code: "bad_body", Detail: "The form has a field twice."}
			}
		}
		return input{form: form}, nil
	}
	return input{}, &web.Error{Status: 415, Code: "unsupported_media_type", Detail: "Send application/json, or a form."}
}

// fields decodes a JSON body into v: one object, no unknown, repeated or
// re-spelled field, nothing after it, and UTF-8 alone, since encoding/json would
// make one password of all whose bytes it cannot read.
func (in input) fields(v any) error {
	text := in.json
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}")
	}
	err := repeated(text)
	if err == nil && !utf8.Valid(text) {
		err = errors.New("not UTF-8")
	}
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err = dec.Decode(v); err == nil {
			if _, end := dec.Token(); !errors.Is(end, io.EOF) {
				err = errors.New("data after the object")
			}
		}
	}
	if err != nil {
		return &web.Error{Status: 400, Code: "bad_json", Detail: "The body is not one JSON object with the fields of this endpoint.", Cause: err}
	}
	return nil
}

// repeated refuses an object that names a field twice, in any letter case,
// since encoding/json would take the last.
func repeated(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if name != asciiLower(name) || seen[name] {
			return errors.New("a field repeats or varies in case")
		}
		seen[name] = true
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return err
		}
	}
	return nil
}

// asciiLower also changes letters beyond ASCII, none of which a field has.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' || c >= 0x80 {
			b[i] = c | 0x20
			if c >= 0x80 {
				b[i] = '?'
			}
		}
	}
	return string(b)
}
