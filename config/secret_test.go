package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretCannotBePrinted(t *testing.T) {
	s := struct{ Password Secret }{NewSecret("hunter2")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s.Password, "holder", s)
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s.Password, s.Password, s.Password) + log.String() + string(encoded)
	if strings.Contains(text, "hunter2") || strings.Contains(text, hex.EncodeToString([]byte("hunter2"))) {
		t.Error(text)
	}
	if s.Password.Reveal() != "hunter2" || s.Password.IsZero() || !NewSecret("").IsZero() {
		t.Error("the value is lost")
	}
}

const hs256 = "tls: {self_signed: true}\ntokens: {issuer: https://g.example.com, algorithm: HS256, "

func TestT138_BadSecretsAreRefused(t *testing.T) {
	for secret, want := range map[string]string{
		`""`:                                      "is empty",
		"short":                                   "has 5 bytes",
		strings.Repeat("a", 31):                   "has 31 bytes",
		strings.Repeat("z", 32):                   "is not random enough",
		strings.Repeat("0", 64):                   "is not random enough",
		strings.Repeat("abcdefghij", 4):           "is not random enough",
		"0123456789abcdefABCDEFGHIJKLMN-+":        "known to everybody",
		"a-string-secret-at-least-256-bits-long":  "known to everybody",
		"ChangeMe-ChangeMe-1234567890-xyzw":       "known to everybody",
		"your-256-bit-secret your-256-bit-secret": "known to everybody",
		base64.StdEncoding.EncodeToString([]byte("your-256-bit-secret-1234567890-x")): "known to everybody",
		hex.EncodeToString(bytes.Repeat([]byte{1, 2}, 16)):                            "is not random enough",
	} {
		got := refused(t, hs256+"secret: "+secret+"}\n")
		if !strings.Contains(got, want) || len(secret) > 5 && strings.Contains(got, secret) {
			t.Errorf("%s: %s", secret, got)
		}
	}
}

