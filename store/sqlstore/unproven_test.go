package sqlstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/store"
)

func TestListIsReadBesideTheCheck(t *testing.T) {
	path := fileIn(t)
	entry := store.Revocation{Kind: store.KindSession, Key: "s", Expires: time.Now().Add(time.Hour)}
	first := open(t, path, Options{})
	if err := first.Revocations().Revoke(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	var read []store.Revocation
	var failedRead, revoke, purge error
	open(t, path, Options{Beside: func(ctx context.Context, list store.Revocations) {
		read, _, failedRead = list.Since(ctx, 0, 10)
		revoke = list.Revoke(ctx, entry)
		_, purge = list.Purge(ctx, time.Now())
	}})
	if failedRead != nil || len(read) != 1 || read[0].Key != "s" {
		t.Errorf("read %+v, %v", read, failedRead)
	}
	for what, err := range map[string]error{"revoke": revoke, "purge": purge} {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, errUnproven) {
			t.Errorf("%s before the check has ended: %v", what, err)
		}
	}
}

// A damaged file is not opened, whatever could be read of it, and nobody goes
// on reading it.
func TestDamageEndsTheReadingBeside(t *testing.T) {
	path := made(t)
	corrupt(t, path)
	ended := false
	s, err := Open(t.Context(), path, Options{Beside: func(ctx context.Context, _ store.Revocations) {
		<-ctx.Done()
		ended = true
	}})
	if err == nil {
		_ = s.Close()
		t.Fatal("opened")
	}
	if !ended {
		t.Error("still reading")
	}
}
