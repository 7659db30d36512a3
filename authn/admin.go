package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"gatehouse/authn/password"
	"gatehouse/store"
)

// Admin is what the commands of the operator do, on the store directly; a
// running gateway learns of it by following the store.
type Admin struct{ s *Service }

// NewAdmin makes the operator's side of a service.
func NewAdmin(s *Service) *Admin { return &Admin{s} }

// ErrInput is a mistake in what the operator gave; its text says which.
var ErrInput = errors.New("bad input")

func (a *Admin) audit(ctx context.Context, event, subject, session string) {
	a.s.Audit.LogAttrs(ctx, slog.LevelInfo, event, slog.String("actor", "admin"), slog.String("subject", subject),
		slog.String("session", session), slog.String("outcome", "success"))
}

// Find returns the account of an address.
func (a *Admin) Find(ctx context.Context, email string) (store.User, error) {
	_, key, err := Canonical(email)
	if err != nil {
		return store.User{}, fmt.Errorf("%w: %q is not an email address", ErrInput, email)
	}
	u, err := a.s.Users.ByEmail(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("%w: there is no account %s", ErrInput, key)
	}
	return u, err
}

// Add makes an account.
func (a *Admin) Add(ctx context.Context, in Registration, groups []string) (store.User, error) {
	display, key, err := Canonical(in.Email)
	if err != nil {
		return store.User{}, fmt.Errorf("%w: %q is not an email address", ErrInput, in.Email)
	}
	name, ok := cleanName(in.Name)
	if !ok {
		return store.User{}, fmt.Errorf("%w: a name has at most 100 printable characters", ErrInput)
	}
	groups, err = CleanGroups(groups)
	if err != nil {
		return store.User{}, err
	}
	if problems := a.s.rules().Check(in.Password, display, name); len(problems) > 0 {
		return store.User{}, fmt.Errorf("%w: password: %s", ErrInput, strings.Join(problems, " "))
	}
	hash, err := a.s.Hasher.Hash(ctx, in.Password)
	if err != nil {
		return store.User{}, fmt.Errorf("hash password: %w", err)
	}
	return a.create(ctx, store.User{Email: display, EmailKey: key, Name: name, Groups: groups, PasswordHash: hash})
}

func (a *Admin) create(ctx context.Context, u store.User) (store.User, error) {
	now := a.s.Now().UTC()
	u.ID, u.Generation, u.CreatedAt, u.UpdatedAt, u.PasswordChangedAt = newID(), 1, now, now, now
	if err := a.s.Users.Create(ctx, u); errors.Is(err, store.ErrExists) {
		return u, fmt.Errorf("%w: there is an account %s already", ErrInput, u.EmailKey)
	} else if err != nil {
		return u, err
	}
	a.audit(ctx, "user.add", u.ID, "")
	return u, nil
}

// Import makes an account from another system's hash, which is verified and
// replaced at the first sign-in.
func (a *Admin) Import(ctx context.Context, email, name, hash string, groups []string) (store.User, error) {
	display, key, err := Canonical(email)
	if err != nil {
		return store.User{}, fmt.Errorf("%w: %q is not an email address", ErrInput, email)
	}
	if !password.Known(hash) {
		return store.User{}, fmt.Errorf("%w: the password hash of %s is of no known form (argon2id, bcrypt, PBKDF2-SHA256 of Django, htpasswd)", ErrInput, key)
	}
	name, ok := cleanName(name)
	if !ok {
		return store.User{}, fmt.Errorf("%w: the name of %s is too long or not printable", ErrInput, key)
	}
	if groups, err = CleanGroups(groups); err != nil {
		return store.User{}, err
	}
	return a.create(ctx, store.User{Email: display, EmailKey: key, Name: name, Groups: groups, PasswordHash: hash})
}