func TestT138_SecretFiles(t *testing.T) {
	dir := t.TempDir()
	good := "q83nV0fJ2mXw8RkT5yLb1PzC7dHs4GuA9eNo6Ki"
	write(t, filepath.Join(dir, "good"), good+"\n", 0o600)
	write(t, filepath.Join(dir, "group"), good, 0o640)
	write(t, filepath.Join(dir, "world"), good, 0o644)
	write(t, filepath.Join(dir, "written"), good, 0o602)
	write(t, filepath.Join(dir, "empty"), "\n", 0o600)
	write(t, filepath.Join(dir, "short"), "short", 0o600)
	write(t, filepath.Join(dir, "large"), strings.Repeat("x", maxSecretFile+1), 0o600)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"good": "", "group": "", filepath.Join(dir, "good"): "",
		"world": "can be read or written by other users", "written": "can be read or written by other users", "empty": "is empty",
		"short": "has 5 bytes", "large": "is larger than 64 KiB", "folder": "is not a regular file", "none": "does not exist",
		`""`: "is empty", "~": "has no value", "[good]": "want the name of a file", "${NONE}": "NONE is not set",
	} {
		c, err := Parse(filepath.Join(dir, "gatehouse.yaml"), []byte(hs256+"secret_file: '"+strings.Trim(name, `"`)+"'}\n"), testEnv)
		if name == "~" || name == "[good]" {
			c, err = Parse(filepath.Join(dir, "gatehouse.yaml"), []byte(hs256+"secret_file: "+name+"}\n"), testEnv)
		}
		switch {
		case want == "" && (err != nil || c.Tokens.Secret.Reveal() != good):
			t.Errorf("%s: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "tokens.secret_file: ")):
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestT138_KeyFilesMustBeClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "gate.crt"), "x", 0o644)
	write(t, filepath.Join(dir, "gate.key"), "x", 0o644)
	write(t, filepath.Join(dir, "logo.svg"), strings.Repeat("x", maxLogoFile+1), 0o644)
	write(t, filepath.Join(dir, "logo.exe"), "x", 0o644)
	text := "tls: {certificates: [{cert_file: gate.crt, key_file: gate.key}]}\ntokens: {issuer: https://g.example.com}\nui: {logo_file: logo.svg}\n"
	_, err := Parse(filepath.Join(dir, "f"), []byte(text), testEnv)
	got := problems(t, err).Error()
	for _, want := range []string{"key_file: \"gate.key\" can be read or written by other users of this machine - run: chmod o-rwx gate.key", "ui.logo_file: \"logo.svg\" is larger than 256 KiB"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
	_, err = Parse(filepath.Join(dir, "f"), []byte(base+"ui: {logo_file: logo.exe}\n"), testEnv)
	if got := problems(t, err).Error(); !strings.Contains(got, "is not SVG, PNG or WebP") {
		t.Error(got)
	}
}

func TestT138_GoodSecretsAreTaken(t *testing.T) {
	raw := []byte("q83nV0fJ2mXw8RkT5yLb1PzC7dHs4GuA")
	for name, text := range map[string]string{
		"raw": string(raw) + "!", "hex": hex.EncodeToString(raw), "base64": base64.StdEncoding.EncodeToString(raw),
		"unpadded": base64.RawStdEncoding.EncodeToString(raw), "url": base64.URLEncoding.EncodeToString(raw),
	} {
		c := parse(t, hs256+"secret: '"+text+"'}\n")
		if c.Tokens.Secret.Reveal() != text {
			t.Errorf("%s: the secret changed", name)
		}
		want := raw
		if name == "raw" {
			want = []byte(text)
		}
		if got := randomBytes(text); !bytes.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := refused(t, hs256+"secret: '"+hex.EncodeToString(raw[:16])+"'}\n"); !strings.Contains(got, "has 16 bytes") {
		t.Error(got)
	}
}

// A secret stays out of messages wherever it stands in the file and whatever
// is wrong with it or around it.
func TestSourceLinesHideSecrets(t *testing.T) {
	route := "routes:\n  - name: a\n    host: a.example.com\n    upstream: http://a:1\n"
	for name, text := range map[string]string{
		"flow, then mistake":    base + route + "    basic_auth: {password: hunter2, usernam: x}\n",
		"duplicate":             base + route + "    basic_auth:\n      username: x\n      password: hunter1\n      password: hunter2\n",
		"multi-line quoted":     base + route + "    basic_auth: {password: \"hunter1\n       hunter2\", usernam: x}\n",
		"block":                 base + route + "    basic_auth:\n      password: |\n        hunter1\n\n        hunter2\n      usernam: x\n",
		"alias":                 base + "ui: {title: &t hunter2}\n" + route + "    basic_auth: {username: x, password: *t, x: y}\n",
		"alias before anchor":   base + route + "    basic_auth: {username: x, password: *l}\n    rules: &l [hunter2]\n",
		"merge key":             base + route + "    basic_auth: {<<: {password: hunter2}}\n",
		"key is a list":         base + route + "    basic_auth: {[a]: hunter2}\n",
		"wrong section":         base + "password: hunter2\nauth: {secret: [hunter2]}\n",
		"header":                base + route + "    set_request_headers: {Authorization: [hunter2], X-Api-Key: ' hunter2', 'a b': hunter2}\n",
		"url":                   base + route + "    cors: {origins: ['https://me:hunter2@a.example.com']}\n",
		"acme directory":        "tls: {acme: {directory: 'http://me:hunter2@ca'}}\ntokens: {issuer: https://g.example.com}\n",
		"second document":       base + "---\ntokens: {secret: hunter2}\n",
		"syntax":                base + route + "    basic_auth:\n      password: \"hunter2\n",
		"syntax, list":          base + "tokens: {secret: [hunter2\n",
		"syntax below":          base + route + "    basic_auth:\n      password: |\n        hunter1\n       : hunter2: x\n",
		"syntax, unknown alias": base + route + "    basic_auth: {password: *hunter2}\n",
		"syntax, bad tag":       base + route + "    basic_auth: {password: !<hunter2 }\n",
		"syntax, bad escape":    base + route + "    basic_auth: {password: \"\\hunter2\"}\n",
		"tag":                   base + route + "    basic_auth: {password: !hunter2 x}\n",
		"variable":              base + route + "    basic_auth: {username: 'a:${WORD}', password: '${WORD'}\n",
		"wrong kind":            base + route + "    basic_auth: [hunter2]\n",
		"text for tokens":       "tokens: hunter2\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := refused(t, text)
			if strings.Contains(strings.ReplaceAll(got, "${WORD", ""), "hunter") {
				t.Errorf("prints a secret:\n%s", got)
			}
		})
	}
}
