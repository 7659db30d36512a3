package http2

import (
	"time"

	h2 "golang.org/x/net/http2"
)

// look is called now and then: it ends what makes no progress.
func (c *conn) look() {
	now := c.srv.clock.Load()
	if since := c.since.Load(); since != 0 && now-since > c.may.Load() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // who reads hears of it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	for _, st := range c.streams {
		st.overdue(now)
	}
	if c.leaving != 0 && now-c.leaving > int64(oneTrip) {
		c.stopListening()
	}
	switch {
	case len(c.streams) == 0:
		if now-c.idle > int64(c.srv.Idle) {
			c.startLeaving()
		}
	case c.asked != 0:
		if now-c.asked > int64(c.srv.Answer) {
			c.lost(errGone)
		}
	case now-c.heard.Load() > int64(c.srv.Silence):
		c.asked = now
		c.append(h2.FramePing, 0, 0, make([]byte, 8))
	}
	c.flushLater()
}

// rested notes since when nothing is asked of us.
func (c *conn) rested() {
	if len(c.streams) > 0 {
		return
	}
	c.idle = c.srv.clock.Load()
	c.endIfLeft()
}

// farewellPing is sent with the news that we go; when it is answered, the client
// has heard them.
var farewellPing = [8]byte{'g', 'o', 'o', 'd', 'b', 'y', 'e'}

// leave tells the client to go elsewhere. What it asked for meanwhile is
// served.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startLeaving()
	c.flushLater()
}

func (c *conn) startLeaving() {
	if c.leaving != 0 || c.farewell {
		return
	}
	c.leaving = c.srv.clock.Load()
	c.append32(h2.FrameGoAway, 0, windowMost, int64(h2.ErrCodeNo)) // the highest stream there can be
	c.append(h2.FramePing, 0, 0, farewellPing[:])
}

// stopListening serves no stream that begins from now on.
func (c *conn) stopListening() {
	if c.leaving == 0 || c.deaf {
		return
	}
	c.deaf, c.lastly = true, c.last
	c.append32(h2.FrameGoAway, 0, int64(c.last), int64(h2.ErrCodeNo))
	c.endIfLeft()
}

// newest is the newest stream that was looked at, which only becomes less once
// the client has heard of it (RFC 9113 section 6.8).
func (c *conn) newest() uint32 {
	if c.deaf {
		return c.lastly
	}
	return c.last
}

// endIfLeft ends a connection on which nothing follows: the client closes it, or
// we do in a while.
func (c *conn) endIfLeft() {
	if c.deaf && !c.ending && len(c.streams) == 0 && c.out == nil && !c.sending {
		c.ending = true
		_ = c.nc.SetReadDeadline(time.Now().Add(lingering)) // who reads hears of it
	}
}
