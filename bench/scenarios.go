package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// scenario is one kind of work.
type scenario struct {
	name, what string
	run        func(*rig, *result) error
}

var (
	errAbsent = errors.New("a program is missing")
	errSilent = errors.New("no answer")
)

// Everybody who is compared on the plainest work.
func everybody() []string {
	return []string{"gatehouse", "nginx", "nginx auth HS256", "nginx auth ES256", "haproxy", "haproxy jwt HS256", "haproxy jwt ES256",
		"caddy", "caddy forward_auth", "go-plain", "go-tuned", "oauth2-proxy", "oauth2-proxy redis"}
}

func scenarios() []scenario {
	return []scenario{
		{"h1-1k", "GET of 1 KiB, HTTP/1.1 keep-alive, 64 connections", compare(everybody(), load{path: "/1k", conns: 64})},
		{"h2-1k", "GET of 1 KiB, HTTP/2, 16 connections with 4 streams each",
			compare([]string{"gatehouse", "nginx", "nginx auth HS256", "haproxy", "haproxy jwt HS256", "caddy", "caddy forward_auth", "go-tuned"}, load{path: "/1k", http2: true, conns: 16, streams: 4})},
		{"h1-64k", "GET of 64 KiB", compare([]string{"gatehouse", "nginx", "haproxy", "caddy", "go-tuned"}, load{path: "/64k", conns: 64})},
		{"h1-up", "POST of 1 MiB", compare([]string{"gatehouse", "nginx", "haproxy", "caddy"}, load{path: "/up", conns: 16, script: uploadScript()})},
		{"h1-conn", "a new TLS connection for each GET of 1 KiB", compare([]string{"gatehouse", "nginx", "haproxy", "caddy", "go-bare"}, load{path: "/1k", conns: 64, headers: []string{"Connection: close"}})},
		{"h1-one", "GET of 1 KiB on a single connection", compare([]string{"gatehouse", "nginx", "haproxy", "caddy"}, load{path: "/1k", conns: 1})},
		{"h1-many", "10,000 tokens of 10,000 users against one token", manyTokens},
		{"tax", "a protected route against a public one of the same process", tax},
		{"log", "access log on against off", accessLog},
		{"routes", "1, 100 and 1,000 routes", routes},
		{"login-flood", "proxied requests while 500 clients sign in", loginFlood},
		{"idle", "memory of an idle TLS connection", idle},
		{"revoked", "1,000,000 live revocations and 1,000,000 users", revocations},
		{"start", "from exec to ready, empty", startToReady},
		{"gate", "Go benchmark of the gate: cache hit and revocation check", gateBenchmark},
	}
}

// arm is one side of a comparison.
type arm struct {
	label string
	peer  *peer
	load  load
}

// compare measures peers on one load.
func compare(names []string, l load) func(*rig, *result) error {
	return func(r *rig, res *result) error {
		var arms []arm
		for _, name := range names {
			p, err := r.start(name)
			if errors.Is(err, errAbsent) {
				progress("  %v", err)
				continue
			}
			if err != nil {
				return err
			}
			arms = append(arms, arm{name, p, l})
		}
		return r.interleave(res, arms)
	}
}

// interleave measures every arm once a round, forwards and backwards in turn,
// after a short warm-up.
func (r *rig) interleave(res *result, arms []arm) error {
	for _, a := range arms {
		a.load.duration = time.Second
		if _, err := r.drive(a.peer, a.load); err != nil && !errors.Is(err, errSilent) {
			return err
		}
	}
	for round := range r.o.rounds {
		for i := range arms {
			a := arms[i]
			if round%2 == 1 {
				a = arms[len(arms)-1-i]
			}
			a.load.duration = r.o.duration
			s, err := r.drive(a.peer, a.load)
			if errors.Is(err, errSilent) { // a busy machine may not get through the handshakes in time
				a.load.duration *= 3
				s, err = r.drive(a.peer, a.load)
			}
			if err != nil {
				return err
			}
			res.add(a.label, s)
			progress("  round %d  %-20s %8.0f/s  cpu %6.2f s/100k  p99 %7.2f ms  errors %d  wrong %d", round+1, a.label, s.Rate, s.CPU, s.P99, s.Errors, s.Wrong)
		}
	}
	return nil
}

func manyTokens(r *rig, res *result) error {
	g, err := r.gate(gateOptions{})
	if err != nil {
		return err
	}
	tokens, err := g.mint(r.ctx, 10000)
	if err != nil {
		return err
	}
	g.token = tokens[0].text
	if err := present(g.peer, tokens); err != nil {
		return err
	}
	return r.interleave(res, []arm{
		{"1 token", g.peer, load{path: "/1k", conns: 64, script: tokensScript(tokens[:1])}},
		{"10000 tokens", g.peer, load{path: "/1k", conns: 64, script: tokensScript(tokens)}},
	})
}

// present shows every token once: what is compared is tokens that are known.
func present(p *peer, tokens []minted) error {
	c := client(false)
	defer c.CloseIdleConnections()
	next := make(chan minted)
	var refused atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for t := range next {
				of := peer{addr: p.addr, token: t.text}
				if !fetch(c, &of, "/1k") {
					refused.Add(1)
				}
			}
		})
	}
	for _, t := range tokens {
		next <- t
	}
	close(next)
	wg.Wait()
	if n := refused.Load(); n > 0 {
		return fmt.Errorf("%d of %d good tokens were refused", n, len(tokens))
	}
	return nil
}

// tax compares three requests of as many bytes: with the token on a protected
// route, with the token on a public one, where it is still recognised and the
// app is told, and with the same bytes under a name that means nothing.
func tax(r *rig, res *result) error {
	p, err := r.start("gatehouse")
	if err != nil {
		return err
	}
	bare := *p
	bare.token, bare.guards, bare.open = "", false, "/public/1k"
	return r.interleave(res, []arm{
		{"protected", p, load{path: "/1k", conns: 64}},
		{"public", p, load{path: "/public/1k", conns: 64}},
		{"public, no credential", &bare, load{path: "/public/1k", conns: 64, headers: []string{"X-Applications: Bearer " + p.token}}},
	})
}

func accessLog(r *rig, res *result) error {
	var arms []arm
	for _, on := range []bool{false, true} {
		label := map[bool]string{false: "off", true: "on"}[on]
		p, err := r.gatePeer(gateOptions{name: "gatehouse log " + label, access: on})
		if err != nil {
			return err
		}
		arms = append(arms, arm{label, p, load{path: "/1k", conns: 64}})
	}
	return r.interleave(res, arms)
}

func routes(r *rig, res *result) error {
	var arms []arm
	for _, n := range []int{1, 100, 1000} {
		p, err := r.gatePeer(gateOptions{name: fmt.Sprintf("gatehouse routes %d", n), routes: n})
		if err != nil {
			return err
		}
		arms = append(arms, arm{fmt.Sprint(n), p, load{path: fmt.Sprintf("/r%d/1k", n/2), conns: 64}})
	}
	return r.interleave(res, arms)
}
