//go:build apps

package e2e

import (
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gatetest"
)

// T123 with the tool others use: slowhttptest holds connections with heads,
// bodies and readings that never end. Healthy requests do not feel it, and the
// gate is free again when it is over. What counts are its first two seconds, in
// which it comes, so peace and flood take turns here as well.
func TestT123_Slowhttptest(t *testing.T) {
	text := strings.Repeat("x", 1<<20)
	for mode, args := range map[string][]string{
		"slow heads":    {"-H", "-i", "1"},
		"slow bodies":   {"-B", "-i", "1", "-s", "100000"},
		"slow readings": {"-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"},
	} {
		t.Run(mode, func(t *testing.T) {
			up := gatetest.NewUpstreamFunc(t, func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + text })
			g := gatetest.Start(t, strings.ReplaceAll(floods(t, up.URL()), "open.test", "localhost"))
			newSiege(t, g).rounds(gatetest.Scale(1, 5), 30*time.Second, func(ctx context.Context) {
				_, port, _ := strings.Cut(g.HTTPS, ":")
				args := append(args, "-c", "500", "-r", "250", "-l", strconv.Itoa(gatetest.Scale(5, 25)), "-p", "3", "-u", "https://localhost:"+port+"/")
				out, err := exec.CommandContext(context.WithoutCancel(ctx), "slowhttptest", args...).CombinedOutput()
				plain := regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(string(out), "") // it colours words
				status := regexp.MustCompile(`service available:\s+(\w+)`).FindAllStringSubmatch(plain, -1)
				if err != nil || len(status) == 0 || status[len(status)-1][1] != "YES" {
					t.Errorf("slowhttptest: %v, service available: %q\n%s", err, status, plain)
				}
			})
		})
	}
}
