package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// checker asks a peer now and then while the load runs, and looks at every byte
// of the answers: a fast wrong answer is no result.
type checker struct {
	p      *peer
	client *http.Client
	quit   chan struct{}
	wg     sync.WaitGroup

	asked, wrong int64
	first        string
}

func newChecker(p *peer) *checker {
	return &checker{p: p, client: client(false), quit: make(chan struct{})}
}

func (c *checker) start() {
	c.wg.Go(func() {
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-c.quit:
				return
			case <-tick.C:
				c.round()
			}
		}
	})
}

func (c *checker) stop() (asked, wrong int64, first string) {
	close(c.quit)
	c.wg.Wait()
	c.client.CloseIdleConnections()
	return c.asked, c.wrong, c.first
}

// round asks for what must be answered and for what must be refused.
func (c *checker) round() {
	good := c.p.header()
	c.expect(cmp.Or(c.p.open, "/1k"), good, http.StatusOK, filler(small))
	if !c.p.guards {
		return
	}
	c.expect("/1k", nil, 0, "")
	if len(good) > 0 && c.p.cookie == "" {
		bad := []byte(good[0])
		at := len(bad) - 10 // inside the signature
		bad[at] ^= 1
		if bad[at] == '=' || bad[at] == '.' {
			bad[at] = 'A'
		}
		c.expect("/1k", []string{string(bad)}, 0, "")
	}
	if c.p.names && c.p.name == "gatehouse" {
		c.expect("/whoami", append([]string{"X-Forwarded-User: root"}, good...), http.StatusOK, fmt.Sprintf("u%021d", 0))
	}
}

// expect counts one answer; status 0 means any refusal.
func (c *checker) expect(path string, headers []string, status int, body string) {
	c.asked++
	req, err := http.NewRequest(http.MethodGet, "https://"+c.p.addr+path, nil)
	if err != nil {
		c.blame("%s: %v", path, err)
		return
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.blame("%s: %v", path, err)
		return
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	text, err := io.ReadAll(resp.Body)
	switch refused := resp.StatusCode == 302 || resp.StatusCode >= 400 && resp.StatusCode <= 403; {
	case err != nil:
		c.blame("%s: %v", path, err)
	case status == 0 && !refused:
		c.blame("%s was let through with %d", path, resp.StatusCode)
	case status != 0 && (resp.StatusCode != status || string(text) != body):
		c.blame("%s: %d with %d bytes", path, resp.StatusCode, len(text))
	}
}

func (c *checker) blame(format string, args ...any) {
	c.wrong++
	if c.first == "" {
		c.first = fmt.Sprintf(format, args...)
	}
}
