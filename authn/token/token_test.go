package token

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/store"
)

// memory is a store.Keys for tests.
type memory struct {
	mu   sync.Mutex
	keys []store.Key
	fail error
}

func (m *memory) All(context.Context) ([]store.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), m.fail
}

func (m *memory) Add(_ context.Context, k store.Key, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		if m.keys[i].Purpose == k.Purpose && m.keys[i].RetireAt.IsZero() {
			m.keys[i].RetireAt = at
		}
	}
	m.keys = append(m.keys, k)
	return m.fail
}

func (m *memory) Bootstrap(_ context.Context, k store.Key) (store.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.keys {
		if old.Purpose == k.Purpose && old.RetireAt.IsZero() && old.RevokedAt.IsZero() {
			return old, m.fail
		}
	}
	m.keys = append(m.keys, k)
	return k, m.fail
}

func (m *memory) Revoke(_ context.Context, id string, now, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		if m.keys[i].ID == id {
			m.keys[i].RevokedAt = now
		}
	}
	return nil
}

func (m *memory) Purge(context.Context, time.Time) (int64, error) { return 0, nil }

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

const issuer = "https://gate.example.com"

func settings(algorithm string) config.Tokens {
	return config.Tokens{Issuer: issuer, Algorithm: algorithm, AccessTTL: 5 * time.Minute, Leeway: 10 * time.Second, RotateKeysEvery: 720 * time.Hour,
		Secret: config.NewSecret("kJ8s0vQ2xYw7Zr4tN6mB1cL9pD3fH5gA")}
}

