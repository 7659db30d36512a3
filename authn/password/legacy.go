package password

import (
	"crypto/md5" //#nosec G501 -- verifies htpasswd files of others, never makes new hashes
	"crypto/pbkdf2"
	"crypto/sha1" //#nosec G505 -- as above
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// parse recognises a stored hash. Everything but argon2id is verified only to
// be replaced at the next sign-in.
func parse(hash string, derive kdf) (check func(string) bool, current bool, err error) {
	switch {
	case strings.HasPrefix(hash, "$argon2id$"):
		return parseArgon2(hash, derive)
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		return parseBcrypt(hash)
	case strings.HasPrefix(hash, "pbkdf2_sha256$"):
		return parseDjango(hash)
	case strings.HasPrefix(hash, "{SHA}"):
		return parseSHA(hash)
	case strings.HasPrefix(hash, "$apr1$"):
		return parseAPR1(hash)
	}
	return nil, false, ErrUnknownHash
}

// Known reports whether a hash to be imported is of a form Verify understands.
func Known(hash string) bool {
	_, _, err := parse(hash, nil)
	return err == nil
}

func parseBcrypt(hash string) (func(string) bool, bool, error) {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > 15 {
		return nil, false, ErrUnknownHash
	}
	return func(p string) bool {
		// bcrypt compares 72 bytes at most; whoever typed more typed more than
		// was ever checked, and is not let in by the rest (threat T110).
		return len(p) <= 72 && bcrypt.CompareHashAndPassword([]byte(hash), []byte(p)) == nil
	}, false, nil
}

// parseDjango reads pbkdf2_sha256$ITERATIONS$SALT$BASE64.
func parseDjango(hash string) (func(string) bool, bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 {
		return nil, false, ErrUnknownHash
	}
	rounds, err := strconv.Atoi(parts[1])
	want, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err != nil || err2 != nil || rounds < 1 || rounds > 5_000_000 || len(want) != sha256.Size || parts[2] == "" {
		return nil, false, ErrUnknownHash
	}
	return func(p string) bool {
		got, err := pbkdf2.Key(sha256.New, p, []byte(parts[2]), rounds, len(want))
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}, false, nil
}

func parseSHA(hash string) (func(string) bool, bool, error) {
	want, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hash, "{SHA}"))
	if err != nil || len(want) != sha1.Size {
		return nil, false, ErrUnknownHash
	}
	return func(p string) bool {
		got := sha1.Sum([]byte(p)) //#nosec G401 -- see the import
		return subtle.ConstantTimeCompare(got[:], want) == 1
	}, false, nil
}

// parseAPR1 reads Apache's $apr1$SALT$HASH.
func parseAPR1(hash string) (func(string) bool, bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 || len(parts[2]) < 1 || len(parts[2]) > 8 || len(parts[3]) != 22 {
		return nil, false, ErrUnknownHash
	}
	return func(p string) bool {
		return subtle.ConstantTimeCompare([]byte(apr1(p, parts[2])), []byte(parts[3])) == 1
	}, false, nil
}

// apr1 is the MD5-based scheme of Apache's htpasswd, a variant of Poul-Henning
// Kamp's crypt with the magic "$apr1$".
func apr1(password, salt string) string {
	p, s := []byte(password), []byte(salt)
	inner := md5.Sum(concat(p, s, p)) //#nosec G401 -- see the import
	first := concat(p, []byte("$apr1$"), s)
	for n := len(p); n > 0; n -= len(inner) {
		first = append(first, inner[:min(n, len(inner))]...)
	}
	for n := len(p); n > 0; n >>= 1 {
		if n&1 == 1 {
			first = append(first, 0)
		} else {
			first = append(first, p[0])
		}
	}
	sum := md5.Sum(first) //#nosec G401 -- see the import
	for round := range 1000 {
		sum = md5.Sum(apr1Round(round, p, s, sum[:])) //#nosec G401 -- see the import
	}
	return apr1Encode(sum)
}

func apr1Round(round int, p, s, sum []byte) []byte {
	var b []byte
	if round&1 == 1 {
		b = append(b, p...)
	} else {
		b = append(b, sum...)
	}
	if round%3 != 0 {
		b = append(b, s...)
	}
	if round%7 != 0 {
		b = append(b, p...)
	}
	if round&1 == 1 {
		return append(b, sum...)
	}
	return append(b, p...)
}

func apr1Encode(sum [md5.Size]byte) string {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out []byte
	group := func(v uint32, n int) {
		for ; n > 0; n-- {
			out = append(out, alphabet[v&63])
			v >>= 6
		}
	}
	for _, i := range [5][3]int{{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}} {
		group(uint32(sum[i[0]])<<16|uint32(sum[i[1]])<<8|uint32(sum[i[2]]), 4)
	}
	group(uint32(sum[11]), 2)
	return string(out)
}

func concat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
