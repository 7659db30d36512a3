package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func TestTheGeneratorsAreRead(t *testing.T) {
	out := `finished in 3.00s, 21034.33 req/s, 22.47MB/s
requests: 63103 total, 63167 started, 63103 done, 63100 succeeded, 3 failed, 1 errored, 2 timeout
status codes: 63100 2xx, 4 3xx, 5 4xx, 6 5xx
`
	re := newH2Patterns()
	if m := re.finished.FindStringSubmatch(out); m == nil || m[1] != "21034.33" {
		t.Errorf("rate: %q", m)
	}
	if m := re.requests.FindStringSubmatch(out); len(m) != 6 || m[1] != "63103" || m[4] != "1" || m[5] != "2" {
		t.Errorf("requests: %q", m)
	}
	if m := re.codes.FindStringSubmatch(out); len(m) != 4 || m[1] != "4" || m[3] != "6" {
		t.Errorf("status codes: %q", m)
	}
}

func TestSamplesFindTheirLayer(t *testing.T) {
	for want, stack := range map[string][]string{
		"syscalls":                {"internal/runtime/syscall/linux.Syscall6", "syscall.write", "net.(*netFD).Write", "gatehouse/proxy/upstream.writeSide.Write"},
		"scheduler and netpoll":   {"internal/runtime/syscall/linux.EpollWait", "runtime.netpoll", "runtime.findRunnable", "runtime.schedule"},
		"GC and allocation":       {"runtime.memclrNoHeapPointers", "runtime.mallocgc", "gatehouse/proxy.(*table).requestHeader"},
		"deadlines and timers":    {"runtime.lock2", "internal/poll.runtime_pollSetDeadline", "gatehouse/proxy/upstream.writeSide.Write"},
		"gate: token, revocation": {"runtime.memequal", "gatehouse/authn/token.(*cache).get", "gatehouse/authn.(*Gate).Authenticate", "gatehouse/proxy.(*exchange).admit"},
		"headers":                 {"internal/runtime/maps.(*Map).PutSlot", "gatehouse/proxy.(*table).copyClient", "net/http.serverHandler.ServeHTTP"},
		"parsing heads":           {"bytes.IndexByte", "net/textproto.readMIMEHeader", "net/http.ReadResponse", "gatehouse/proxy/upstream.(*exchange).readHead"},
		"TLS":                     {"crypto/internal/fips140/aes/gcm.gcmAesEnc", "crypto/tls.(*Conn).Write", "net/http.checkConnErrorWriter.Write"},
		"net/http server":         {"runtime.memmove", "bufio.(*Writer).Write", "net/http.(*response).finishRequest", "net/http.(*conn).serve"},
	} {
		if got := layerOf(stack); got != want {
			t.Errorf("%s: layer %q, want %q", stack[1], got, want)
		}
	}
}

func TestRatiosAreFormedRoundByRound(t *testing.T) {
	b := &book{results: map[string]*result{"x": {Samples: map[string][]sample{
		"gatehouse": {{Rate: 10}, {Rate: 40}, {Rate: 9}}, "nginx": {{Rate: 20}, {Rate: 50}, {Rate: 10}},
	}}}}
	got, ok := b.ratio("x", "gatehouse", "nginx", rate)
	if want := (spread{0.8, 0.5, 0.9}); !ok || got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, ok := b.ratio("x", "gatehouse", "caddy", rate); ok {
		t.Error("a peer nobody measured has a ratio")
	}
}

func TestTheChartIsXML(t *testing.T) {
	b := &book{results: map[string]*result{"h1-1k": {Samples: map[string][]sample{"gatehouse": {{Rate: 10, CPU: 2}}, "nginx": {{Rate: 20, CPU: 1}}}}}}
	text := chart(b)
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(text, "gatehouse") || strings.Contains(text, "NaN") {
		t.Errorf("the chart lacks a bar or holds none: %s", text)
	}
}
