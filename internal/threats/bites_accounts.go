package main

// T98 to T117.
var accountBites = []bite{
	{
		breaks: "each instance counts failed sign-ins under keys of its own",
		file:   "authn/limits.go", old: `account+"|"+network(c.Address)`, new: `fmt.Sprintf("%p|", s)+account+"|"+network(c.Address)`,
		tests: []string{"authn TestT098_InstancesCountTogether"},
	},
	{
		breaks: "each instance counts alone, although there is a Redis",
		file:   "store/redisstore/fallback.go", old: `d, err := s.redis.Take(ctx, now, claims...)`, new: `d, err := s.local.Take(ctx, now, claims...)`,
		tests: []string{"store/redisstore TestT098_ThreeInstancesCountTogether", "e2e TestT098_WrongPasswordsAreCountedTogether"},
	},
	{
		breaks: "a start forgets all limits",
		file:   "store/sqlstore/open.go", old: `return s.settleCopy(ctx, q)`, new: `if _, err := q.ExecContext(ctx, "DELETE FROM limits"); err != nil {
			return err
		}
		return s.settleCopy(ctx, q)`,
		tests: []string{"store/sqlstore TestT099_LimitsSurviveRestart", "authn TestT099_ARestartForgetsNoLimit", "e2e TestT099_LimitsSurviveKill9"},
	},
	{
		breaks: "clearing up removes the limits that limit somebody",
		file:   "store/sqlstore/limiter.go", old: `DELETE FROM limits WHERE tat <= $1`, new: `DELETE FROM limits WHERE tat >= $1`,
		tests: []string{"authn TestT100_NobodyIsForgottenUnderAFlood"},
	},
	{
		breaks: "a full limiter in memory forgets first the key that limits most",
		file:   "store/memlimit/memlimit.go", old: `h[i].tat < h[j].tat`, new: `h[i].tat > h[j].tat`,
		tests: []string{"store/memlimit TestT100_FloodDoesNotEvictTheFullKey"},
	},
	{
		breaks: "a table of addresses that is full starts over, and is full soon",
		file:   "proxy/limits.go", old: `if len(b.byKey) >= maxBuckets {
			b.forgetOne(now)`, new: `if len(b.byKey) >= 1000 {
			b.byKey, b.calm, b.refused = map[K]*list.Element{}, list.New(), list.New()`,
		tests: []string{"proxy TestT100_AFloodOfAddressesFreesNobodyWhoIsLimited", "e2e TestT100_AddressFloodFreesNobody"},
	},
	{
		breaks: "whoever was refused is forgotten first",
		file:   "proxy/limits.go", old: `if e == nil || b.calm.Len() > 0 && e.Value.(*bucket[K]).limiter.TokensAt(now) < float64(b.rate.Count) {`, new: `if e == nil {`,
		tests: []string{"proxy TestT100_AFloodOfAddressesFreesNobodyWhoIsLimited"},
	},
	{
		breaks: "sign-ins are limited by whole IPv6 address",
		file:   "authn/limits.go", old: `a.Prefix(64)`, new: `a.Prefix(128)`,
		tests: []string{"authn TestT101_OneHostIsOneNetwork"},
	},
	{
		breaks: "sign-ins are not limited by the wider network",
		file:   "authn/limits.go", old: `if net, ok := wider(c.Address); ok {`, new: `if net, ok := wider(c.Address); false && ok {`,
		tests: []string{"authn TestT101_AWiderNetworkHasEightTimesTheLimit"},
	},
	{
		breaks: "requests are limited by whole IPv6 address",
		file:   "proxy/limits.go", old: `l.ip.take(prefix(a, 64), now)`, new: `l.ip.take(a, now)`,
		tests: []string{"proxy TestT101_RequestsAreLimitedByNetwork"},
	},
	{
		breaks: "requests are not limited by the wider network",
		file:   "proxy/limits.go", old: `l.wide.take(prefix(a, 48), now)`, new: `0`,
		tests: []string{"proxy TestT101_RequestsAreLimitedByNetwork"},
	},
	{
		breaks: "registrations share the limit of sign-ins",
		file:   "authn/register.go", old: `networkClaims("register_ip", c, s.cfg.Load().Limits.RegisterIP)`, new: `networkClaims("login_ip", c, s.cfg.Load().Limits.LoginIP)`,
		tests: []string{"authn TestT102_RegistrationsAreLimited", "e2e TestT102_RegistrationsAreLimitedAcrossRestarts"},
	},
	{
		breaks: "a session may be refreshed as often as one likes",
		file:   "authn/refresh.go", old: `[]store.Claim{s.refreshClaim(spent.Selector())}`, new: `nil`,
		tests: []string{"authn TestT102_RefreshesAreLimited"},
	},
	{
		breaks: "sign-ins are counted by the address as it was typed",
		file:   "authn/login.go", old: `s.loginClaims(key, c)`, new: `s.loginClaims(email, c)`,
		tests: []string{"authn TestT103_EverySpellingIsOneAccount", "e2e TestT103_T117_OneCounterForEverySpellingAndDoor"},
	},
	{
		breaks: "letter case makes another account",
		file:   "authn/email.go", old: `key = fold(local)`, new: `key = local`,
		tests: []string{"authn TestT103_EverySpellingIsOneAccount"},
	},
	{
		breaks: "a hash that is old, or none at all, is judged without the work of today's",
		file:   "authn/password/work.go", old: `if !current {`, new: `if false && !current {`,
		tests: []string{"authn/password TestT104_SameWorkWhoeverIsAsked"},
	},
	{
		breaks: "no password is looked at where there is no account",
		file:   "authn/login.go", old: `err = s.Hasher.VerifyNone(ctx, pass)`, new: `err = nil`,
		tests: []string{"authn TestT104_EveryKindOfAccountCostsTheWork"},
	},
	{
		breaks: "a check takes over the verdict of another one of the same password",
		file:   "authn/password/hasher.go", old: `func (h *Hasher) VerifyNone(ctx context.Context, password string) error {`, new: `var last atomic.Value

func (h *Hasher) VerifyNone(ctx context.Context, password string) error {
		if last.Swap(password) == any(password) {
			return nil
		}`,
		tests: []string{"authn/password TestT105_NoCheckIsSharedByTwo"},
	},
	{
		breaks: "a disabled account is told apart",
		file:   "authn/login.go", old: `if err != nil || u.Disabled || u.PasswordHash == "" {`, new: `if u.Disabled {
		return u, false, &web.Error{Status: 403, Code: "disabled", Detail: "This account is disabled."}
	}
	if err != nil || u.PasswordHash == "" {`,
		tests: []string{"authn TestT106_SignInAnswersTellNothing", "e2e TestT106_T107_AnswersTellNothingAboutAccounts", "e2e TestT104_TimesTellNothingAboutAccounts"},
	},
	{
		breaks: "a token that never was is told from one that is over",
		file:   "authn/refresh.go", old: `case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded):`, new: `case errors.Is(err, store.ErrNotFound):
		return nil, unauthorized(err)
	case errors.Is(err, store.ErrEnded):`,
		tests: []string{"authn TestT106_RefreshAnswersTellNothing"},
	},
	{
		breaks: "registration says that there is an account",
		file:   "authn/register.go", old: `case errors.Is(err, store.ErrExists):
		return refused`, new: `case errors.Is(err, store.ErrExists):
		return &web.Error{Status: 409, Code: "exists", Detail: "There is an account of this address."}`,
		tests: []string{"authn TestT107_RegistrationRefusesInOneWay", "e2e TestT106_T107_AnswersTellNothingAboutAccounts"},
	},
	{
		breaks: "accounts are unique by the address as it was typed",
		file:   "store/sqlstore/users.go", old: `v.ID, v.Email, v.EmailKey, v.EmailVerified`, new: `v.ID, v.Email, v.Email, v.EmailVerified`,
		tests: []string{"authn TestT108_OneAddressOneAccount"},
	},
	{
		breaks: "the session to end is pasted into the query",
		file:   "store/sqlstore/sessions.go", old: `where+" AND id = $1 AND user_id = $2", []any{e.SessionID, e.UserID}`, new: `where+" AND user_id = $1 AND id = '"+e.SessionID+"'", []any{e.UserID}`,
		tests: []string{"authn TestT109_InputIsNeverCode"},
	},
	{
		breaks: "accounts are looked up by a pattern",
		file:   "store/sqlstore/users.go", old: `WHERE email_key = $1`, new: `WHERE email_key LIKE $1`,
		tests: []string{"authn TestT109_InputIsNeverCode"},
	},
	{
		breaks: "passwords are cut after 72 bytes",
		file:   "authn/password/work.go", old: `{ return norm.NFKC.String(password) }`, new: `{ s := norm.NFKC.String(password); return s[:min(len(s), 72)] }`,
		tests: []string{"authn/password TestT110_OldHashesAreReplacedAndNothingIsCut"},
	},
	{
		breaks: "bcrypt is asked about passwords it would cut",
		file:   "authn/password/legacy.go", old: `len(p) <= 72 && `, new: ``,
		tests: []string{"authn/password TestT110_OldHashesAreReplacedAndNothingIsCut"},
	},
	{
		breaks: "good hashes are replaced and old ones are kept",
		file:   "authn/password/work.go", old: `Rehash: ok && !current`, new: `Rehash: ok && current`,
		tests: []string{"authn/password TestT110_OldHashesAreReplacedAndNothingIsCut", "authn TestT110_ImportedHashesAreUpgraded"},
	},
	{
		breaks: "common passwords are accepted",
		file:   "authn/password/rules.go", old: `if r.common(text) {`, new: `if false && r.common(text) {`,
		tests: []string{"authn/password TestT111_Rules", "authn TestT111_RegistrationSaysAllThatIsWrong"},
	},
	{
		breaks: "registration says only the first thing that is wrong",
		file:   "authn/register.go", old: `fields = append(fields, web.Field{Field: "email", Detail: "This is not an email address."})`, new: `return store.User{}, invalidInput([]web.Field{{Field: "email", Detail: "This is not an email address."}})`,
		tests: []string{"authn TestT111_RegistrationSaysAllThatIsWrong"},
	},
	{
		breaks: "a password of any length is hashed",
		file:   "authn/password/hasher.go", old: `if len(password) > MaxBytes {`, new: `if false && len(password) > MaxBytes {`,
		tests: []string{"authn/password TestT112_TooLongIsRefusedBeforeHashing"},
	},
	{
		breaks: "any number of passwords is hashed at a time",
		file:   "authn/password/hasher.go", old: `make(chan struct{}, o.Parallel)`, new: `make(chan struct{}, o.Queue)`,
		tests: []string{"e2e TestT113_SignInsDoNotStarveTheProxy", "e2e TestT113_PasswordFloodLeavesTheProxyAlone"},
	},
	{
		breaks: "whoever finds the queue full is served all the same",
		file:   "authn/password/hasher.go", old: `if h.waiting.Add(1) > h.queue {
		return ErrBusy`, new: `if h.waiting.Add(1) > h.queue {
		return nil`,
		tests: []string{"authn/password TestT113_FullQueueIsBusy"},
	},
	{
		breaks: "without the process for passwords none is right",
		file:   "authn/password/hasher.go", old: `if h.there == nil || !h.there.call("Verify", claim, &v) {`, new: `if h.there != nil {
			h.there.call("Verify", claim, &v)
		} else {`,
		tests: []string{"authn/password TestT113_NoSignInFailsWithTheProcess", "e2e TestT113_PasswordsAreHashedInAProcessOfItsOwn"},
	},
	{
		breaks: "the process for passwords does not stand back",
		file:   "authn/password/serve.go", old: `runtime.GOMAXPROCS(parallel)
	standBack()`, new: `runtime.GOMAXPROCS(parallel)`,
		tests: []string{"authn/password TestT113_ProcessStandsBackAndHoldsNothing", "e2e TestT113_PasswordsAreHashedInAProcessOfItsOwn"},
	},
	{
		breaks: "the process for passwords is given an environment",
		file:   "authn/password/process.go", old: `cmd.Env = []string{}`, new: `cmd.Env = []string{"LANG=C"}`,
		tests: []string{"authn/password TestT113_ProcessStandsBackAndHoldsNothing"},
	},
	{
		breaks: "failed sign-ins limit the account, from wherever they come",
		file:   "authn/limits.go", old: `claim("login_account", account+"|"+network(c.Address), `, new: `claim("login_account", account, `,
		tests: []string{"authn TestT114_T115_NobodyIsLockedOut"},
	},
	{
		breaks: "failures from all networks together lock an account",
		file:   "authn/limits.go", old: `Per: time.Hour, Soft: true}`, new: `Per: time.Hour}`,
		tests: []string{"authn TestT114_T115_NobodyIsLockedOut"},
	},
	{
		breaks: "the failures of other networks slow nobody down",
		file:   "authn/limits.go", old: `if used <= free {`, new: `if used >= free {`,
		tests: []string{"authn TestT114_T115_NobodyIsLockedOut"},
	},
	{
		breaks: "a success clears what its address tried elsewhere",
		file:   "authn/login.go", old: `claims[0].Key); err`, new: `claims[0].Key, claims[2].Key); err`,
		tests: []string{"authn TestT116_ASuccessClearsOneAccountAlone"},
	},
	{
		breaks: "the current password may be guessed without a limit",
		file:   "authn/account.go", old: `if u, err = s.prove(ctx, c, u.EmailKey, current); err != nil {`, new: `ok := false
	if u, ok, err = s.verify(ctx, u.EmailKey, current); err == nil && !ok {
		err = invalidCredentials()
	}
	if err != nil {`,
		tests: []string{"authn TestT117_EveryDoorCounts", "e2e TestT103_T117_OneCounterForEverySpellingAndDoor"},
	},
}
