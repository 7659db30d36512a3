package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"gatehouse/config"
	"gatehouse/store"
)

// key is one signing key ready for use: it serves one algorithm alone (RFC
// 8725 section 3.1), the one it was made for.
type key struct {
	id      string
	method  jwt.SigningMethod
	sign    any
	verify  any
	public  json.RawMessage // JWK; nil for HS256
	active  time.Time
	retires time.Time // zero while it is the newest
	created time.Time
}

func method(algorithm string) (jwt.SigningMethod, error) {
	switch algorithm {
	case "EdDSA":
		return jwt.SigningMethodEdDSA, nil
	case "ES256":
		return jwt.SigningMethodES256, nil
	case "RS256":
		return jwt.SigningMethodRS256, nil
	case "HS256":
		return jwt.SigningMethodHS256, nil
	}
	return nil, fmt.Errorf("signature algorithm %q is not supported", algorithm)
}

// generate makes the secret of a new key. An HS256 key is the configured
// secret; its record in the store holds nothing.
func generate(algorithm string) ([]byte, error) {
	var private any
	var err error
	switch algorithm {
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 3072)
	case "HS256":
		return []byte{}, nil
	default:
		return nil, fmt.Errorf("signature algorithm %q is not supported", algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("generate %s key: %w", algorithm, err)
	}
	return x509.MarshalPKCS8PrivateKey(private)
}

// open turns a stored key into one that works.
func open(k store.Key, cfg config.Tokens) (*key, error) {
	m, err := method(k.Algorithm)
	if err != nil {
		return nil, err
	}
	out := &key{id: k.ID, method: m, active: k.ActiveAt, retires: k.RetireAt, created: k.CreatedAt}
	if k.Algorithm == "HS256" {
		return out, out.openHMAC([]byte(cfg.Secret.Reveal()))
	}
	private, err := x509.ParsePKCS8PrivateKey(k.Secret)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.ID, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok || !fits(k.Algorithm, private) {
		return nil, fmt.Errorf("key %s is no %s key", k.ID, k.Algorithm)
	}
	out.sign, out.verify = private, signer.Public()
	out.public, err = jwk(k.ID, k.Algorithm, signer.Public())
	return out, err
}

func (k *key) openHMAC(raw []byte) error {
	if len(raw) < 32 { // T88: golang-jwt signs with an empty key
		return errors.New("tokens.secret must hold at least 32 random bytes for HS256")
	}
	k.sign, k.verify = raw, raw
	return nil
}

func fits(algorithm string, private any) bool {
	switch p := private.(type) {
	case ed25519.PrivateKey:
		return algorithm == "EdDSA"
	case *ecdsa.PrivateKey:
		return algorithm == "ES256" && p.Curve == elliptic.P256()
	case *rsa.PrivateKey:
		return algorithm == "RS256" && p.N.BitLen() >= 2048
	}
	return false
}

// jwk renders a public key (RFC 7517, RFC 8037).
func jwk(id, algorithm string, public crypto.PublicKey) (json.RawMessage, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	fields := map[string]string{"kid": id, "alg": algorithm, "use": "sig"}
	switch p := public.(type) {
	case ed25519.PublicKey:
		fields["kty"], fields["crv"], fields["x"] = "OKP", "Ed25519", b64(p)
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return nil, fmt.Errorf("encode key %s: %w", id, err)
		}
		half := (len(point) - 1) / 2
		fields["kty"], fields["crv"], fields["x"], fields["y"] = "EC", "P-256", b64(point[1:1+half]), b64(point[1+half:])
	case *rsa.PublicKey:
		fields["kty"], fields["n"], fields["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	default:
		return nil, fmt.Errorf("key %s has no public form", id)
	}
	return json.Marshal(fields)
}
