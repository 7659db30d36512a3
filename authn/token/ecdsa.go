package token

import (
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
)

// lowS reports whether the s of an ES256 signature (r || s, RFC 7518 section
// 3.4) is in the lower half of the group. Of the two signatures (r, s) and
// (r, n-s) that both verify, only that one is ours, so one token has one text.
func lowS(signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	n := elliptic.P256().Params().N
	s := new(big.Int).SetBytes(signature[32:])
	return s.Cmp(new(big.Int).Rsh(n, 1)) <= 0
}

// canonicalES256 replaces a high s by its twin.
func canonicalES256(raw string) (string, error) {
	dot := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil || len(signature) != 64 {
		return "", fmt.Errorf("sign: unexpected form of an ES256 signature")
	}
	if lowS(signature) {
		return raw, nil
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return raw[:dot+1] + base64.RawURLEncoding.EncodeToString(signature), nil
}
