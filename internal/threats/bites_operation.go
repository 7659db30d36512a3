package main

// T135 to T154.
var operationBites = []bite{
	{breaks: "the access line takes what a client wrote as it is",
		file: "server/accesslog.go", old: `for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f {`, new: `for i < len(s) && s[i] >= 0x20 && s[i] != 0x7f {`,
		tests: []string{"server TestT135_Printable", "server TestT135_T136_AccessLine", "e2e TestT135_OneRequestIsOneLine"}},
	{breaks: "the log shows characters that reorder text in a terminal",
		file: "server/logging.go", old: `if s := a.Value.String(); strings.`, new: `if s := a.Value.String(); false && strings.`,
		tests: []string{"e2e TestT135_OneRequestIsOneLine"}},
	{breaks: "the access line has the query",
		file: "server/accesslog.go", old: `r.URL.EscapedPath()`, new: `r.URL.RequestURI()`,
		tests: []string{"server TestT135_T136_AccessLine", "e2e TestT136_NoSecretInAnyLog"}},
	{breaks: "an event may name its own place in the chain",
		file: "server/audithandler.go", old: `case "time", "event", "prev", "hash":`, new: `case "time", "event":`,
		tests: []string{"server TestT137_AuditLine"}},
	{breaks: "a key that is replaced by itself is not audited",
		file: "authn/token/ring.go", old: `slog.String("kid", kid))
		r.rotated(ctx, kid)`, new: `slog.String("kid", kid))`,
		tests: []string{"authn TestT137_KeysThatRotateByThemselvesAreAudited"}},
	{breaks: "events do not say from where",
		file: "authn/service.go", old: `slog.String("ip", address(c.Address)), `, new: ``,
		tests: []string{"authn TestT137_EventsNameWhoAndWhere", "e2e TestT137_EverySecurityEventIsAudited"}},
	{breaks: "signing out is not audited",
		file: "authn/account.go", old: `s.audit(ctx, "logout", c, id.Subject, id.Session, "success")`, new: ``,
		tests: []string{"authn TestT137_EventsNameWhoAndWhere"}},
	{breaks: "a secret may be in a file that others read",
		file: "config/secret.go", old: `info.Mode().Perm()&0o007 != 0`, new: `info.Mode().Perm()&0o002 != 0`,
		tests: []string{"config TestT138_SecretFiles", "config TestT138_KeyFilesMustBeClosedToOthers", "e2e TestT138_BadSecretsRefuseTheStart"}},
	{breaks: "the digits of a key are counted, not its bytes",
		file: "config/secret.go", old: `if len(key) < minHMACKey {`, new: `if len(text) < minHMACKey {`,
		tests: []string{"config TestT138_GoodSecretsAreTaken"}},
	{breaks: "a sample secret is refused only when nothing is added to it",
		file: "config/secret.go", old: `strings.Contains(plain, sample)`, new: `plain == sample`,
		tests: []string{"config TestT138_BadSecretsAreRefused"}},
	{breaks: "a certificate's key may be read by others",
		file: "server/certfiles.go", old: `fi.Mode().Perm()&0o007 != 0`, new: `fi.Mode().Perm()&0o002 != 0`,
		tests: []string{"server TestT138_KeysOthersCanReadAreRefused"}},
	{breaks: "unknown keys are passed over",
		file: "config/decode.go", old: `d.unknown(name, value, known, path)`, new: `_ = known`,
		tests: []string{"config TestT139_NothingUnknownIsRead", "cmd/gatehouse TestT139_T152_NoMistakeMakesAConfigurationMorePermissive", "e2e TestT139_T141_T152_MutatedConfigurationsDoNotStart"}},
	{breaks: "of a key given twice the last counts",
		file: "config/decode.go", old: `	if first == nil {`, new: `	if first == nil || true {`,
		tests: []string{"config TestT139_NothingUnknownIsRead"}},
	{breaks: "routes are in force before they are checked",
		file: "proxy/proxy.go", old: `next, err := buildTable(cfg, p.deps.Assert != nil)`, new: `next, err := buildTable(cfg, p.deps.Assert != nil)
	p.state.Store(next)`,
		tests: []string{"proxy TestT140_ReloadIsWholeOrNothing"}},
	{breaks: "a reload takes the routes out before it reads the file",
		file: "cmd/gatehouse/wire.go", old: `next, err := config.Load(old.File, g.app.env)`, new: `_ = g.proxy.Load(&config.Config{})
	next, err := config.Load(old.File, g.app.env)`,
		tests: []string{"e2e TestT140_ABadReloadKeepsTheOldConfiguration"}},
	{breaks: "a route that says nothing of access is public",
		file: "config/route.go", old: `yaml:"access" default:"signed_in"`, new: `yaml:"access" default:"public"`,
		tests: []string{"e2e TestT139_T141_T152_MutatedConfigurationsDoNotStart"}},
	{breaks: "the public port answers with what is for the operator",
		file: "server/run.go", old: `v.one, v.two = s.http1Server(s), s.http2Server(s)`, new: `v.one, v.two = s.http1Server(s.adminHandler(&net.TCPAddr{})), s.http2Server(s)`,
		tests: []string{"server TestT142_AdminIsNotOnThePublicPort"}},
	{breaks: "the admin listener answers to any name",
		file: "server/admin.go", old: `!ok || (!isIP && host != "localhost")`, new: `!ok || (!isIP && host == "")`,
		tests: []string{"server TestT142_AdminIsNotOnThePublicPort", "e2e TestT142_AdminIsElsewhere"}},
	{breaks: "userinfo repeats the token",
		file: "authn/http_account.go", old: `userOf(id))
	return nil
}

// sessionAnswer`, new: `struct {
		userAnswer
		Token string
	}{userOf(id), r.Header.Get("Authorization")})
	return nil
}

// sessionAnswer`,
		tests: []string{"authn TestT143_UserinfoTellsNoToken"}},
	{breaks: "answers of our own may be stored",
		file: "web/headers.go", old: `h.Set("Cache-Control", "no-store")`, new: ``,
		tests: []string{"web TestT144_T145_T146_HeadersOfEveryAnswer", "e2e TestT120_T144_T145_HeadersOfEveryAnswer", "e2e TestT144_AnswersToSignedInUsersAreNotForSharedCaches"}},
	{breaks: "what an app answers to a user is not marked private",
		file: "proxy/headers_out.go", old: `if signedIn && len(`, new: `if !signedIn && len(`,
		tests: []string{"proxy TestT062_T064_T144_ResponseHeaders"}},
	{breaks: "a renewal rides on an answer that everybody may keep",
		file: "proxy/headers_out.go", old: `dst["Cache-Control"] = []string{"no-store"}`, new: ``,
		tests: []string{"proxy TestT144_ARenewalIsNeverCached"}},
	{breaks: "answers say what they were made with",
		file: "web/headers.go", old: `h.Set("X-Frame-Options", "DENY")`, new: `h.Set("X-Frame-Options", "DENY")
	h.Set("Server", "gatehouse")`,
		tests: []string{"web TestT144_T145_T146_HeadersOfEveryAnswer", "server TestT145_NothingAboutTheStack"}},
	{breaks: "the cause of a failure is shown",
		file: "web/fail.go", old: `	if full.Detail == "" {`, new: `	if full.Cause != nil {
		full.Detail = full.Cause.Error()
	}
	if full.Detail == "" {`,
		tests: []string{"web TestT144_T145_T146_HeadersOfEveryAnswer", "e2e TestT120_T144_T145_HeadersOfEveryAnswer", "e2e TestT153_FailuresAreAnsweredHere"}},
	{breaks: "a 401 names no scheme",
		file: "web/fail.go", old: `&& len(full.Challenges) == 0 {`, new: `&& len(full.Challenges) > 0 {`,
		tests: []string{"web TestT144_T145_T146_HeadersOfEveryAnswer", "e2e TestT146_ThreeAnswersNeverMix"}},
	{breaks: "a failure does not say which request it was",
		file: "web/fail.go", old: `Code: e.Code, RequestID: RecordOf(w).ID, `, new: `Code: e.Code, `,
		tests: []string{"server TestT145_NothingAboutTheStack"}},
	{breaks: "who is not allowed is asked to sign in",
		file: "proxy/serve.go", old: `Status: http.StatusForbidden, Code: "forbidden"`, new: `Status: http.StatusUnauthorized, Code: "forbidden"`,
		tests: []string{"e2e TestT146_ThreeAnswersNeverMix"}},
	{breaks: "renewals of different sessions share one answer",
		file: "authn/refresh.go", old: `s.renewing.Do(string(hash[:]), func()`, new: `s.renewing.Do(string(hash[:0]), func()`,
		tests: []string{"authn TestT147_CancelledRequestsMixNobodyUp"}},
	{breaks: "a look-up that was cut off found somebody",
		file: "store/sqlstore/users.go", old: `	if err != nil {
		return store.User{}, err
	}
	return found, nil`, new: `	if err != nil && ctx.Err() == nil {
		return store.User{}, err
	}
	return found, nil`,
		tests: []string{"authn TestT147_CancelledRequestsMixNobodyUp"}},
	{breaks: "a token has the identity of another in its part of the cache",
		file: "authn/token/cache.go", old: `	s.mu.RUnlock()
	if e == nil || e.token != token {`, new: `	for _, e = range s.entries {
	}
	s.mu.RUnlock()
	if e == nil {`,
		tests: []string{"authn TestT148_CachedIdentitiesAreNotConfused"}},
	{breaks: "the headers of one user are kept for the next",
		file: "proxy/scratch.go", old: `slot := &f.identities[maphash.Comparable(f.seed, id)%uint64(len(f.identities))]
	if t := slot.Load(); t != nil && t.id == id && t`, new: `slot := &f.identities[0]
	if t := slot.Load(); t != nil && t`,
		tests: []string{"e2e TestT149_NobodyBecomesSomebodyElse", "e2e TestT149_FG7_FN1_ClientsThatLeaveLeakNothingAndMixNothing"}},
	{breaks: "the program is built by a Go with known faults",
		file: "cmd/gatehouse/version.go", old: `v, c, runtime.Version(), `, new: `v, c, "go1.26.5", `,
		tests: []string{"e2e TestT126_T150_BuiltByACurrentGo"}},
	{breaks: "a token that nobody signed is believed",
		file: "authn/token/verify.go", old: `if !k.proves(p) {`, new: `if !k.proves(p) && false {`,
		tests: []string{"authn TestT151_BrokenCredentialsNameNobody", "e2e TestT151_BrokenCredentialsReachNobody"}},
	{breaks: "a rate of none is taken",
		file: "config/scalar.go", old: `case n < 1:`, new: `case n < 0:`,
		tests: []string{"config TestT152_NumbersDoNotSwitchControlsOff", "cmd/gatehouse TestT139_T152_NoMistakeMakesAConfigurationMorePermissive", "e2e TestT139_T141_T152_MutatedConfigurationsDoNotStart"}},
	{breaks: "numbers have no lower bound",
		file: "config/scalar.go", old: `(n < least || n > most)`, new: `(n < least && n > most)`,
		tests: []string{"config TestT152_NumbersDoNotSwitchControlsOff"}},
	{breaks: "when an app fails, the next one gets the request",
		file: "proxy/forward.go", old: `resp, addr, err := x.rt.backend.RoundTrip(run, out)`, new: `resp, addr, err := x.rt.backend.RoundTrip(run, out)
	for i := 0; err != nil && i < len(x.t.routes); i++ {
		resp, addr, err = x.t.routes[i].backend.RoundTrip(run, out)
	}`,
		tests: []string{"e2e TestT153_FailuresAreAnsweredHere"}},
	{breaks: "a deleted account leaves its tokens and sessions",
		file: "store/sqlstore/users.go", old: `store.UserChange{Revoke: true, EndSessions: true, `, new: `store.UserChange{`,
		tests: []string{"authn TestT154_TheSameAddressAgainIsSomebodyNew"}},
	{breaks: "an account is known by its address",
		file: "authn/service.go", old: `Subject: u.ID, Email:`, new: `Subject: u.EmailKey, Email:`,
		tests: []string{"e2e TestT154_AnAddressAgainIsSomebodyNew"}},
}
