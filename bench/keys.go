package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// secret is the HS256 key of the peers.
const secret = "0123456789abcdef0123456789abcdef"

// keys sign the tokens of the peers. gatehouse has keys of its own.
type keys struct {
	ec  *ecdsa.PrivateKey
	rsa *rsa.PrivateKey // of the OpenID provider oauth2-proxy asks
	pem string          // path of the public EC key
}

func newKeys(dir string) (*keys, error) {
	k := &keys{pem: filepath.Join(dir, "es256.pem")}
	var err error
	if k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&k.ec.PublicKey)
	if err != nil {
		return nil, err
	}
	return k, os.WriteFile(k.pem, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644) //nolint:gosec // public
}

// claims are those of the peers' tokens, about as many bytes as gatehouse's.
type claims struct {
	Issuer  string   `json:"iss"`
	Subject string   `json:"sub"`
	Email   string   `json:"email"`
	Name    string   `json:"name"`
	Groups  []string `json:"groups"`
	Issued  int64    `json:"iat"`
	Expires int64    `json:"exp"`
}

const benchUser = "q3J0c2VjcmV0LXN1YmplY3Q"

func newClaims() claims {
	now := time.Now()
	return claims{"https://bench.test", benchUser, "ada@bench.test", "Ada Lovelace", []string{"admins", "readers", "staff"}, now.Unix(), now.Add(2 * time.Hour).Unix()}
}

func b64(p []byte) string { return base64.RawURLEncoding.EncodeToString(p) }

// token signs newClaims with HS256 or ES256.
func (k *keys) token(alg string) (string, error) {
	body, err := json.Marshal(newClaims())
	if err != nil {
		return "", err
	}
	text := b64([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + b64(body)
	if alg == "HS256" {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(text))
		return text + "." + b64(mac.Sum(nil)), nil
	}
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.ec, sum[:])
	if err != nil {
		return "", err
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + b64(sig), nil
}

var errToken = errors.New("token refused")

// verifier is what the JWT service behind auth_request and forward_auth does
// for each request: signature, then claims.
type verifier struct{ ec *ecdsa.PublicKey }

func (v verifier) verify(token string) (claims, error) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errToken
	}
	head, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	body, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	sig, err3 := base64.RawURLEncoding.DecodeString(parts[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return c, errToken
	}
	var h struct {
		Alg string `json:"alg"`
	}
	if json.Unmarshal(head, &h) != nil || !v.signed(h.Alg, parts[0]+"."+parts[1], sig) || json.Unmarshal(body, &c) != nil {
		return c, errToken
	}
	if c.Issuer != "https://bench.test" || time.Now().Unix() >= c.Expires {
		return c, errToken
	}
	return c, nil
}

func (v verifier) signed(alg, text string, sig []byte) bool {
	switch {
	case alg == "HS256" && v.ec == nil:
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(text))
		return hmac.Equal(mac.Sum(nil), sig)
	case alg == "ES256" && v.ec != nil && len(sig) == 64:
		sum := sha256.Sum256([]byte(text))
		return ecdsa.Verify(v.ec, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	}
	return false
}
