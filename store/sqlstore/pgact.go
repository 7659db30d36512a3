//go:build !embedded

package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/store"
)

// write runs an act in a transaction of its own. Once begun it is finished
// even if its caller goes away. Two acts that stood in each other's way are
// tried again.
func (p *Postgres) write(ctx context.Context, what string, run act) error {
	return p.act(ctx, what, turnWait, run)
}

func (p *Postgres) act(ctx context.Context, what string, wait time.Duration, run act) error {
	if err := p.usable(); err != nil {
		return failed(what, err)
	}
	if err := ctx.Err(); err != nil {
		return failed(what, fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx)))
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), wait, errWaited)
	defer cancel()
	err := p.transact(ctx, run)
	for n := 1; n < pgAttempts && pgKindOf(err) == pgAgain && ctx.Err() == nil; n++ {
		err = p.transact(ctx, run)
	}
	return failed(what, p.note(ctx, err))
}

// transact begins anew once when the connection turns out to be dead: nothing
// was done on it.
func (p *Postgres) transact(ctx context.Context, run act) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if pgKindOf(err) == pgGone && ctx.Err() == nil {
		p.outdate()
		tx, err = p.db.BeginTx(ctx, nil)
	}
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := run(ctx, querier{cleaned{tx}, postgres{}}); err != nil {
		_ = tx.Rollback() // the server forgets what was not committed, whatever this says
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// read runs a query, once more when the connection turns out to be dead. Like
// an act it is finished when its caller goes away: to cut it off would cost the
// connection, and callers who go away come in crowds. A deadline of the caller
// holds.
func (p *Postgres) read(ctx context.Context, what string, run query) error {
	if err := p.usable(); err != nil {
		return failed(what, err)
	}
	if ctx.Err() != nil {
		return failed(what, fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx)))
	}
	wait := turnWait
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end))
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), wait, errWaited)
	defer cancel()
	err := run(ctx, p.pooled())
	if pgKindOf(err) == pgGone && ctx.Err() == nil {
		p.outdate()
		err = run(ctx, p.pooled())
	}
	return failed(what, p.note(ctx, err))
}

// maintain does nothing while another instance does the same.
func (p *Postgres) maintain(ctx context.Context, what string, run act) error {
	return p.act(ctx, what, pgMaintainWait, func(ctx context.Context, q querier) error {
		var mine bool
		if err := q.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1, 0)", int32(lockPurge)).Scan(&mine); err != nil || !mine {
			return err
		}
		return run(ctx, q)
	})
}

func (p *Postgres) pooled() querier { return querier{cleaned{p.db}, postgres{}} }

// outdate makes every connection that stands unfit for use: the server they
// lead to is gone or must not be written any more.
func (p *Postgres) outdate() { p.born.Add(1) }

// note tells the circuit what an error says about the server, and returns it.
func (p *Postgres) note(ctx context.Context, err error) error {
	switch pgKindOf(err) {
	case pgFine, pgAgain:
		p.circuit.Succeeded()
		return err
	case pgReadOnly:
		p.outdate()
		err = fmt.Errorf("%w: %w", ErrReadOnly, err)
	case pgGone:
		p.outdate()
	case pgOther:
		if ctx.Err() == nil {
			p.circuit.Succeeded()
			return err
		}
		err = errors.Join(context.Cause(ctx), err)
	}
	p.circuit.Failed(err)
	return err
}
