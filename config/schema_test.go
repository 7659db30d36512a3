package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// The tags are data; this is what makes setDefault and the range checks safe.
func TestTagsAreWellFormed(t *testing.T) {
	for _, k := range allKeys() {
		if k.doc == "" || !strings.HasSuffix(k.doc, ".") {
			t.Errorf("%s: doc is %q, want a sentence", k.path, k.doc)
		}
		if low, high, ok := strings.Cut(k.limits, ".."); k.limits != "" {
			parseLimit := func(s string) int64 {
				if d, err := time.ParseDuration(s); err == nil && shapeOf(k.typ) == shapeDuration {
					return int64(d)
				}
				var n int64
				if _, err := fmt.Sscan(s, &n); err != nil || shapeOf(k.typ) != shapeInt {
					t.Errorf("%s: range %q", k.path, k.limits)
				}
				return n
			}
			if !ok || parseLimit(low) > parseLimit(high) {
				t.Errorf("%s: range %q", k.path, k.limits)
			}
		} else if shapeOf(k.typ) == shapeDuration || shapeOf(k.typ) == shapeInt {
			t.Errorf("%s has no range", k.path)
		}
		if !k.hasDefault {
			continue
		}
		switch shapeOf(k.typ) {
		case shapeAccess:
			if _, ok := accessWords[k.def]; !ok {
				t.Errorf("%s: default %q", k.path, k.def)
			}
		case shapeIdentity:
			if !slices.Contains(presets, k.def) {
				t.Errorf("%s: default %q", k.path, k.def)
			}
		case shapeList:
		default:
			if bad := setScalar(reflect.New(k.typ).Elem(), k.field, k.def, k.def); bad != nil {
				t.Errorf("%s: default %q %s", k.path, k.def, bad.message)
			}
		}
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(page), string(Reference())); diff != "" {
		t.Errorf("run: make docs\n%s", diff)
	}
	for _, path := range Keys() {
		if !bytes.Contains(page, []byte("| `"+path+"` |")) {
			t.Errorf("the reference lacks %s", path)
		}
	}
}