func ring(t testing.TB, algorithm string) (*Ring, *memory, *clock) {
	t.Helper()
	m, c := &memory{}, &clock{start}
	r, err := NewRing(m, settings(algorithm), time.Hour, slog.New(slog.DiscardHandler), c.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, m, c
}

func someone() identity.Identity {
	return identity.Identity{Subject: "sub-1", Session: "sid-1", Email: "ann@example.com", Name: "Ann", Groups: []string{"admins"},
		Generation: 3, AuthTime: start, AMR: []string{"pwd"}, SessionEnds: start.Add(time.Hour)}
}

func issue(t testing.TB, r *Ring) string {
	t.Helper()
	raw, err := r.Access(someone())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func refused(t *testing.T, r *Ring, raw, what string) {
	t.Helper()
	if v, err := r.Verify(raw); v != nil || !errors.Is(err, identity.ErrRejected) {
		t.Errorf("%s: got %v, %v; want it rejected", what, v, err)
	}
}

// forge signs any header and payload with the ring's own key.
func forge(t testing.TB, r *Ring, head, payload string) string {
	t.Helper()
	k := r.keys.Load().signer
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(strings.ReplaceAll(head, "KID", k.id))) + "." + b64([]byte(payload))
	sig, err := k.method.Sign(signed, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	raw := signed + "." + b64(sig)
	if k.method.Alg() == "ES256" {
		if raw, err = canonicalES256(raw); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

const goodHead = `{"alg":"EdDSA","typ":"at+jwt","kid":"KID"}`

func goodClaims(edit func(map[string]any)) string {
	c := map[string]any{"iss": issuer, "aud": issuer, "sub": "s", "sid": "i", "jti": "j", "iat": start.Unix(), "nbf": start.Unix(), "exp": start.Unix() + 300}
	edit(c)
	b, _ := json.Marshal(c)
	return string(b)
}

func TestRoundTripUnderEveryAlgorithm(t *testing.T) {
	for _, algorithm := range []string{"EdDSA", "ES256", "RS256", "HS256"} {
		t.Run(algorithm, func(t *testing.T) {
			r, _, _ := ring(t, algorithm)
			raw := issue(t, r)
			for range 2 { // the second is answered by the cache
				v, err := r.Verify(raw)
				if err != nil {
					t.Fatal(err)
				}
				id := v.Identity
				if id.Subject != "sub-1" || id.Session != "sid-1" || id.Generation != 3 || id.TokenID == "" || !id.Expires.Equal(start.Add(5*time.Minute)) ||
					!id.SessionEnds.Equal(start.Add(time.Hour)) || !slices.Equal(id.Groups, []string{"admins"}) || v.KeyID != r.keys.Load().signer.id {
					t.Fatalf("got %+v", id)
				}
			}
			var set struct{ Keys []map[string]string }
			if err := json.Unmarshal(r.JWKS(), &set); err != nil {
				t.Fatal(err)
			}
			if algorithm == "HS256" {
				if len(set.Keys) != 0 {
					t.Fatal("a secret was published")
				}
				return
			}
			if len(set.Keys) != 1 || set.Keys[0]["alg"] != algorithm || set.Keys[0]["use"] != "sig" || set.Keys[0]["kid"] == "" || set.Keys[0]["d"] != "" {
				t.Fatalf("JWKS: %s", r.JWKS())
			}
		})
	}
}

func TestT079_OneTokenHasOneSpelling(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	raw := issue(t, r)
	last := strings.LastIndexByte(raw, '.')
	for _, text := range []string{raw + "=", raw + "\n", " " + raw, raw[:last+5] + "\r\n" + raw[last+5:], raw + ".", "." + raw, raw[:last+1], raw + "A", strings.Replace(raw, ".", "..", 1), ""} {
		refused(t, r, text, fmt.Sprintf("%q", text))
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range alphabet { // 64 bytes leave four bits over in the last character
		if twin := raw[:len(raw)-1] + alphabet[i:i+1]; twin != raw {
			refused(t, r, twin, "another last character")
		}
	}
}

func TestT079_ES256TwinIsRefused(t *testing.T) {
	r, _, _ := ring(t, "ES256")
	for range 8 {
		raw := issue(t, r)
		dot := strings.LastIndexByte(raw, '.')
		sig, _ := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
		refused(t, r, raw[:dot+1]+base64.RawURLEncoding.EncodeToString(sig), "(r, n-s)")
		if _, err := r.Verify(raw); err != nil {
			t.Fatal(err)
		}
	}
}

func TestT082_HeadersAreExact(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	if _, err := r.Verify(forge(t, r, goodHead, goodClaims(func(map[string]any) {}))); err != nil {
		t.Fatalf("the base case must pass: %v", err)
	}
	for _, head := range []string{
		`{"alg":"none","typ":"at+jwt","kid":"KID"}`, `{"alg":"HS256","typ":"at+jwt","kid":"KID"}`, `{"alg":"eddsa","typ":"at+jwt","kid":"KID"}`,
		`{"alg":"EdDSA","typ":"JWT","kid":"KID"}`, `{"alg":"EdDSA","typ":"AT+JWT","kid":"KID"}`, `{"alg":"EdDSA","kid":"KID"}`, `{"alg":"EdDSA","typ":"gatehouse-assertion+jwt","kid":"KID"}`,
		`{"alg":"EdDSA","typ":"at+jwt"}`, `{"alg":"EdDSA","typ":"at+jwt","kid":7}`, `{"alg":"EdDSA","typ":"at+jwt","kid":"../KID"}`,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"KID","crit":["x"]}`, `{"alg":"EdDSA","typ":"at+jwt","kid":"KID","jku":"https://evil.example"}`,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"KID","jwk":{}}`, `{"alg":"EdDSA","typ":"at+jwt","kid":"KID","x5u":"u"}`, `{"alg":"EdDSA","typ":"at+jwt","kid":"KID","x5c":[]}`,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"KID","kid":"KID"}`, `{"alg":"EdDSA","typ":"at+jwt","kid":"x","KID":"KID"}`, `{"alg":"EdDSA","typ":"at+jwt","kid":"KID"} {}`, `[]`, `null`,
	} {
		refused(t, r, forge(t, r, head, goodClaims(func(map[string]any) {})), head)
	}
}

func TestT085_ClaimsAreExact(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	at := start.Unix()
	for name, v := range map[string]any{"iss": "https://gate.example.com/", "aud": "wiki", "sub": "", "sid": "", "jti": "", "exp": 0, "iat": 0, "nbf": at + 11, "zzz": 1, "SUB": "x", "\u017fub": "x", "groups": []any{map[string]any{}}} {
		refused(t, r, forge(t, r, goodHead, goodClaims(func(c map[string]any) { c[name] = v })), name)
	}
	for _, v := range []any{nil, "soon", 1.5, at - 10, at + 901, -1, float64(1 << 62)} {
		refused(t, r, forge(t, r, goodHead, goodClaims(func(c map[string]any) { c["exp"] = v })), fmt.Sprint("exp ", v))
	}
	for _, name := range []string{"iss", "aud", "sub", "sid", "jti", "exp", "iat"} {
		refused(t, r, forge(t, r, goodHead, goodClaims(func(c map[string]any) { delete(c, name) })), "no "+name)
	}
	refused(t, r, forge(t, r, goodHead, goodClaims(func(c map[string]any) { c["iat"], c["exp"] = at+11, at+300 })), "issued in the future")
	double := strings.Replace(goodClaims(func(map[string]any) {}), `"sub":"s"`, `"sub":"s","sub":"root"`, 1)
	refused(t, r, forge(t, r, goodHead, double), "sub twice")
}

func TestT083_SizeIsLookedAtFirst(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	named := func(n int) string {
		return forge(t, r, goodHead, goodClaims(func(c map[string]any) { c["name"] = strings.Repeat("a", n) }))
	}
	if _, err := r.Verify(named(maxToken / 2)); err != nil {
		t.Fatalf("the base case must pass: %v", err)
	}
	refused(t, r, named(maxToken), "over 8 KiB")
	id := someone()
	for range 200 {
		id.Groups = append(id.Groups, "a-group-with-a-name")
	}
	if raw, err := r.Access(id); err == nil || raw != "" {
		t.Fatal("a token over 2 KiB was issued")
	}
}

func TestT086_TimesHoldInTheCacheToo(t *testing.T) {
	r, _, c := ring(t, "EdDSA")
	raw := issue(t, r)
	if _, err := r.Verify(raw); err != nil {
		t.Fatal(err)
	}
	c.t = start.Add(-11 * time.Second)
	refused(t, r, raw, "cached, clock gone back")
	c.t = start.Add(5*time.Minute + 9*time.Second)
	if _, err := r.Verify(raw); err != nil {
		t.Fatal("the leeway was not granted")
	}
	c.t = start.Add(5*time.Minute + 10*time.Second)
	refused(t, r, raw, "cached, expired")
	ended := someone()
	ended.SessionEnds = c.t
	if _, err := r.Access(ended); err == nil {
		t.Fatal("a token was issued for a session that is over")
	}
}

func TestT089_RotationKeepsOldTokensForTheirLife(t *testing.T) {
	r, m, c := ring(t, "EdDSA")
	old := issue(t, r)
	first := r.keys.Load().signer.id
	kid, err := r.Rotate(t.Context())
	if err != nil || kid == first || r.keys.Load().signer.id != kid {
		t.Fatalf("rotate: %q, %v", kid, err)
	}
	if _, err := r.Verify(old); err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(r.JWKS()), `"kid"`) != 2 {
		t.Fatalf("JWKS: %s", r.JWKS())
	}
	c.t = start.Add(r.window())
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.keys.Load().verify[first] != nil {
		t.Fatal("a retired key still verifies")
	}
	c.t = start.Add(721 * time.Hour)
	if err := r.keep(t.Context()); err != nil || r.keys.Load().signer.id == kid || len(m.keys) != 4 {
		t.Fatalf("no rotation when due: %v", err)
	}
}

func TestT090_RevokedKeyVerifiesNothing(t *testing.T) {
	r, m, _ := ring(t, "EdDSA")
	raw := issue(t, r)
	v, err := r.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	_ = m.Revoke(t.Context(), v.KeyID, start, start)
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(t, r, raw, "cached token of a revoked key")
	if r.Healthy() != nil || r.keys.Load().signer.id == v.KeyID || strings.Contains(string(r.JWKS()), v.KeyID) {
		t.Fatal("the revoked key is still there, or nothing took its place")
	}
}

func TestAlgorithmChangedInTheFile(t *testing.T) {
	r, m, c := ring(t, "EdDSA")
	raw := issue(t, r)
	next, _ := NewRing(m, settings("ES256"), time.Hour, slog.New(slog.DiscardHandler), c.now)
	if err := next.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Verify(raw); err != nil || next.keys.Load().signer.method.Alg() != "ES256" {
		t.Fatalf("old token: %v", err)
	}
}

func TestFailureKeepsTheKeys(t *testing.T) {
	r, m, _ := ring(t, "EdDSA")
	raw := issue(t, r)
	m.fail = fmt.Errorf("disk: %w", store.ErrUnavailable)
	if err := r.Load(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := r.Rotate(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := r.Verify(raw); err != nil {
		t.Fatal(err)
	}
	empty, _ := NewRing(&memory{}, settings("EdDSA"), time.Hour, slog.New(slog.DiscardHandler), time.Now)
	if _, err := empty.Access(someone()); !errors.Is(err, identity.ErrUnavailable) {
		t.Fatal(err)
	}
	refused(t, empty, raw, "no keys")
}

func TestT088_ShortHMACSecretIsRefused(t *testing.T) {
	cfg := settings("HS256")
	cfg.Secret = config.NewSecret("short")
	r, _ := NewRing(&memory{}, cfg, time.Hour, slog.New(slog.DiscardHandler), time.Now)
	if r.Load(t.Context()) == nil {
		t.Fatal("accepted")
	}
}

func TestT010_AssertionIsNoCredential(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	id := someone()
	raw, err := r.Assertion(&id, "wiki")
	if err != nil {
		t.Fatal(err)
	}
	refused(t, r, raw, "assertion")
	if !r.Ours(raw) {
		t.Fatal("an assertion would be passed on")
	}
	// Not even one whose audience is the gateway itself.
	if raw, err = r.Assertion(&id, r.cfg.Issuer); err != nil {
		t.Fatal(err)
	}
	refused(t, r, raw, "assertion for the gateway")
}

func TestOursIsLenient(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	raw := issue(t, r)
	for _, text := range []string{raw, raw + "=", raw[:len(raw)-4] + "AAAA", raw + ".x", NewRefresh().Reveal(), "GHR_x", "ghr_"} {
		if !r.Ours(text) {
			t.Errorf("%q is ours", text)
		}
	}
	other := forge(t, r, `{"alg":"EdDSA","typ":"at+jwt","kid":"other"}`, `{"iss":"https://elsewhere.example"}`)
	for _, text := range []string{"", "x", "a.b.c", other, "gh_opaque", "ghr", "xghr_x"} {
		if r.Ours(text) {
			t.Errorf("%q is not ours", text)
		}
	}
}

func TestT091_SuccessorIsOneAndStaysInTheFamily(t *testing.T) {
	r, m, c := ring(t, "EdDSA")
	first := NewRefresh()
	a, err := r.Successor(first)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := NewRing(m, settings("EdDSA"), time.Hour, slog.New(slog.DiscardHandler), c.now)
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, _ := again.Successor(first)
	if a != b || a == first || a.Selector() != first.Selector() || a.Hash() == first.Hash() {
		t.Fatal("the successor is not one, or not of the family")
	}
	parsed, err := ParseRefresh(a.Reveal())
	if err != nil || parsed != a || strings.Contains(fmt.Sprintf("%v %+v %#v %s", a, a, a, a), a.Reveal()[4:]) {
		t.Fatal("text round trip, or the token prints itself")
	}
	for _, s := range []string{"", "ghr_", a.Reveal() + "=", a.Reveal()[4:], strings.ToUpper(a.Reveal()), a.Reveal()[:46] + "\n"} {
		if _, err := ParseRefresh(s); !errors.Is(err, identity.ErrRejected) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache()
	for i := range 2 * cacheShards * shardSize {
		c.put(&entry{token: fmt.Sprint(i)})
	}
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].entries)
	}
	if n > cacheShards*shardSize || n < cacheShards*shardSize/4 {
		t.Fatalf("%d entries", n)
	}
}

func TestCacheHitDoesNotAllocate(t *testing.T) {
	r, _, _ := ring(t, "EdDSA")
	raw := issue(t, r)
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Verify(raw) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	r, _, _ := ring(b, "EdDSA")
	raw := issue(b, r)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Verify(raw)
	}
}

func FuzzVerify(f *testing.F) {
	r, _, _ := ring(f, "EdDSA")
	raw := issue(f, r)
	f.Add(raw)
	f.Add(raw + "=")
	f.Add(forge(f, r, goodHead, `{"exp":1e3}`))
	f.Fuzz(func(t *testing.T, text string) {
		v, err := r.Verify(text)
		if (v == nil) == (err == nil) {
			t.Fatal("neither or both")
		}
		if err != nil && !errors.Is(err, identity.ErrRejected) {
			t.Fatal(err)
		}
		if err == nil && text != raw {
			t.Fatalf("accepted %q", text)
		}
		_ = r.Ours(text)
	})
}

// A key id is an argument of `gatehouse key revoke`; a leading dash made an
// option of it.
func TestKeyIDsAreLettersAndDigits(t *testing.T) {
	for range 200 {
		if id := newKeyID(); strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" || len(id) < 26 {
			t.Fatalf("%q", id)
		}
	}
}
