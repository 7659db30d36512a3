package proxy

import (
	"context"
	"errors"
	"testing"

	"gatehouse/internal/gatetest"
)

type ctxKey struct{}

func TestALifeIsAContext(t *testing.T) {
	errOurs := errors.New("ours")
	for name, c := range map[string]struct {
		end   func(l *life, client context.CancelCauseFunc)
		cause error
	}{
		"a cause of ours":      {func(l *life, _ context.CancelCauseFunc) { l.cancel(errOurs); l.cancel(nil) }, errOurs},
		"the end":              {func(l *life, _ context.CancelCauseFunc) { l.cancel(nil) }, context.Canceled},
		"the client went away": {func(_ *life, client context.CancelCauseFunc) { client(errOurs) }, errOurs},
	} {
		t.Run(name, func(t *testing.T) {
			client, cancel := context.WithCancelCause(context.WithValue(context.Background(), ctxKey{}, 7))
			defer cancel(nil)
			l := new(life)
			l.begin(client)
			if l.Err() != nil || l.why() != nil || l.Value(ctxKey{}) != 7 {
				t.Fatal("it begins ended, or without the client's values")
			}
			ran := make(chan string, 4)
			stop := l.AfterFunc(func() { ran <- "removed" })
			l.AfterFunc(func() { ran <- "hook" })
			context.AfterFunc(l, func() { ran <- "context" })
			child, cancelChild := context.WithCancel(l)
			defer cancelChild()
			if !stop() || stop() {
				t.Error("a hook is taken off once")
			}
			c.end(l, cancel)
			<-l.Done()
			<-child.Done()
			if a, b := <-ran, <-ran; a == b || a == "removed" || b == "removed" {
				t.Errorf("ran %s and %s", a, b)
			}
			if !errors.Is(l.Err(), context.Canceled) || !errors.Is(l.why(), c.cause) {
				t.Errorf("ended with %v, %v", l.Err(), l.why())
			}
			late := make(chan struct{})
			if stop := l.AfterFunc(func() { close(late) }); stop() {
				t.Error("a hook of what has ended was kept from running")
			}
			<-late
			if len(ran) > 0 {
				t.Errorf("%s ran too", <-ran)
			}
		})
	}
}

// What ends by itself leaves nothing behind at the client's context.
func TestALifeLetsGoOfTheClient(t *testing.T) {
	client, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := new(life)
	l.begin(client)
	l.cancel(nil)
	if l.detach() {
		t.Error("it still listened to the client")
	}
}

// T125: a client that opens requests and resets them at once may be gone before
// its exchange begins.
func TestT125_AnExchangeWhoseClientIsGoneAlready(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range gatetest.Scale(2_000, 1_000_000) {
		var l life
		l.begin(gone)
		<-l.Done()
		if l.Err() == nil {
			t.Fatal("it goes on")
		}
	}
}
