package web

import (
	"net/http"
	"strings"
	"time"
)

// LoginPage is the sign-in form.
type LoginPage struct {
	Return      string // checked return path ("rd")
	Email       string // typed before
	Error       *Error // shown above the form
	CanRegister bool
	SignedInAs  string // somebody is signed in already
	Notice      string
}

// RegisterPage is the registration form.
type RegisterPage struct {
	Return      string
	Email, Name string
	Error       *Error
	MinLength   int
}

// LogoutPage asks for confirmation.
type LogoutPage struct{ SignedInAs string }

// AccountPage is the user's own page.
type AccountPage struct {
	Email, Name string
	Groups      []string
	Sessions    []SessionRow
	MinLength   int
	Notice      string
	Error       *Error // of the password form
}

// SessionRow is one session of the account page.
type SessionRow struct {
	ID       string
	Device   string
	Address  string
	Created  time.Time
	LastUsed time.Time
	Current  bool
}

// NoticePage is a page that says one thing and offers one link.
type NoticePage struct {
	Heading string
	Text    string
	Link    string // label; empty for none
	Href    string // path of ours
}

// frame is what every page has.
type frame struct {
	Prefix, Style, Icon, Logo string
	Title                     string // of the window: the problem first
	Heading                   string
	Host                      string // what the person is about to open
	Wide                      bool
	Return                    string
	Notice                    string
	Problem                   *shown
	Inputs                    []input
}

// shown is a failure as a page shows it.
type shown struct {
	Detail string
	Fields []Field // those with a field on the page, in the page's order
	Others []string
	Wait   int // seconds; 0 for none
}

// input is one labelled field of a form.
type input struct {
	ID, Label, Type, Value, Autocomplete, Hint string
	Mode                                       string // inputmode
	Problems                                   []string
	Optional, Focus                            bool
	Describe                                   string // ids for aria-describedby
}

func (u *UI) framed(r *http.Request, heading, notice, ret string, e *Error, inputs ...input) frame {
	f := u.frame
	f.Heading, f.Title, f.Host, f.Notice, f.Return = heading, heading, r.Host, notice, ret
	if e != nil {
		f.Title = e.Detail + " \u2013 " + heading
		f.Problem = &shown{Detail: e.Detail}
		if e.RetryAfter > 0 {
			f.Problem.Wait = seconds(e.RetryAfter)
		}
	}
	f.Inputs = f.place(e, inputs)
	return f
}

// place gives each field its problems and the focus to the one to look at.
func (f *frame) place(e *Error, inputs []input) []input {
	known := map[string]bool{}
	for i := range inputs {
		in := &inputs[i]
		known[in.ID] = true
		var ids []string
		if in.Hint != "" {
			ids = append(ids, in.ID+"-hint")
		}
		if e != nil {
			for _, p := range e.Fields {
				if p.Field == in.ID {
					in.Problems = append(in.Problems, p.Detail)
					f.Problem.Fields = append(f.Problem.Fields, p)
				}
			}
		}
		if len(in.Problems) > 0 {
			ids = append(ids, in.ID+"-problem")
		}
		in.Describe = strings.Join(ids, " ")
	}
	if e == nil {
		return inputs
	}
	for _, p := range e.Fields {
		if !known[p.Field] {
			f.Problem.Others = append(f.Problem.Others, p.Detail)
		}
	}
	return inputs
}

// focus puts the cursor into the first field with a problem; without one into
// the named field, which then also reads out the summary.
func (f *frame) focus(id string) {
	for i := range f.Inputs {
		if len(f.Inputs[i].Problems) > 0 {
			f.Inputs[i].Focus = true
			return
		}
	}
	for i := range f.Inputs {
		if in := &f.Inputs[i]; in.ID == id {
			in.Focus = true
			if f.Problem != nil {
				in.Describe = strings.TrimSpace("problem " + in.Describe)
			}
		}
	}
}

// answer renders a page of ours; with e it is also a failed answer.
func (u *UI) answer(w http.ResponseWriter, r *http.Request, status int, page string, e *Error, data any) {
	code := page
	if e != nil {
		full := *e
		full.Status = status
		full = *complete(&full)
		failure(w, &full)
		code = full.Code
	} else if status == http.StatusUnauthorized {
		failure(w, complete(&Error{Status: status, Code: code}))
	}
	u.render(w, r, status, code, page, data)
}