func TestDefaultsListEveryKey(t *testing.T) {
	var out bytes.Buffer
	if err := Defaults(&out); err != nil {
		t.Fatal(err)
	}
	for _, path := range Keys() {
		if !strings.Contains(out.String(), "\n"+path+" ") {
			t.Errorf("no line for %s", path)
		}
	}
	for _, want := range []string{`(?m)^tokens.access_ttl +5m +duration +1m to 15m +yes +Lifetime`, `(?m)^tokens.issuer +required `, `(?m)^accounts.password.min_length +12 +number +8 to 64 characters `} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("no match for %s", want)
		}
	}
	if err := Defaults(failing{}); err == nil {
		t.Error("a failing writer is not reported")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

// check is as much of JSON Schema as ours uses.
func check(root, s map[string]any, v any, at string) []string {
	var bad []string
	fail := func(format string, args ...any) { bad = append(bad, at+": "+fmt.Sprintf(format, args...)) }
	if ref, ok := s["$ref"].(string); ok {
		return check(root, root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), v, at)
	}
	if any, ok := s["anyOf"].([]any); ok && !slices.ContainsFunc(any, func(o interface{}) bool { return len(check(root, o.(map[string]interface{}), v, at)) == 0 }) {
		fail("matches none of anyOf")
	}
	if all, ok := s["allOf"].([]any); ok {
		for _, one := range all {
			bad = append(bad, check(root, one.(map[string]any), v, at)...)
		}
	}
	if not, ok := s["not"].(map[string]any); ok && len(check(root, not, v, at)) == 0 {
		fail("matches not")
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		fail("%v is not in enum", v)
	}
	if !isType(s["type"], v) {
		fail("%v is not %v", v, s["type"])
	}
	if p, ok := s["pattern"].(string); ok {
		if text, isText := v.(string); !isText || !regexp.MustCompile(p).MatchString(text) {
			fail("%v does not match %s", v, p)
		}
	}
	if n, ok := v.(int); ok && s["minimum"] != nil && (float64(n) < s["minimum"].(float64) || float64(n) > s["maximum"].(float64)) {
		fail("%d is out of range", n)
	}
	if list, ok := v.([]any); ok && s["items"] != nil {
		for i, item := range list {
			bad = append(bad, check(root, s["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	if m, ok := v.(map[string]any); ok {
		bad = append(bad, checkObject(root, s, m, at)...)
	}
	return bad
}

func checkObject(root, s, m map[string]any, at string) []string {
	var bad []string
	properties, _ := s["properties"].(map[string]any)
	for name, value := range m {
		switch rest := s["additionalProperties"].(type) {
		case bool:
			if properties[name] == nil {
				bad = append(bad, at+"."+name+": unknown")
			}
		case map[string]any:
			bad = append(bad, check(root, rest, value, at+"."+name)...)
		}
		if p, ok := properties[name].(map[string]any); ok {
			bad = append(bad, check(root, p, value, at+"."+name)...)
		}
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := m[name.(string)]; !ok {
			bad = append(bad, fmt.Sprintf("%s: %s is required", at, name))
		}
	}
	return bad
}

func isType(want, v any) bool {
	if list, ok := want.([]any); ok {
		return slices.ContainsFunc(list, func(one any) bool { return isType(one, v) })
	}
	switch v.(type) {
	case map[string]any:
		return want == nil || want == "object"
	case []any:
		return want == nil || want == "array"
	case string:
		return want == nil || want == "string"
	case bool:
		return want == nil || want == "boolean"
	case int:
		return want == nil || want == "integer" || want == "number"
	}
	return false
}

func TestSchema(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Error("no dialect")
	}
	judge := func(text string) []string {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return check(schema, schema, v, "")
	}
	example, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if bad := judge(string(example)); len(bad) > 0 {
		t.Errorf("the schema refuses the example: %v", bad)
	}
	for _, file := range []string{"unknown_key", "booleans", "numbers_disable", "enums", "sizes", "rates", "missing_issuer", "wrong_kinds", "access", "health_pathless", "secret_misspelt", "identity_map", "not_a_list"} {
		text, err := os.ReadFile("testdata/bad/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if len(judge(string(text))) == 0 {
			t.Errorf("the schema accepts %s", file)
		}
	}
	both := base + "routes: [{name: a, host: a.b, upstream: 'http://a:1', basic_auth: {username: a, password: b, password_file: c}}]\n"
	neither := base + "routes: [{name: a, host: a.b, upstream: 'http://a:1', basic_auth: {username: a}}]\n"
	env := "tls: {self_signed: '${X}'}\ntokens: {issuer: '${Y}', access_ttl: '${Z}'}\n"
	if len(judge(both)) == 0 || len(judge(neither)) == 0 || len(judge(env)) != 0 {
		t.Errorf("secrets and variables: %v, %v, %v", judge(both), judge(neither), judge(env))
	}
}

func TestRestartOnly(t *testing.T) {
	old := parse(t, base)
	if got := RestartOnly(old, parse(t, base+"log: {level: debug, access: false}\nroutes: [{name: a, host: a.b, upstream: 'http://a:1'}]\n")); len(got) != 0 {
		t.Errorf("a reload can change these: %v", got)
	}
	next := parse(t, `tls: {self_signed: true}
tokens:
  issuer: https://gate.example.com
  algorithm: HS256
  secret: q83nV0fJ2mXw8RkT5yLb1PzC7dHs4GuA9eNo6Ki
listen: {https: ":443", trusted_proxies: [10.0.0.0/8]}
data_dir: elsewhere
`)
	var got []string
	for _, p := range RestartOnly(old, next) {
		got = append(got, p.Format())
	}
	const end = "cannot change while gatehouse runs - restart it, or put the old value back\n    "
	const file = "/etc/gatehouse/gatehouse.yaml:"
	want := []string{
		file + "4:14: tokens.algorithm: " + end + "  algorithm: HS256\n                 ^~~~~",
		file + "5:11: tokens.secret: " + end + "  secret: [hidden]\n              ^~~~~~~~",
		file + `6:17: listen.https: ` + end + "listen: {https: \":443\", trusted_proxies: [10.0.0.0/8]}\n                    ^~~~~~",
		file + "7:11: data_dir: " + end + "data_dir: elsewhere\n              ^~~~~~~~~",
	}
	// store.sqlite.path moves with data_dir and stands nowhere in the file.
	if diff := cmp.Diff(want, slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, "store.sqlite.path") })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if back := RestartOnly(next, old); len(back) < 4 {
		t.Errorf("taking the keys out again: %v", back)
	}
}
