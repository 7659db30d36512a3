package proxy

import (
	"context"
	"sync"

	"gatehouse/wire"
)

// life is the context of one exchange: it ends with the client's, or for a
// cause of ours. context.WithCancelCause would do, at three times the
// allocations: an exchange has one listener, its connection to the app, and
// nobody asks for Done unless it dials or holds a WebSocket.
type life struct {
	context.Context // the client's: its values, its deadline
	detach          func() bool

	mu    sync.Mutex
	cause error         // nil while it goes on
	done  chan struct{} // made when somebody asks
	hooks wire.Hooks
}

func (l *life) begin(client context.Context) {
	l.Context = client
	l.mu.Lock() // a client that is gone already ends it at once
	defer l.mu.Unlock()
	l.detach = afterEnd(client, func() { l.cancel(context.Cause(client)) })
}

// afterEnd is context.AfterFunc, without its wrapping of a context that has the
// method itself.
func afterEnd(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// cancel ends it, once; nil is an end like any other. It does not wait for
// anybody.
func (l *life) cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	if l.done != nil {
		close(l.done)
	}
	l.hooks.Run()
	detach := l.detach
	l.mu.Unlock()
	detach()
}

// why is what it ended for; nil while it goes on.
func (l *life) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Done implements context.Context.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.cause != nil {
			close(l.done)
		}
	}
	return l.done
}

// Err implements context.Context.
func (l *life) Err() error {
	if l.why() != nil {
		return context.Canceled
	}
	return nil
}

// AfterFunc is what package context calls for contexts made from this one, and
// what the upstream client calls: f runs in its own goroutine once this ends.
// stop reports whether it kept f from running.
func (l *life) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		go f()
		return func() bool { return false }
	}
	number := l.hooks.Add(f)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.hooks.Remove(number)
	}
}

var _ context.Context = (*life)(nil)
