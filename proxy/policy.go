package proxy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
)

// Verdict is the outcome of a judgement. The zero value lets nobody in.
type Verdict uint8

// The verdicts.
const (
	Unavailable Verdict = iota // nobody could say: 503
	Forbid                     // known, and not allowed: 403
	Challenge                  // not signed in, or not recently enough: 401 or the sign-in page
	Allow
	verdictCount
)

// String is the verdict's name in logs and metrics.
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Challenge:
		return "challenge"
	case Forbid:
		return "forbid"
	default:
		return "unavailable"
	}
}

// question is everything a judgement depends on.
type question struct {
	access     *config.Access
	id         *identity.Identity
	err        error // of authentication
	staleIsOK  bool  // on_stale: allow
	client     netip.Addr
	now        time.Time
	stepUpOnly *bool // set when a fresh sign-in is all that is missing; may be nil
}

// judge is the whole policy: a pure function that allows only what it can
// positively establish.
func judge(q question) Verdict {
	if q.access == nil {
		return Forbid
	}
	switch q.access.Kind {
	case config.AccessPublic:
		return Allow
	case config.AccessSignedIn, config.AccessConditions:
	default:
		return Forbid
	}
	if v := known(q); v != Allow {
		return v
	}
	if q.access.Kind == config.AccessSignedIn {
		return Allow
	}
	return conditions(q)
}

// known answers Allow when the caller is positively identified.
func known(q question) Verdict {
	err := q.err
	if q.staleIsOK && errors.Is(err, identity.ErrStale) {
		err = nil
	}
	switch {
	case err == nil && q.id != nil && q.id.Subject != "":
		return Allow
	case errors.Is(err, identity.ErrUnavailable):
		return Unavailable
	case errors.Is(err, identity.ErrNone), errors.Is(err, identity.ErrRejected), errors.Is(err, identity.ErrConflict):
		return Challenge
	default:
		return Unavailable // an unknown error, or an answer that names nobody
	}
}

func conditions(q question) Verdict {
	a := q.access
	if a.Groups == nil && a.Users == nil && a.EmailDomains == nil && a.Networks == nil && a.MaxAuthAge <= 0 {
		return Forbid // conditions that state none
	}
	if a.Groups != nil && !slices.ContainsFunc(q.id.Groups, func(g string) bool { return slices.Contains(a.Groups, g) }) {
		return Forbid
	}
	if a.Users != nil && !userListed(a.Users, q.id) {
		return Forbid
	}
	if a.EmailDomains != nil && !domainListed(a.EmailDomains, q.id.Email) {
		return Forbid
	}
	client := q.client.Unmap().WithZone("")
	if a.Networks != nil && !slices.ContainsFunc(a.Networks, func(n netip.Prefix) bool { return n.Contains(client) }) {
		return Forbid
	}
	if a.MaxAuthAge > 0 && q.now.Sub(q.id.AuthTime) > a.MaxAuthAge {
		if q.stepUpOnly != nil {
			*q.stepUpOnly = true
		}
		return Challenge
	}
	return Allow
}

func userListed(users []string, id *identity.Identity) bool {
	email := strings.ToLower(id.Email)
	for _, u := range users {
		if u == "" {
			continue
		}
		if u == id.Subject || strings.ToLower(u) == email {
			return true
		}
	}
	return false
}

func domainListed(domains []string, email string) bool {
	at := strings.LastIndexByte(email, '@')
	if at <= 0 || at == len(email)-1 {
		return false
	}
	return slices.Contains(domains, strings.ToLower(email[at+1:]))
}
