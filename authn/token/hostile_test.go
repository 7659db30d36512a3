package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

var algorithms = []string{"EdDSA", "ES256", "RS256", "HS256"}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// headOf is the header of a token under any algorithm of ours.
func headOf(algorithm string) string { return `{"alg":"` + algorithm + `","typ":"at+jwt","kid":"KID"}` }

func plainClaims() string { return goodClaims(func(map[string]any) {}) }

// twins are other signatures that mean the same number, or nearly.
func twins(t *testing.T, r *Ring, signature []byte) map[string][]byte {
	t.Helper()
	k := r.keys.Load().signer
	out := map[string][]byte{
		"empty": {}, "zero": make([]byte, len(signature)), "zero in front": append([]byte{0}, signature...), "zero behind": append(bytes.Clone(signature), 0), "cut": signature[:len(signature)-1],
		"cut in front": signature[1:], "twice": append(bytes.Clone(signature), signature...), "all ones": bytes.Repeat([]byte{0xff}, len(signature)),
	}
	if signature[0] == 0 {
		delete(out, "cut in front") // may be the same number
	}
	order := map[string]*big.Int{}
	switch public := k.verify.(type) {
	case ed25519.PublicKey: // S + L (RFC 8032 section 5.1.7); S is little-endian
		l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
		s := bytes.Clone(signature[32:])
		for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
			s[i], s[j] = s[j], s[i]
		}
		sum := new(big.Int).Add(new(big.Int).SetBytes(s), l).FillBytes(make([]byte, 32))
		for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 {
			sum[i], sum[j] = sum[j], sum[i]
		}
		out["S + L"] = append(bytes.Clone(signature[:32]), sum...)
	case *ecdsa.PublicKey:
		n := elliptic.P256().Params().N
		rr, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		order["n - s"] = new(big.Int).Sub(n, s)
		twin := append(bytes.Clone(signature[:32]), order["n - s"].FillBytes(make([]byte, 32))...)
		out["n - s"] = twin
		if sum := new(big.Int).Add(s, n); sum.BitLen() <= 256 {
			out["s + n"] = append(bytes.Clone(signature[:32]), sum.FillBytes(make([]byte, 32))...)
		}
		out["r = s = 0"] = make([]byte, 64)
		out["r = n, s"] = append(n.FillBytes(make([]byte, 32)), signature[32:]...)
		out["DER"] = append([]byte{0x30, 0x44, 2, 32}, append(append(bytes.Clone(rr.FillBytes(make([]byte, 32))), 2, 32), signature[32:]...)...)
	case *rsa.PublicKey:
		sum := new(big.Int).Add(new(big.Int).SetBytes(signature), public.N)
		out["s + n"] = sum.FillBytes(make([]byte, len(signature)+1))
		if sum.BitLen() <= 8*len(signature) {
			out["s + n, fitting"] = sum.FillBytes(make([]byte, len(signature)))
		}
	}
	return out
}