// Login renders the sign-in page with the given status.
func (u *UI) Login(w http.ResponseWriter, r *http.Request, status int, p LoginPage) {
	f := u.framed(r, u.opts.Title, p.Notice, p.Return, p.Error,
		input{ID: "email", Label: "Email address", Type: "text", Mode: "email", Value: p.Email, Autocomplete: "username"},
		input{ID: "password", Label: "Password", Type: "password", Autocomplete: "current-password"})
	if p.Email == "" {
		f.focus("email")
	} else {
		f.focus("password")
	}
	u.answer(w, r, status, "login", p.Error, struct {
		frame
		CanRegister bool
		SignedInAs  string
	}{f, p.CanRegister, p.SignedInAs})
}

// Register renders the registration page with the given status.
func (u *UI) Register(w http.ResponseWriter, r *http.Request, status int, p RegisterPage) {
	f := u.framed(r, "Create an account", "", p.Return, p.Error,
		input{ID: "email", Label: "Email address", Type: "text", Mode: "email", Value: p.Email, Autocomplete: "username"},
		input{ID: "name", Label: "Name", Type: "text", Value: p.Name, Autocomplete: "name", Optional: true, Hint: "What the apps call you."},
		input{ID: "password", Label: "Password", Type: "password", Autocomplete: "new-password", Hint: lengthHint(p.MinLength)})
	f.focus("email")
	u.answer(w, r, status, "register", p.Error, f)
}

// Logout renders the confirmation page.
func (u *UI) Logout(w http.ResponseWriter, r *http.Request, p LogoutPage) {
	f := u.framed(r, "Sign out?", "", "", nil)
	u.answer(w, r, http.StatusOK, "logout", nil, struct {
		frame
		SignedInAs string
	}{f, p.SignedInAs})
}

// Account renders the account page with the given status.
func (u *UI) Account(w http.ResponseWriter, r *http.Request, status int, p AccountPage) {
	f := u.framed(r, "Your account", p.Notice, "", p.Error,
		input{ID: "current_password", Label: "Current password", Type: "password", Autocomplete: "current-password"},
		input{ID: "new_password", Label: "New password", Type: "password", Autocomplete: "new-password", Hint: lengthHint(p.MinLength)})
	f.Wide = true
	if p.Error != nil {
		f.focus("current_password")
	}
	now := RecordOf(w).Start
	rows := make([]sessionView, len(p.Sessions))
	for i, s := range p.Sessions {
		rows[i] = sessionView{SessionRow: s, Since: ago(now, s.Created), Used: ago(now, s.LastUsed)}
		if s.Device == "" {
			rows[i].Device = "Unknown device"
		}
	}
	u.answer(w, r, status, "account", p.Error, struct {
		frame
		Email, Name string
		Groups      []string
		Sessions    []sessionView
		Initial     string
	}{f, p.Email, p.Name, p.Groups, rows, initial(p.Name, p.Email)})
}

// Notice renders a page that says one thing; code becomes Gatehouse-Response.
func (u *UI) Notice(w http.ResponseWriter, r *http.Request, status int, code string, p NoticePage) {
	f := u.framed(r, p.Heading, "", "", nil)
	if status == http.StatusUnauthorized || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		failure(w, complete(&Error{Status: status, Code: code}))
	}
	u.render(w, r, status, code, "notice", struct {
		frame
		Text, Link, Href string
	}{f, p.Text, p.Link, p.Href})
}

func (u *UI) errorPage(w http.ResponseWriter, r *http.Request, e *Error) {
	f := u.framed(r, heading(e.Status), "", "", e)
	f.Title = f.Heading
	failure(w, e)
	u.render(w, r, e.Status, e.Code, "error", struct {
		frame
		Status           int
		Code, RequestID  string
		Again, Signed    bool
		CanSignIn, Start bool
	}{
		frame: f, Status: e.Status, Code: e.Code, RequestID: RecordOf(w).ID,
		Again:     r.Method == http.MethodGet && (e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests),
		Signed:    e.Status == http.StatusForbidden,
		CanSignIn: e.Status == http.StatusUnauthorized,
		Start:     e.Status == http.StatusNotFound && r.URL.Path != "/",
	})
}
