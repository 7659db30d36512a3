package e2e

import (
	"sync"
	"time"
)

// paced are acts that are repeated until halt.
type paced struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// every repeats an act; one that takes longer delays the next.
func (p *paced) every(d time.Duration, once func()) {
	p.wg.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				once()
			}
		}
	})
}

// halt returns when the last act is over.
func (p *paced) halt() {
	close(p.stop)
	p.wg.Wait()
}
