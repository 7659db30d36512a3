package main

// The tests that are named after faults.
var faultBites = []bite{
	{breaks: "a place among the connections is never given back",
		file: "server/conns.go", old: `			c.table.open.Add(-1)`, new: ``,
		tests: []string{"e2e TestFG5_ShedsWhenFilesRunOut"}},
	{breaks: "a password is hashed in 256 MiB",
		file: "authn/password/work.go", old: `memoryKiB = 19 * 1024`, new: `memoryKiB = 256 * 1024`,
		tests: []string{"e2e TestFG5_LittleMemoryAndOneProcessor"}},
	{breaks: "a place in the route's cap is never given back",
		file: "proxy/forward.go", old: `defer x.rt.inFlight.Add(-1)`, new: ``,
		tests: []string{"proxy TestFG6_PanicLeavesNothingBehind", "e2e TestFU3_MaxInFlightIsA503AndOtherRoutesGoOn"}},
	{breaks: "an exchange that is over stays in the registry",
		file: "proxy/copy.go", old: `{ r.x.p.streams.done(&r.stream) }`, new: `{}`,
		tests: []string{"proxy TestFG6_PanicLeavesNothingBehind"}},
	{breaks: "a connection that was cut off stays open to the app",
		file: "proxy/upstream/answer.go", old: `		return
	}
	x.conn.close()`, new: `		return
	}`,
		tests: []string{"e2e TestT149_FG7_FN1_ClientsThatLeaveLeakNothingAndMixNothing"}},
	{breaks: "an address that cannot be reached is tried by every request",
		file: "proxy/upstream/group.go", old: `g.failed(a)`, new: ``,
		tests: []string{"proxy/upstream TestFU1_ADeadAddressIsSetAsideAndTriedOneRequestAtATime", "e2e TestFU1_ADeafAppIsSetAsideAndFoundAgain"}},
	{breaks: "an address that was set aside is never tried again",
		file: "proxy/upstream/balance.go", old: `return at == 0 || at <= now.UnixNano() &&`, new: `return at == 0 || at < 0 && at <= now.UnixNano() &&`,
		tests: []string{"proxy/upstream TestFU1_ADeadAddressIsSetAsideAndTriedOneRequestAtATime", "proxy/upstream TestFU1_RefusedFailsAndRecoversOnARealSocket"}},
	{breaks: "a certificate nobody trusts is an answer that broke",
		file: "proxy/upstream/dial.go", old: `			return nil, connectError(ctx, err)
		}
		c = t`, new: `			return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		c = t`,
		tests: []string{"proxy/upstream TestFU1_BadTLSIsAFailedConnect"}},
	{breaks: "an app that cannot be reached is a gateway's own fault",
		file: "proxy/group.go", old: `Status: http.StatusBadGateway, Code: "upstream_unreachable"`, new: `Status: http.StatusInternalServerError, Code: "upstream_unreachable"`,
		tests: []string{"e2e TestFU1_AnAppThatCannotBeReachedIsABadGatewayAtOnce"}},
	{breaks: "silence is an answer that broke",
		file: "proxy/upstream/exchange.go", old: `errors.As(err, &timeout) && timeout.Timeout()`, new: `errors.As(err, &timeout) && !timeout.Timeout()`,
		tests: []string{"proxy/upstream TestFU2_SilenceIsATimeout", "e2e TestFU2_ASilentAppIsAGatewayTimeout"}},
	{breaks: "the head's deadline goes on for the body",
		file: "proxy/upstream/answer.go", old: `	x.conn.headArrived()
	// An`, new: `	// An`,
		tests: []string{"proxy/upstream TestFU4_AnEarlyAnswerOutlivesTheHeadsDeadline", "e2e TestFU2_ASlowAppIsFineAndAResetOneIsCut"}},
	{breaks: "an upload is sent whole before its answer is read",
		file: "proxy/upstream/exchange.go", old: `		go x.writeBody()`, new: `		if x.writeBody(); x.sendErr != nil {
			return nil, x.failure("send request", x.sendErr)
		}`,
		tests: []string{"proxy/upstream TestFU4_AnAnswerThatComesInsteadOfReadingArrives"}},
	{breaks: "an answer that does not wait for the whole upload is a broken one",
		file: "proxy/forward.go", old: `	x.answer(resp, run)
	return nil`, new: `	if x.unread() {
		return upstreamError(errors.New("too early"))
	}
	x.answer(resp, run)
	return nil`,
		tests: []string{"e2e TestFU4_AnEarlyAnswerArrivesAndTheRestIsNoRequest"}},
	{breaks: "an early answer ends the connection of all streams",
		file: "proxy/body.go", old: `if x.r.ProtoMajor == 1 && x.unread() {`, new: `if x.unread() {`,
		tests: []string{"e2e TestFU4_AnEarlyAnswerEndsTheStreamAlone"}},
	{breaks: "revocations are forgotten on the day of a wrong clock",
		file: "authn/service.go", old: `24*time.Hour + 15*time.Minute + 30*time.Second`, new: `15*time.Minute + 30*time.Second`,
		tests: []string{"authn TestFC1_ClockJumpsReviveNothing"}},
	{breaks: "a clock that is behind is fine",
		file: "cmd/gatehouse/cluster.go", old: `c.skew.Store(int64(skew)); skew.Abs() > maxSkew`, new: `c.skew.Store(int64(skew)); skew > maxSkew`,
		tests: []string{"cmd/gatehouse TestFC2_ClockIsComparedWithRedis"}},
	{breaks: "a pool that cannot connect is waited for",
		file: "store/redisstore/client.go", old: `if err == nil || errors.As(err, &answer) || ctx.Err() != nil {`, new: `if true || errors.As(err, &answer) {`,
		tests: []string{"store/redisstore TestFR1_FirstProbeFindsRedisAgain"}},
	{breaks: "a Redis that answers nothing is waited for",
		file: "store/redisstore/client.go", old: `= 120 * time.Millisecond`, new: `= 1200 * time.Millisecond`,
		tests: []string{"store/redisstore TestFR2_NobodyWaitsForRedis"}},
	{breaks: "an instance alone grants the whole limit",
		file: "store/redisstore/fallback.go", old: `max(c.Count/n, 1)`, new: `max(c.Count, n)`,
		tests: []string{"store/redisstore TestFR2_NobodyWaitsForRedis"}},
	{breaks: "a full Redis is counted as anything",
		file: "store/redisstore/errors.go", old: `"OOM": kindFull, `, new: ``,
		tests: []string{"store/redisstore TestFR3_EveryRefusalIsUnavailable"}},
	{breaks: "a gap in the listening is not told",
		file: "store/redisstore/bell.go", old: `missed()`, new: `_ = missed`,
		tests: []string{"store/redisstore TestFR4_BellSurvivesFlushAndRestart"}},
	{breaks: "a Redis that evicts is fine",
		file: "store/redisstore/check.go", old: `policy != "noeviction"`, new: `policy == "volatile-lru"`,
		tests: []string{"store/redisstore TestFR5_EvictionIsReported"}},
	{breaks: "what the list lost stays lost",
		file: "authn/revoked/poll.go", old: `if len(lost) == 0 {`, new: `if len(lost) >= 0 {`,
		tests: []string{"authn/revoked TestFR6_LostEntriesAreWrittenAgain"}},
	{breaks: "a list of an hour ago vouches for everybody",
		file: "authn/revoked/mirror.go", old: `return m.Age() > staleAt`, new: `return m.Age() > time.Hour`,
		tests: []string{"e2e TestFR7_OneInstanceIsCutOff"}},
	{breaks: "any certificate is that of Redis",
		file: "store/redisstore/client.go", old: `cfg := secure.Clone()`, new: `cfg := secure.Clone()
		cfg.InsecureSkipVerify = true`,
		tests: []string{"e2e TestFR8_RedisOverTLS"}},
	{breaks: "without Redis nothing that is limited goes on",
		file: "store/redisstore/fallback.go", old: `return s.local.Take(ctx, now, s.share(claims)...)`, new: `return store.Decision{Refused: -1}, err`,
		tests: []string{"e2e TestFR_RedisMayDie"}},
	{breaks: "of the list only the entries of users are taken",
		file: "authn/revoked/poll.go", old: `if int(e.Kind) >= len(m.lists) ||`, new: `if e.Kind != store.KindUser ||`,
		tests: []string{"e2e TestFM1_RevocationReachesAllInstances"}},
}
