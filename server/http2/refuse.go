package http2

import (
	"net/http"
	"strconv"

	h2 "golang.org/x/net/http2"
)

// refuse answers what no handler is to see. The text is left out where the
// client takes none.
func (c *conn) refuse(st *stream, status int) {
	st.body.close()
	w := &st.w
	w.begin()
	defer w.release()
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	n := int64(len(text))
	whole := !w.head && n <= c.window && n <= st.window
	if whole {
		c.window -= n
		w.header["Content-Type"] = []string{"text/plain; charset=utf-8"}
		w.header["Content-Length"] = []string{strconv.Itoa(len(text))}
	}
	c.srv.Extra(status, w.header)
	w.encode(status, func(string) bool { return true })
	w.field("date", c.srv.date.Now())
	c.block(st.id, w.block.Bytes(), !whole)
	c.owed += w.block.Len()
	if whole {
		c.append(h2.FrameData, h2.FlagDataEndStream, st.id, []byte(text))
		c.owed += len(text)
	}
	st.answered, st.finished = true, true
	if st.ended {
		st.forget()
	} else {
		c.resetID(st.id, h2.ErrCodeNo)
	}
}
