package circuit

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("down")

func TestOpensAfterFailuresInARowAndClosesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		var told []bool
		c := New(Options{Failures: 3, Every: 100 * time.Millisecond, Wait: time.Second,
			Probe: func(context.Context) error {
				if down.Load() {
					return errDown
				}
				return nil
			},
			Changed: func(open bool, _ error) { told = append(told, open) }})
		defer c.Close()
		c.Failed(errDown)
		c.Failed(errDown)
		c.Succeeded()
		c.Failed(errDown)
		c.Failed(errDown)
		if err := c.Allow(); err != nil {
			t.Fatal("open although an answer came between:", err)
		}
		c.Failed(errDown)
		c.Failed(errDown)
		if err := c.Allow(); !errors.Is(err, ErrOpen) {
			t.Fatal("three failures in a row, and", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if err := c.Allow(); !errors.Is(err, ErrOpen) {
			t.Fatal("closed although the probe fails")
		}
		down.Store(false)
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		if err := c.Allow(); err != nil {
			t.Fatal("still open:", err)
		}
		if len(told) != 2 || !told[0] || told[1] {
			t.Fatal("told", told)
		}
	})
}

// Probes that hang at a machine that is gone do not keep later ones from
// finding another.
func TestProbesThatHangHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		var waiting, most atomic.Int32
		hang.Store(true)
		c := New(Options{Failures: 1, Every: 100 * time.Millisecond, Wait: time.Second, Probes: 8, Probe: func(ctx context.Context) error {
			if !hang.Load() {
				return nil
			}
			most.Store(max(most.Load(), waiting.Add(1)))
			defer waiting.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}})
		defer c.Close()
		c.Failed(errDown)
		time.Sleep(10*time.Second + time.Millisecond)
		if most.Load() != 8 {
			t.Errorf("%d probes at the same time, want 8", most.Load())
		}
		hang.Store(false)
		time.Sleep(300 * time.Millisecond) // 8 in a second leave a gap of two ticks
		synctest.Wait()
		if err := c.Allow(); err != nil {
			t.Error("still open:", err)
		}
		if waiting.Load() != 0 {
			t.Errorf("%d probes go on", waiting.Load())
		}
	})
}

func TestCloseEndsAProbeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Failures: 1, Every: time.Millisecond, Wait: time.Hour, Probe: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		c.Failed(errDown)
		time.Sleep(time.Second)
		c.Close()
		c.Failed(errDown) // starts nothing any more
	})
}
