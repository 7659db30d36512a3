package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// The cost of one hash: OWASP's first recommendation for argon2id.
const (
	memoryKiB = 19 * 1024
	passes    = 2
	lanes     = 1
	saltSize  = 16
	hashSize  = 32
)

// kdf is the signature of argon2.IDKey.
type kdf func(password, salt []byte, time, memory uint32, threads uint8, size uint32) []byte

// work is what costs time and memory, the same wherever it is done.
type work struct{ derive kdf }

func newWork() work { return work{derive: argon2.IDKey} }

// Claim says that Password is the one behind Hash.
type Claim struct{ Hash, Password string }

// Verdict is what came of a claim: whether it is true, whether its hash should
// be replaced, and whether the hash was not understood.
type Verdict struct{ OK, Rehash, Unknown bool }

// normalise makes one password of its Unicode spellings (NFKC, as RFC 8265 and
// NIST SP 800-63B allow), without cutting anything.
func normalise(password string) string { return norm.NFKC.String(password) }

func (w work) hash(password string) string {
	salt := random(saltSize)
	return phc(salt, w.derive([]byte(normalise(password)), salt, passes, memoryKiB, lanes, hashSize))
}

func (w work) verify(c Claim) Verdict {
	text := normalise(c.Password)
	check, current, err := parse(c.Hash, w.derive)
	if !current { // a check of today's cost, whose outcome is forgotten
		w.derive([]byte(text), make([]byte, saltSize), passes, memoryKiB, lanes, hashSize)
	}
	if err != nil {
		return Verdict{Unknown: true}
	}
	if !strings.HasPrefix(c.Hash, "$argon2id$") {
		text = c.Password // older systems did not normalise
	}
	ok := check(text)
	return Verdict{OK: ok, Rehash: ok && !current}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// phc is the text of a hash of today's cost.
func phc(salt, sum []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, lanes, b64(salt), b64(sum))
}

// parseArgon2 reads a PHC string of argon2id.
func parseArgon2(hash string, derive kdf) (check func(string) bool, current bool, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 {
		return nil, false, ErrUnknownHash
	}
	var version, memory, time, threads int
	if n, err := fmt.Sscanf(parts[2]+","+parts[3], "v=%d,m=%d,t=%d,p=%d", &version, &memory, &time, &threads); n != 4 || err != nil {
		return nil, false, ErrUnknownHash
	}
	if parts[2]+","+parts[3] != fmt.Sprintf("v=%d,m=%d,t=%d,p=%d", version, memory, time, threads) {
		return nil, false, ErrUnknownHash // Sscanf stops before trailing text
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	sane := version == argon2.Version && memory >= 8 && memory <= 256<<10 && time >= 1 && time <= 16 && threads >= 1 && threads <= 16 &&
		len(salt) >= 8 && len(salt) <= 64 && len(sum) >= 16 && len(sum) <= 64
	if err1 != nil || err2 != nil || !sane {
		return nil, false, ErrUnknownHash
	}
	current = memory >= memoryKiB && time >= passes && len(sum) >= hashSize
	return func(p string) bool {
		got := derive([]byte(p), salt, uint32(time), uint32(memory), uint8(threads), uint32(len(sum))) //#nosec G115 -- bounded above
		return subtle.ConstantTimeCompare(got, sum) == 1
	}, current, nil
}
