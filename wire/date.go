package wire

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Date is the value of an answer's Date field (RFC 9110 section 6.6.1), made
// once a second. It is safe for concurrent use; the zero value is ready.
type Date struct{ made atomic.Pointer[dated] }

type dated struct {
	second int64
	text   string
}

// Now returns the current one.
func (d *Date) Now() string {
	now := time.Now()
	if last := d.made.Load(); last != nil && last.second == now.Unix() {
		return last.text
	}
	made := &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
	d.made.Store(made)
	return made.text
}