// CleanGroups sorts group names and refuses ones that could not be told apart
// in a header (threat T8).
func CleanGroups(groups []string) ([]string, error) {
	out := []string{}
	for _, g := range groups {
		if g = strings.TrimSpace(g); g == "" {
			continue
		}
		if clean, ok := cleanName(g); !ok || clean != g || strings.ContainsAny(g, ",;") {
			return nil, fmt.Errorf("%w: group %q: at most 100 printable characters, no comma or semicolon", ErrInput, g)
		}
		out = append(out, g)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// List pages through all accounts.
func (a *Admin) List(ctx context.Context) ([]store.User, error) {
	var all []store.User
	for after := ""; ; {
		page, err := a.s.Lister.List(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		after = page[len(page)-1].EmailKey
	}
}

// change applies one change to the account of an address.
func (a *Admin) change(ctx context.Context, email, event string, c store.UserChange) (store.User, error) {
	u, err := a.Find(ctx, email)
	if err != nil {
		return u, err
	}
	c.Now = a.s.Now().UTC()
	c.RevokedUntil = a.s.until(c.Now)
	if u, err = a.s.Users.Update(ctx, u.ID, c); err != nil {
		return u, fmt.Errorf("change %s: %w", email, err)
	}
	a.audit(ctx, event, u.ID, "")
	return u, nil
}

// SetDisabled locks an account out, ending all its sessions, or lets it in.
func (a *Admin) SetDisabled(ctx context.Context, email string, disabled bool) (store.User, error) {
	event := "user.enable"
	if disabled {
		event = "user.disable"
	}
	return a.change(ctx, email, event, store.UserChange{Disabled: &disabled, Revoke: true, EndSessions: disabled})
}

// SetGroups replaces the groups; older access tokens are refused, and the next
// refresh brings the new ones.
func (a *Admin) SetGroups(ctx context.Context, email string, groups []string) (store.User, error) {
	groups, err := CleanGroups(groups)
	if err != nil {
		return store.User{}, err
	}
	return a.change(ctx, email, "user.set_groups", store.UserChange{Groups: &groups, Revoke: true})
}

// SetPassword replaces the password and ends every session.
func (a *Admin) SetPassword(ctx context.Context, email, pass string) (store.User, error) {
	u, err := a.Find(ctx, email)
	if err != nil {
		return u, err
	}
	if problems := a.s.rules().Check(pass, u.Email, u.Name); len(problems) > 0 {
		return u, fmt.Errorf("%w: password: %s", ErrInput, strings.Join(problems, " "))
	}
	hash, err := a.s.Hasher.Hash(ctx, pass)
	if err != nil {
		return u, fmt.Errorf("hash password: %w", err)
	}
	return a.change(ctx, email, "user.set_password", store.UserChange{PasswordHash: &hash, Revoke: true, EndSessions: true})
}

// Delete removes an account; its id is never used again.
func (a *Admin) Delete(ctx context.Context, email string) (store.User, error) {
	u, err := a.Find(ctx, email)
	if err != nil {
		return u, err
	}
	now := a.s.Now().UTC()
	if err := a.s.Users.Delete(ctx, u.ID, now, a.s.until(now)); err != nil {
		return u, fmt.Errorf("delete %s: %w", email, err)
	}
	a.audit(ctx, "user.delete", u.ID, "")
	return u, nil
}

// Sessions lists the living sessions of one user, or of all with "".
func (a *Admin) Sessions(ctx context.Context, userID string) ([]store.Session, error) {
	return a.s.Sessions.List(ctx, userID, a.s.Now().UTC())
}

// EndSessions ends what e names and returns the ids that were living.
func (a *Admin) EndSessions(ctx context.Context, e store.SessionEnd) ([]string, error) {
	e.Now = a.s.Now().UTC()
	e.RevokedUntil = a.s.until(e.Now)
	ended, err := a.s.Sessions.End(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("end sessions: %w", err)
	}
	for _, id := range ended {
		a.audit(ctx, "session.revoke", e.UserID, id)
	}
	return ended, nil
}

// RotateKey makes a new signing key at once and returns its kid.
func (a *Admin) RotateKey(ctx context.Context) (string, error) {
	kid, err := a.s.Ring.Rotate(ctx)
	if err != nil {
		return "", err
	}
	a.audit(ctx, "key.rotate", kid, "")
	return kid, nil
}

// Keys lists the stored keys.
func (a *Admin) Keys(ctx context.Context) ([]store.Key, error) { return a.s.Keys.All(ctx) }

// RevokeKey makes every token a signing key has signed worthless. When it was
// the one in use, a new one is made first.
func (a *Admin) RevokeKey(ctx context.Context, kid string) error {
	keys, err := a.s.Keys.All(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k store.Key) bool { return k.ID == kid && k.Purpose == store.PurposeSign })
	if i < 0 {
		return fmt.Errorf("%w: there is no signing key %s", ErrInput, kid)
	}
	if keys[i].RetireAt.IsZero() {
		if _, err := a.RotateKey(ctx); err != nil {
			return err
		}
	}
	now := a.s.Now().UTC()
	if err := a.s.Keys.Revoke(ctx, kid, now, a.s.until(now)); err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	a.audit(ctx, "key.revoke", kid, "")
	return nil
}
