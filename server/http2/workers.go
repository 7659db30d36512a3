package http2

import "sync"

// workers are goroutines that serve streams one after another, so that each
// finds a stack that has grown already. The zero value has none. It is safe for
// concurrent use.
type workers struct {
	mu   sync.Mutex
	idle []*worker // the one that was busy last is last
	low  int       // least that were idle since somebody looked
	over bool
}

type worker struct{ next chan *stream }

// maxIdle is how many goroutines wait for work at most.
const maxIdle = 256

// serve has a stream served by somebody who is idle, or somebody new.
func (p *workers) serve(st *stream) {
	p.mu.Lock()
	n := len(p.idle) - 1
	if n < 0 {
		p.mu.Unlock()
		w := &worker{next: make(chan *stream, 1)}
		go p.work(w, st)
		return
	}
	w := p.idle[n]
	p.idle[n] = nil
	p.idle = p.idle[:n]
	p.low = min(p.low, n)
	p.mu.Unlock()
	w.next <- st
}

func (p *workers) work(w *worker, st *stream) {
	for st != nil {
		st.serve()
		if !p.rest(w) {
			return
		}
		st = <-w.next
	}
}

// rest reports whether the worker is to wait for more.
func (p *workers) rest(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

// age ends half of those that nobody needed since it was called last.
func (p *workers) age() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end((p.low + 1) / 2)
	p.low = len(p.idle)
}

// trim ends all who are idle, now and from now on.
func (p *workers) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.end(len(p.idle))
}

// end ends those that were idle for longest.
func (p *workers) end(n int) {
	for _, w := range p.idle[:n] {
		w.next <- nil
	}
	rest := copy(p.idle, p.idle[n:])
	clear(p.idle[rest:])
	p.idle = p.idle[:rest]
}
