package gatetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports below those that Linux gives to connections of its own accord: between
// the look and the use nobody else comes by one of them by chance.
const firstPort, lastPort = 10000, 32000

// given are the ports of this process's tests, each of which is given once.
var given sync.Map

// FreeAddr returns a loopback address nobody listens on. It is safe for
// concurrent use.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))
		if _, taken := given.LoadOrStore(addr, true); taken {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue // somebody else's
		}
		_ = l.Close() // it was for the look alone
		return addr
	}
	t.Fatal("no port is free")
	return ""
}
