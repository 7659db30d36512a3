package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"gatehouse/store"
	"gatehouse/web"
)

// Registration is what a new account is made from.
type Registration struct{ Email, Password, Name string }

// CanRegister reports whether anybody may register.
func (s *Service) CanRegister() bool { return s.cfg.Load().Accounts.Registration != "closed" }

// Register makes an account and signs it in. Problems with the input come back
// all at once. Without mail a taken address is inherently visible to whoever
// tries it; it shares one answer and one cost with every other reason to refuse
// an address (threat T107).
func (s *Service) Register(ctx context.Context, c Caller, in Registration) (*Grant, error) {
	if !s.CanRegister() {
		return nil, &web.Error{Status: 403, Code: "registration_closed", Detail: "Registration is closed; ask whoever runs this site for an account."}
	}
	u, err := s.newUser(in)
	if err != nil {
		return nil, err // says nothing about accounts and costs nothing: not counted
	}
	claims := networkClaims("register_ip", c, s.cfg.Load().Limits.RegisterIP)
	if _, err := s.take(ctx, c, claims); err != nil {
		return nil, err
	}
	if u.PasswordHash, err = s.Hasher.Hash(ctx, in.Password); err != nil {
		s.refund(ctx, claims...)
		return nil, unavailable(fmt.Errorf("hash password: %w", err))
	}
	if err := s.admit(ctx, u); err != nil {
		s.audit(ctx, "register.failure", c, "", "", "failure", slog.String("account", u.EmailKey))
		return nil, err
	}
	g, err := s.begin(ctx, u, c, []string{"pwd"})
	if err != nil {
		return nil, err
	}
	s.audit(ctx, "register.success", c, u.ID, g.Identity.Session, "success")
	return g, nil
}

// admit stores the account if its address may have one.
func (s *Service) admit(ctx context.Context, u store.User) error {
	refused := &web.Error{
		Status: 422, Code: "registration_refused", Detail: "This address cannot be registered.",
		Fields: []web.Field{{Field: "email", Detail: "This address cannot be registered."}},
	}
	if s.cfg.Load().Accounts.Registration == "domain" && !slices.Contains(s.cfg.Load().Accounts.AllowedDomains, domainOf(u.EmailKey)) {
		return refused
	}
	switch err := s.Users.Create(ctx, u); {
	case errors.Is(err, store.ErrExists):
		return refused
	case err != nil:
		return unavailable(fmt.Errorf("create account: %w", err))
	}
	return nil
}

// newUser checks the input and makes the record, without its hash.
func (s *Service) newUser(in Registration) (store.User, error) {
	var fields []web.Field
	display, key, err := Canonical(in.Email)
	if err != nil {
		fields = append(fields, web.Field{Field: "email", Detail: "This is not an email address."})
	}
	name, ok := cleanName(in.Name)
	if !ok {
		fields = append(fields, web.Field{Field: "name", Detail: "Use at most 100 printable characters."})
	}
	for _, problem := range s.rules().Check(in.Password, display, name) {
		fields = append(fields, web.Field{Field: "password", Detail: problem})
	}
	if len(fields) > 0 {
		return store.User{}, invalidInput(fields)
	}
	now := s.Now().UTC()
	return store.User{ID: newID(), Email: display, EmailKey: key, Name: name, Generation: 1, CreatedAt: now, UpdatedAt: now, PasswordChangedAt: now}, nil
}

func invalidInput(fields []web.Field) *web.Error {
	return &web.Error{Status: 422, Code: "invalid_input", Detail: "Please check the fields.", Fields: fields}
}

// cleanName trims a display name and refuses what would act in a header, a log
// or a page.
func cleanName(name string) (string, bool) {
	name = norm.NFC.String(strings.TrimSpace(name))
	bad := func(c rune) bool {
		return unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == utf8.RuneError
	}
	return name, utf8.RuneCountInString(name) <= 100 && !strings.ContainsFunc(name, bad)
}
