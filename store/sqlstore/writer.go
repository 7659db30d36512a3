package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"gatehouse/store"
)

const (
	turnWait   = 2 * time.Second // an act waits no longer for its turn
	batchLimit = 256             // acts that share one commit
)

// request is an act that waits. Writer and caller race for its state: one that
// was given up never runs, one that was taken is always answered.
type request struct {
	run   act
	state atomic.Int32
	done  chan error // buffered
}

const (
	waiting int32 = iota
	taken
	givenUp
)

func (r *request) take() bool   { return r.state.CompareAndSwap(waiting, taken) }
func (r *request) giveUp() bool { return r.state.CompareAndSwap(waiting, givenUp) }

var (
	errClosed = errors.New("the store is closed")
	errWaited = errors.New("not done within 2s; another process may hold the lock")
)

// write hands an act to the writer and waits for its outcome.
func (s *Store) write(ctx context.Context, what string, run act) error {
	if err := s.usable(); err != nil {
		return failed(what, err)
	}
	r := &request{run: run, done: make(chan error, 1)}
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	var cause error
	select {
	case s.queue <- r:
		select {
		case err := <-r.done:
			return failed(what, err)
		case <-s.stopped: // the writer is gone; it may have answered just before
			cause = errClosed
		case <-timer.C:
			cause = errWaited
		case <-ctx.Done():
			cause = context.Cause(ctx)
		}
	case <-s.stop:
		cause = errClosed
	case <-timer.C:
		cause = errWaited
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	if !r.giveUp() {
		return failed(what, <-r.done) // it runs or ran: only its outcome is true
	}
	return failed(what, fmt.Errorf("%w: %w", store.ErrUnavailable, cause))
}

// maintain is write: whoever has the file open waits for its turn.
func (s *Store) maintain(ctx context.Context, what string, run act) error {
	return s.write(ctx, what, run)
}

// writeLoop owns the writing connection until stop closes.
func (s *Store) writeLoop() {
	defer close(s.stopped)
	for {
		select {
		case <-s.stop:
			return
		case r := <-s.queue:
			s.batch(r)
		}
	}
}

// batch begins a transaction for the first act and takes along all that wait.
func (s *Store) batch(first *request) {
	ctx := context.Background() // an act that was taken is not cut off by its caller
	for {
		err := s.begin(ctx)
		if err == nil {
			break
		}
		if !isBusy(err) || s.closing() {
			s.refuseWaiting(first, err)
			return
		}
		if first.state.Load() == waiting {
			continue // its caller ends the wait
		}
		select {
		case first = <-s.queue: // has a wait of its own
		default:
			return
		}
	}
	group := s.runAll(ctx, first)
	var err error
	if group.broken == nil {
		err = s.commit(ctx)
	} else {
		err = group.broken
	}
	if err != nil {
		s.rollback(ctx)
		s.doubt(err)
		err = fmt.Errorf("%w: commit: %w", store.ErrUnavailable, err)
	} else {
		err = s.sameFile() // a commit into an unlinked file is lost
	}
	for i, r := range group.acts {
		if err != nil {
			r.done <- err
		} else {
			r.done <- group.outcomes[i]
		}
	}
}

func (s *Store) commit(ctx context.Context) error {
	if err := s.failCommit.Load(); err != nil {
		return *err
	}
	_, err := s.conn.ExecContext(ctx, "COMMIT")
	return err
}

// begin recovers if it must, and opens the transaction.
func (s *Store) begin(ctx context.Context) error {
	if err := s.sameFile(); err != nil {
		return err
	}
	if s.fault.Load() != nil {
		if err := s.recover(ctx); err != nil {
			return err
		}
	}
	_, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	if err != nil && !isBusy(err) {
		s.doubt(err)
	}
	return err
}

// refuseWaiting answers everybody who waits by now with one failure. Who comes
// after the first answer may come because of it, and gets a judgement anew.
func (s *Store) refuseWaiting(first *request, err error) {
	err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	all := []*request{first}
	for range len(s.queue) {
		all = append(all, <-s.queue) // the writer is the only one to receive
	}
	for _, r := range all {
		if r.take() {
			r.done <- err
		}
	}
}

// group is what one transaction held.
type group struct {
	acts     []*request
	outcomes []error
	broken   error // the transaction is lost, and with it every act
}

func (s *Store) runAll(ctx context.Context, first *request) group {
	var g group
	for r := first; r != nil; {
		if r.take() {
			g.acts = append(g.acts, r)
			outcome, broken := s.runOne(ctx, r.run)
			g.outcomes = append(g.outcomes, outcome)
			if broken != nil {
				g.broken = broken
				return g
			}
		}
		r = nil
		if len(g.acts) < batchLimit {
			select {
			case r = <-s.queue:
			default:
			}
		}
	}
	return g
}

// runOne runs an act in a savepoint. SQLite may drop the whole transaction on
// an error (disk full, I/O); then the savepoint is gone, which shows here.
func (s *Store) runOne(ctx context.Context, run act) (outcome, broken error) {
	if _, err := s.conn.ExecContext(ctx, "SAVEPOINT act"); err != nil {
		return nil, err
	}
	outcome = run(ctx, onSQLite(s.conn))
	if outcome != nil {
		if _, err := s.conn.ExecContext(ctx, "ROLLBACK TO act"); err != nil {
			return nil, outcome
		}
		if !isOutcome(outcome) && troubleOf(outcome) == grave {
			return nil, outcome
		}
	}
	if _, err := s.conn.ExecContext(ctx, "RELEASE act"); err != nil {
		return nil, err
	}
	return outcome, nil
}

// rollback leaves the connection outside a transaction. After some failures
// SQLite has rolled back by itself, so an error here means nothing.
func (s *Store) rollback(ctx context.Context) {
	_, _ = s.conn.ExecContext(ctx, "ROLLBACK")
}

func (s *Store) closing() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
