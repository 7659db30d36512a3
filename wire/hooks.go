package wire

import "slices"

// Hooks are what a context runs when it ends. Usually there are one or two, for
// which nothing is allocated. They are not safe for concurrent use: the context
// has a lock. The zero value has none; it must not be copied once it has.
type Hooks struct {
	last int // number of the newest
	all  []hook
	room [2]hook
}

type hook struct {
	number int
	run    func()
}

// Add returns the number by which Remove knows f.
func (h *Hooks) Add(f func()) (number int) {
	if h.all == nil {
		h.all = h.room[:0]
	}
	h.last++
	h.all = append(h.all, hook{h.last, f})
	return h.last
}

// Remove reports whether it was there.
func (h *Hooks) Remove(number int) bool {
	at := slices.IndexFunc(h.all, func(one hook) bool { return one.number == number })
	if at < 0 {
		return false
	}
	h.all = slices.Delete(h.all, at, at+1)
	return true
}

// Run starts each in a goroutine of its own, and forgets them.
func (h *Hooks) Run() {
	for _, hook := range h.all {
		go hook.run()
	}
	h.all = nil
}