// One token has one text, under every algorithm: no other spelling of a token
// that was revoked is a token (threat T079).
func TestT079_NoOtherSpellingVerifies(t *testing.T) {
	t.Parallel()
	for _, algorithm := range algorithms {
		r, _, _ := ring(t, algorithm)
		raw := issue(t, r)
		parts := strings.Split(raw, ".")
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		for what, twin := range twins(t, r, signature) {
			refused(t, r, parts[0]+"."+parts[1]+"."+b64(twin), algorithm+" "+what)
		}
		for i := range len(raw) + 1 {
			for _, c := range []string{"\n", "\r", "\r\n", "\t", " ", "=", ".", "\x00", "%", "\u200b", "_"} {
				if text := raw[:i] + c + raw[i:]; c != "_" || !strings.HasPrefix(raw[i:], "_") {
					refused(t, r, text, fmt.Sprintf("%s with %q at %d", algorithm, c, i))
				}
			}
		}
		for i, part := range parts {
			decoded, _ := base64.RawURLEncoding.DecodeString(part)
			for what, other := range map[string]string{
				"padded": base64.URLEncoding.EncodeToString(decoded), "standard alphabet": base64.RawStdEncoding.EncodeToString(decoded), "padded twice": part + "==", "hex": fmt.Sprintf("%x", decoded),
				"upper": strings.ToUpper(part), "encoded twice": b64([]byte(part)), "lines": base64.StdEncoding.EncodeToString(decoded[:len(decoded)/2]) + "\n" + b64(decoded[len(decoded)/2:]),
			} {
				if other != part {
					spelled := append([]string{}, parts...)
					spelled[i] = other
					refused(t, r, strings.Join(spelled, "."), algorithm+" part "+fmt.Sprint(i)+" "+what)
				}
			}
			for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" { // the bits left over
				if other := part[:len(part)-1] + string(last); other != part {
					spelled := append([]string{}, parts...)
					spelled[i] = other
					refused(t, r, strings.Join(spelled, "."), algorithm+" last character")
				}
			}
		}
		for what, text := range map[string]string{
			"JSON, flattened": `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
			"JSON, general":   `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`,
			"detached":        parts[0] + ".." + parts[2], "five parts": raw + "." + parts[1] + "." + parts[2], "quoted": `"` + raw + `"`, "order": parts[2] + "." + parts[1] + "." + parts[0],
		} {
			refused(t, r, text, algorithm+" "+what)
		}
		if _, err := r.Verify(raw); err != nil {
			t.Errorf("%s: the token itself: %v", algorithm, err)
		}
	}
}

// A key verifies under its own algorithm alone (threat T080).
func TestT080_AlgorithmBelongsToTheKey(t *testing.T) {
	t.Parallel()
	payload := plainClaims()
	for _, algorithm := range algorithms {
		r, _, _ := ring(t, algorithm)
		k := r.keys.Load().signer
		if _, err := r.Verify(forge(t, r, headOf(algorithm), payload)); err != nil {
			t.Fatalf("%s: the base case must pass: %v", algorithm, err)
		}
		var alg []string
		for _, a := range []string{"none", "None", "NONE", "nOnE", "noNE", " none", "none ", "", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "ed25519", "A128KW", "dir"} {
			if a != algorithm {
				alg = append(alg, `"alg":"`+a+`",`)
			}
		}
		alg = append(alg, "", `"alg":null,`, `"alg":["`+algorithm+`"],`, `"alg":{"a":1},`, `"alg":0,`, `"alg":true,`, `"ALG":"`+algorithm+`",`, `"alg":"`+strings.ToLower(algorithm)+`",`,
			`"alg":"`+algorithm+`\u0000",`, `"alg":"none","alg":"`+algorithm+`",`, `"alg":"`+algorithm+`","alg":"none",`, `"alg":"`+algorithm+`","ALG":"none",`)
		for _, a := range alg {
			head := `{` + a + `"typ":"at+jwt","kid":"KID"}`
			refused(t, r, forge(t, r, head, payload), algorithm+": "+head)
			signed := b64([]byte(strings.ReplaceAll(head, "KID", k.id))) + "." + b64([]byte(payload))
			refused(t, r, signed+".", algorithm+", no signature: "+head)
			refused(t, r, signed, algorithm+", two parts: "+head)
			for what, secret := range secrets(t, k, r.JWKS()) {
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(signed))
				refused(t, r, signed+"."+b64(mac.Sum(nil)), algorithm+", HMAC under "+what+": "+head)
			}
		}
	}
}

// secrets are all that an attacker could take for a shared secret: the public
// key in every form, and nothing.
func secrets(t *testing.T, k *key, jwks []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"nothing": {}, "the kid": []byte(k.id), "the key set": jwks, "the JWK": k.public}
	if k.method.Alg() == "HS256" {
		return out
	}
	der, err := x509.MarshalPKIXPublicKey(k.verify)
	if err != nil {
		t.Fatal(err)
	}
	out["DER"] = der
	out["PEM"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	out["PEM without end"] = bytes.TrimSpace(out["PEM"])
	switch public := k.verify.(type) {
	case ed25519.PublicKey:
		out["bytes"] = public
	case *rsa.PublicKey:
		out["modulus"] = public.N.Bytes()
		out["PKCS #1"] = x509.MarshalPKCS1PublicKey(public)
	}
	return out
}

// kid is looked up, never acted on; keys that a token brings along count for
// nothing, and nobody is asked for one (threat T081).
func TestT081_KidIsALookup(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(asked)
				return
			}
			asked <- c.RemoteAddr().String()
			_ = c.Close()
		}
	}()
	r, _, _ := ring(t, "EdDSA")
	id := r.keys.Load().signer.id
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	own, _ := json.Marshal(map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64(public), "kid": "evil", "alg": "EdDSA"})
	for _, kid := range []string{`"unknown"`, `""`, `null`, `[]`, `["KID"]`, `{}`, `0`, `"KID "`, `" KID"`, `"KID\u0000"`, `"../KID"`, `"/dev/null"`, `"/proc/sys/kernel/randomize_va_space"`, `"' OR '1'='1"`,
		`"x' UNION SELECT 'secret"`, `"KID;ls"`, `"$(id)"`, `"http://` + l.Addr().String() + `/jwks"`, `"evil"`, `"` + strings.Repeat("k", 5000) + `"`, `"\ud800"`, `"*"`, `"%00"`, `"__proto__"`} {
		head := `{"alg":"EdDSA","typ":"at+jwt","kid":` + strings.ReplaceAll(kid, "KID", id) + `}`
		refused(t, r, forge(t, r, head, plainClaims()), head)
		signed := b64([]byte(head)) + "." + b64([]byte(plainClaims()))
		refused(t, r, signed+"."+b64(ed25519.Sign(private, []byte(signed))), "own key, "+head)
	}
	for _, extra := range []string{`"jku":"http://` + l.Addr().String() + `/jwks"`, `"x5u":"http://` + l.Addr().String() + `/c"`, `"jwk":` + string(own), `"x5c":["MIIB"]`, `"x5t":"x"`, `"x5t#S256":"x"`, `"cty":"JWT"`, `"b64":false`, `"zip":"DEF"`, `"epk":{}`, `"iss":"x"`} {
		for _, kid := range []string{id, "evil", ""} {
			head := `{"alg":"EdDSA","typ":"at+jwt","kid":"` + kid + `",` + extra + `}`
			refused(t, r, forge(t, r, head, plainClaims()), head)
			signed := b64([]byte(head)) + "." + b64([]byte(plainClaims()))
			refused(t, r, signed+"."+b64(ed25519.Sign(private, []byte(signed))), "own key, "+head)
		}
	}
	_ = l.Close()
	for from := range asked {
		t.Errorf("somebody at %s came to fetch a key", from)
	}
}

func TestT082_CritIsNeverAccepted(t *testing.T) {
	t.Parallel()
	r, _, _ := ring(t, "EdDSA")
	for _, crit := range []string{`[]`, `["exp"]`, `["b64"]`, `["alg"]`, `["crit"]`, `["http://example.com/x"]`, `null`, `"exp"`, `{}`, `[1]`, `[["exp"]]`, `true`} {
		for _, name := range []string{"crit", "CRIT", `\u0063rit`, "cr\u0131t"} {
			for _, extra := range []string{"", `,"b64":true`, `,"exp":1`, `,"http://example.com/x":1`} {
				head := `{"alg":"EdDSA","typ":"at+jwt","kid":"KID","` + name + `":` + crit + extra + `}`
				refused(t, r, forge(t, r, head, plainClaims()), head)
			}
		}
	}
}

// Whatever comes costs at most a bounded amount of memory, and no time that
// grows beyond its size (threat T083).
func TestT083_HostileInputIsCheap(t *testing.T) { // alone, since it counts allocations
	r, _, _ := ring(t, "EdDSA")
	fill := func(open, fill string) string {
		return open + strings.Repeat(fill, (maxToken*3/4-len(open)-200)/len(fill))
	}
	inputs := map[string]string{
		"a mebibyte": strings.Repeat("a", 1<<20), "three parts of a mebibyte": strings.Repeat(strings.Repeat("a", 1<<20)+".", 3)[:3<<20], "dots": strings.Repeat(".", maxToken), "a mebibyte of dots": strings.Repeat(".", 1<<20), "a.a.a": strings.Repeat("a.", maxToken/2),
		"deep header": b64([]byte(fill("", "["))) + ".e30.e30", "deep object": b64([]byte(fill("", `{"a":`))) + ".e30.e30", "many names": b64([]byte(fill("{", `"a":1,`))) + ".e30.e30",
		"long name": b64([]byte(`{"`+fill("", "a")+`":1}`)) + ".e30.e30", "long number": b64([]byte(`{"alg":`+fill("", "9")+`}`)) + ".e30.e30", "escapes": b64([]byte(`{"alg":"`+fill("", `\u0041`)+`"}`)) + ".e30.e30",
		"deep claims": forge(t, r, goodHead, fill(`{"groups":`, "[")), "many claims": forge(t, r, goodHead, fill("{", `"a":1,`)), "large signature": strings.TrimSuffix(issue(t, r), "x") + strings.Repeat("A", 6000),
	}
	named := func(n int) string {
		return forge(t, r, goodHead, goodClaims(func(c map[string]any) { c["name"] = strings.Repeat("a", n) }))
	}
	if fits := named(5000); len(fits) > maxToken {
		t.Fatal("the base case is too large")
	} else if _, err := r.Verify(fits); err != nil {
		t.Fatalf("a genuine token of %d bytes: %v", len(fits), err)
	}
	inputs["genuine, but over the bound"] = named(6200)
	for what, raw := range inputs {
		refused(t, r, raw, what)
		_ = r.Ours(raw)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			_, _ = r.Verify(raw)
		}
		runtime.ReadMemStats(&after)
		if per := (after.TotalAlloc - before.TotalAlloc) / 10; per > 256<<10 {
			t.Errorf("%s: %d bytes allocated for one token", what, per)
		}
	}
	for _, what := range []string{"a mebibyte", "three parts of a mebibyte"} {
		if n := testing.AllocsPerRun(200, func() { _, _ = r.Verify(inputs[what]) }); n > 4 {
			t.Errorf("%s costs %v allocations", what, n)
		}
	}
}

// The kinds of token exclude each other by type, audience and claims (T084).
func TestT084_NoOtherKindIsAnAccessToken(t *testing.T) {
	t.Parallel()
	r, _, _ := ring(t, "EdDSA")
	id := someone()
	for _, audience := range []string{"wiki", issuer, ""} {
		raw, err := r.Assertion(&id, audience)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, r, raw, "assertion for "+audience)
	}
	for _, typ := range []string{`"JWT"`, `"jwt"`, `"at+JWT"`, `"AT+JWT"`, `"application/at+jwt"`, `"at+jwt "`, `"rt+jwt"`, `"logout+jwt"`, `"secevent+jwt"`, `"dpop+jwt"`, `"gatehouse-assertion+jwt"`, `""`, `null`, `["at+jwt"]`, `1`} {
		refused(t, r, forge(t, r, `{"alg":"EdDSA","typ":`+typ+`,"kid":"KID"}`, plainClaims()), "typ "+typ)
	}
	refused(t, r, forge(t, r, `{"alg":"EdDSA","kid":"KID"}`, plainClaims()), "no typ")
	refused(t, r, NewRefresh().Reveal(), "refresh token")
	// an assertion's claims in an access token's clothes: another audience, and
	// a claim too few
	refused(t, r, forge(t, r, goodHead, goodClaims(func(c map[string]any) { c["aud"] = "wiki" })), "audience of an assertion")
}

// At every second around the edges the verifier says what the model says.
func TestT086_TimesAtTheirEdges(t *testing.T) {
	t.Parallel()
	for _, leeway := range []time.Duration{0, 10 * time.Second, 30 * time.Second} {
		cfg := settings("HS256")
		cfg.Leeway = leeway
		m, c := &memory{}, &clock{start}
		r, err := NewRing(m, cfg, time.Hour, slog.New(slog.DiscardHandler), c.now)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		iat, nbf, exp := start.Unix(), start.Unix()+5, start.Unix()+60
		raw := forge(t, r, headOf("HS256"), goodClaims(func(c map[string]any) { c["iat"], c["nbf"], c["exp"] = iat, nbf, exp }))
		for at := iat - 40; at < exp+40; at++ {
			c.t = time.Unix(at, 0)
			want := at+int64(leeway/time.Second) >= nbf && at < exp+int64(leeway/time.Second)
			if _, err := r.Verify(raw); (err == nil) != want {
				t.Fatalf("leeway %v, %d s after nbf, %d s before exp: %v", leeway, at-nbf, exp-at, err)
			}
			r.cache.clear()
			if _, err := r.Verify(raw); (err == nil) != want {
				t.Fatalf("uncached, leeway %v, %d s after nbf: %v", leeway, at-nbf, err)
			}
		}
	}
	r, _, _ := ring(t, "EdDSA")
	for name, values := range map[string][]string{
		"exp": {"0", "-1", "null", `"9999999999"`, "1e12", "1893553745.5", "9223372036854775807", "9223372036854775808", "true", "[]", "{}", fmt.Sprint(start.Unix() + 901)},
		"iat": {"0", "-1", "null", "1e9", "9223372036854775807", "-9223372036854775808", fmt.Sprint(start.Unix() + 11)},
		"nbf": {"1e9", "9223372036854775807", `"0"`, fmt.Sprint(start.Unix() + 11)},
	} {
		for _, v := range values {
			payload := goodClaims(func(c map[string]any) { c[name] = json.RawMessage(v) })
			refused(t, r, forge(t, r, goodHead, payload), name+" = "+v)
		}
	}
}

// No claim is said twice, in any spelling that a decoder would fold (T087).
func TestT087_NoClaimIsSaidTwice(t *testing.T) {
	t.Parallel()
	r, _, _ := ring(t, "EdDSA")
	payload := plainClaims()
	for _, name := range []string{"iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "email", "groups", "gen", "amr", "name", "auth_time", "email_verified"} {
		value := `"x"`
		var claims map[string]json.RawMessage
		_ = json.Unmarshal([]byte(payload), &claims)
		if v, ok := claims[name]; ok {
			value = string(v)
		}
		variants := []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], name[:1] + strings.ToUpper(name[1:2]) + name[2:], strings.ReplaceAll(name, "s", "\u017f"), strings.ReplaceAll(name, "k", "\u212a"), name + `\u0000`, " " + name, `\u00` + fmt.Sprintf("%x", strings.ToUpper(name)[0]) + name[1:]}
		for _, other := range variants {
			if other == name {
				continue
			}
			for _, text := range []string{strings.Replace(payload, "{", `{"`+other+`":`+value+`,`, 1), payload[:len(payload)-1] + `,"` + other + `":` + value + `}`} {
				refused(t, r, forge(t, r, goodHead, text), other+" beside "+name)
			}
		}
		twice := strings.Replace(payload, "{", `{"`+name+`":`+value+`,"`+name+`":`+value+`,`, 1)
		refused(t, r, forge(t, r, goodHead, twice), name+" twice")
		escaped := strings.Replace(payload, "{", `{"`+name+`":`+value+`,"\u00`+fmt.Sprintf("%x", name[0])+name[1:]+`":`+value+`,`, 1)
		refused(t, r, forge(t, r, goodHead, escaped), name+" twice, once escaped")
	}
	for _, text := range []string{payload + payload, payload + " {}", payload + "\x00", "[" + payload + "]", "\ufeff" + payload, "", "null", `"` + `"`, payload[:len(payload)-1], strings.Replace(payload, ":", " = ", 1), strings.Replace(payload, "{", "{,", 1)} {
		refused(t, r, forge(t, r, goodHead, text), fmt.Sprintf("%.30q", text))
	}
}

// An HMAC secret has 32 bytes or there is no gateway (threat T088).
func TestT088_EverySecretThatIsTooShort(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		cfg := settings("HS256")
		cfg.Secret = config.NewSecret("kJ8s0vQ2xYw7Zr4tN6mB1cL9pD3fH5gA0000000000"[:n])
		r, err := NewRing(&memory{}, cfg, time.Hour, slog.New(slog.DiscardHandler), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Load(t.Context()); (err == nil) != (n >= 32) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if _, err := r.Access(someone()); err == nil && n < 32 {
			t.Errorf("%d bytes sign", n)
		}
	}
}
