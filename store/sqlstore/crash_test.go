package sqlstore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gatehouse/store"
)

const crashChild = "GATEHOUSE_TEST_CRASH_DB"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashChild); path != "" {
		os.Exit(writeUntilKilled(path, os.Getenv(crashChild+"_CYCLE")))
	}
	os.Exit(m.Run())
}

// writeUntilKilled acknowledges each act on standard output, as a gateway
// would: after the store has.
func writeUntilKilled(path, cycle string) int {
	ctx := context.Background()
	s, err := Open(ctx, path, Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	acks := make(chan string, 64)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprint(cycle, "-", w, "-", i)
				if err := s.Users().Create(ctx, account(id)); err != nil {
					acks <- "error " + err.Error()
					continue
				}
				acks <- "user " + id
				if err := s.Revocations().Revoke(ctx, store.Revocation{Kind: store.KindToken, Key: id, CreatedAt: time.Now(), Expires: time.Now()}); err != nil {
					acks <- "error " + err.Error()
					continue
				}
				acks <- "revoked " + id
			}
		}()
	}
	for a := range acks {
		fmt.Println(a)
	}
	return 0
}

// What was acknowledged is there after kill -9 at any moment, and the database
// is sound (threat T96, F-G1).
func TestKilledAtRandomMoments(t *testing.T) {
	path := fileIn(t)
	acked := map[string]bool{}
	for cycle := range 6 {
		for _, a := range killOne(t, path, cycle) {
			acked[a] = true
		}
		s, err := Open(t.Context(), path, Options{MustExist: true})
		if err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		var verdict string
		if err := s.rdb.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Fatalf("cycle %d: %s %v", cycle, verdict, err)
		}
		have := map[string]bool{}
		list, _, err := s.Revocations().Since(t.Context(), 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			have["revoked "+e.Key] = true
		}
		users, err := s.Users().List(t.Context(), "", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			have["user "+u.ID] = true
		}
		for a := range acked {
			if !have[a] {
				t.Fatalf("cycle %d: acknowledged and lost: %s", cycle, a)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 50 {
		t.Fatalf("only %d acts were acknowledged; the test says nothing", len(acked))
	}
	t.Logf("%d acknowledged acts survived", len(acked))
}

// killOne runs a child until it has acknowledged a random number of acts.
func killOne(t *testing.T, path string, cycle int) (acked []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashChild+"="+path, crashChild+"_CYCLE="+fmt.Sprint(cycle))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	enough := 20 + rand.IntN(150)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "error") {
			t.Errorf("child: %s", line)
		}
		acked = append(acked, line)
		if len(acked) == enough {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return acked
}
