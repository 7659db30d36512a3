package proxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/internal/gatetest"
)

// flood makes requests from n other addresses.
func flood(b *buckets[netip.Addr], n int, now time.Time) {
	for i := range n {
		var a [16]byte
		a[0] = 0x20
		binary.BigEndian.PutUint32(a[4:], uint32(i))
		b.take(netip.AddrFrom16(a), now)
	}
}

func TestT100_AFloodOfAddressesFreesNobodyWhoIsLimited(t *testing.T) {
	var b buckets[netip.Addr]
	b.configure(config.Rate{Count: 2, Per: time.Hour})
	now := time.Now()
	limited := netip.MustParseAddr("192.0.2.1")
	for want := range 3 {
		if wait := b.take(limited, now); (wait > 0) != (want == 2) {
			t.Fatalf("request %d: wait %v", want+1, wait)
		}
	}
	flood(&b, gatetest.Scale(2*maxBuckets, 1_000_000), now.Add(time.Second))
	if len(b.byKey) > maxBuckets || b.calm.Len()+b.refused.Len() != len(b.byKey) {
		t.Errorf("%d buckets are kept in %d and %d, want %d at most", len(b.byKey), b.calm.Len(), b.refused.Len(), maxBuckets)
	}
	if wait := b.take(limited, now.Add(time.Minute)); wait == 0 {
		t.Error("the flood reset the count of one who is limited")
	}

	// One that has recovered has no claim to its place any more.
	flood(&b, 2*maxBuckets, now.Add(3*time.Hour))
	if _, kept := b.byKey[limited]; kept {
		t.Error("a bucket that is full again was kept for ever")
	}
}

// An IPv6 caller is its /64, and at eight times the rate its /48; a zone and the
// IPv4-mapped spelling are no other address.
func TestT101_RequestsAreLimitedByNetwork(t *testing.T) {
	l, now := newLimits(), time.Now()
	l.configure(config.Limits{RequestsIP: config.Rate{Count: 2, Per: time.Hour}})
	take := func(text string, want bool) {
		t.Helper()
		if wait := l.takeIP(netip.MustParseAddr(text), now); (wait == 0) != want {
			t.Errorf("%s has to wait %v", text, wait)
		}
	}
	for i, a := range []string{"2001:db8::1", "2001:db8::2%eth0", "2001:db8::3", "192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"} {
		take(a, i%3 < 2)
	}
	take("192.0.2.2", true)
	for i := range 16 {
		take(fmt.Sprintf("2001:db8:1:%x::1", i), true)
	}
	take("2001:db8:1:ffff::1", false)
	take("2001:db8:2::1", true)
	for i := range 100 {
		take(fmt.Sprintf("198.51.100.%d", i), true)
	}
}

func TestBucketsWhereEverybodyIsRefusedStayBounded(t *testing.T) {
	var b buckets[netip.Addr]
	b.configure(config.Rate{Count: 1, Per: time.Hour})
	now := time.Now()
	for range 2 {
		flood(&b, maxBuckets, now)
	}
	flood(&b, maxBuckets+10, now)
	if len(b.byKey) > maxBuckets {
		t.Errorf("%d buckets are kept, want %d at most", len(b.byKey), maxBuckets)
	}
	if b.refused.Len() < maxBuckets-20 {
		t.Errorf("only %d of those refused are kept", b.refused.Len())
	}
}
