package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

func TestTheHeapHasAFloor(t *testing.T) {
	for _, c := range []struct {
		live, floor uint64
		want        int
	}{
		{0, 64 << 20, 1500}, {4 << 20, 64 << 20, 1500}, {8 << 20, 64 << 20, 700}, {31 << 20, 64 << 20, 106}, {32 << 20, 64 << 20, 100}, {1 << 30, 64 << 20, 100},
		{8 << 20, 8 << 20, 100}, {8 << 20, 0, 100},
	} {
		if got := gcPercent(c.live, c.floor); got != c.want {
			t.Errorf("%d MiB live, floor %d MiB: %d, want %d", c.live>>20, c.floor>>20, got, c.want)
		}
	}
}

func gogc() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestTheHeapFloorFollowsWhatIsLive(t *testing.T) {
	if gogc() != 100 {
		t.Skip("GOGC was chosen for this run")
	}
	unset := func(string) (string, bool) { return "", false }
	stop := keepHeapFloor(unset)
	if gogc() <= 100 {
		t.Fatalf("GOGC is %d with little live", gogc())
	}
	ballast := make([]byte, 128<<20)
	for gogc() != 100 { // each collection brings the finalizer, in its own time
		runtime.GC()
	}
	runtime.KeepAlive(ballast)
	for ballast = nil; gogc() <= 100; {
		runtime.GC()
	}
	stop()
	if gogc() != 100 {
		t.Errorf("GOGC is %d afterwards", gogc())
	}
	keepHeapFloor(func(string) (string, bool) { return "off", true })()
	if gogc() != 100 {
		t.Errorf("GOGC is %d though it was chosen", gogc())
	}
}
