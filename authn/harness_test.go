package authn

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"gatehouse/authn/password"
	"gatehouse/authn/revoked"
	"gatehouse/authn/token"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/store"
	"gatehouse/store/sqlstore"
	"gatehouse/web"
)

const (
	annsPassword = "correct-horse-battery-9"
	newPassword  = "eleven-green-bottles-on-a-wall"
	host         = "app.test"
)

// hasher is shared by all worlds; it waits as long as a slow machine needs.
var hasher = sync.OnceValue(func() *password.Hasher {
	h, err := password.NewHasher(password.Options{Parallel: 2, Queue: 1000, Wait: time.Minute})
	if err != nil {
		panic(err)
	}
	return h
})

// annsHash is made once: a test that is not about hashing need not hash.
var annsHash = sync.OnceValue(func() string {
	hash, err := hasher().Hash(context.Background(), annsPassword)
	if err != nil {
		panic(err)
	}
	return hash
})

// world is a whole sign-in side on a real database. Time stands still but for
// what a test lets pass.
type world struct {
	*Service
	t       *testing.T
	db      *sqlstore.Store
	cfg     *config.Config
	gate    *Gate
	admin   *Admin
	handler *Handler
	events  *events
	path    string
	shift   time.Duration
	from    netip.Addr
	device  string
}

// inWorld runs a test inside a synctest bubble, with the configuration given
// added to the least there is.
func inWorld(t *testing.T, yaml string, f func(t *testing.T, w *world)) {
	t.Helper()
	annsHash()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, path: filepath.Join(t.TempDir(), "gatehouse.db"), events: &events{}, from: netip.MustParseAddr("192.0.2.1"), device: "test/1"}
		w.configure(yaml)
		w.open()
		t.Cleanup(func() {
			if err := w.db.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		})
		f(t, w)
	})
}

func (w *world) configure(yaml string) {
	w.t.Helper()
	text := "tls: {self_signed: true}\ntokens: {issuer: \"https://gate.test\"}\n" + yaml +
		"\nroutes: [{name: app, host: app.test, upstream: \"http://127.0.0.1:1\"}]\n"
	cfg, err := config.Parse(filepath.Join(filepath.Dir(w.path), "gatehouse.yaml"), []byte(text), func(string) (string, bool) { return "", false })
	if err != nil {
		w.t.Fatal(err)
	}
	w.cfg = cfg
}

// open wires everything as the binary does; called again, it is a restart.
func (w *world) open() {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if w.db != nil {
		must(w.db.Close())
	}
	ctx, log := w.t.Context(), slog.New(slog.DiscardHandler)
	var err error
	w.db, err = sqlstore.Open(ctx, w.path, sqlstore.Options{})
	must(err)
	ring, err := token.NewRing(w.db.Keys(), w.cfg.Tokens, w.cfg.Sessions.MaxLifetime, log, w.clock)
	must(err)
	must(ring.Load(ctx))
	mirror := revoked.New(w.db.Revocations(), 24*time.Hour, log, w.clock)
	must(mirror.Load(ctx))
	rules, err := password.NewRules(w.cfg.Accounts.Password, []string{host})
	must(err)
	metrics, err := NewMetrics(prometheus.NewRegistry(), hasher().Queue)
	must(err)
	w.Service, err = NewService(Deps{
		Users: w.db.Users(), Lister: w.db.Users(), Sessions: w.db.Sessions(), Revocations: w.db.Revocations(), Limiter: w.db.Limiter(), Keys: w.db.Keys(),
		Ring: ring, Mirror: mirror, Hasher: hasher(), Rules: rules, Log: log, Audit: slog.New(w.events), Metrics: metrics, Now: w.clock,
	}, w.cfg)
	must(err)
	ui, err := web.New(web.Options{Prefix: "/_auth", Issuer: w.cfg.Tokens.Issuer})
	must(err)
	w.gate, w.admin = NewGate(w.Service), NewAdmin(w.Service)
	w.handler = NewHandler(w.Service, w.gate, ui, "/_auth")
}

func (w *world) clock() time.Time { return time.Now().Add(w.shift) }

// pass lets time pass for everything but the age of the revocation list.
func (w *world) pass(d time.Duration) { w.shift += d }

func (w *world) caller() Caller { return Caller{Address: w.from, UserAgent: w.device, RequestID: "r"} }

// user makes an account with annsPassword.
func (w *world) user(email string, groups ...string) store.User {
	w.t.Helper()
	u, err := w.admin.Import(w.t.Context(), email, "Ann", annsHash(), groups)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// session signs an account in without its password.
func (w *world) session(u store.User) *Grant {
	w.t.Helper()
	g, err := w.begin(w.t.Context(), u, w.caller(), []string{"pwd"})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// answer is what a request got.
type answer struct {
	*httptest.ResponseRecorder
	rec *web.Record
}

func (a answer) Record() *web.Record { return a.rec }

// cookies returns the Set-Cookie lines by name; a cleared one has "".
func (a answer) cookies() map[string]string {
	set := map[string]string{}
	for _, c := range a.Result().Cookies() {
		if set[c.Name] = c.Value; c.MaxAge <= 0 {
			set[c.Name] = ""
		}
	}
	return set
}

func (a answer) code() string { return a.Header().Get("Gatehouse-Response") }

func (w *world) request(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, "https://"+host+path, strings.NewReader(body)).WithContext(w.t.Context())
	r.Header.Set("User-Agent", w.device)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func (w *world) record() *web.Record {
	return &web.Record{ID: "r", Client: w.from, Secure: true, Start: w.clock()}
}

// send makes a request to the handler; headers are "Name: value".
func (w *world) send(method, path, body string, headers ...string) answer {
	a := answer{httptest.NewRecorder(), w.record()}
	w.handler.ServeHTTP(a, w.request(method, path, body, headers...))
	return a
}

func (w *world) post(path string, v any, headers ...string) answer {
	w.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.send("POST", path, string(body), append(headers, "Content-Type: application/json")...)
}

// form posts as a browser on the page of this host does.
func (w *world) form(path, body string, headers ...string) answer {
	return w.send("POST", path, body, append(headers, "Content-Type: application/x-www-form-urlencoded", "Accept: text/html",
		"Origin: https://"+host, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate")...)
}

func (w *world) login(email, pass string) answer {
	w.t.Helper()
	return w.post("/_auth/login", map[string]string{"email": email, "password": pass})
}

// granted reads the tokens of an answer.
func (w *world) granted(a answer, status int) tokenAnswer {
	w.t.Helper()
	var out tokenAnswer
	if a.Code != status {
		w.t.Fatalf("got %d %s, want %d", a.Code, a.Body, status)
	}
	if err := json.Unmarshal(a.Body.Bytes(), &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// want fails unless an answer has this status and code.
func (w *world) want(what string, a answer, status int, code string) {
	w.t.Helper()
	if a.Code != status || a.code() != code {
		w.t.Errorf("%s: got %d %q, want %d %q: %s", what, a.Code, a.code(), status, code, a.Body)
	}
}

func bearerOf(access string) string { return "Authorization: Bearer " + access }

func cookiesOf(access, refresh string) string {
	return "Cookie: " + accessCookie + "=" + access + "; " + refreshCookie + "=" + refresh
}

// asks puts headers to the gate.
func (w *world) asks(mayRenew bool, headers ...string) (identity.Result, error) {
	return w.gate.Authenticate(w.request("GET", "/", "", headers...), w.record(), mayRenew)
}

// dead fails unless both tokens of a grant are worthless.
func (w *world) dead(what string, g *Grant) {
	w.t.Helper()
	if res, err := w.asks(false, bearerOf(g.Access)); err == nil || res.Identity != nil {
		w.t.Errorf("%s: the access token is good", what)
	}
	if a := w.post("/_auth/refresh", map[string]string{"refresh_token": g.Refresh.Reveal()}); a.Code != 401 {
		w.t.Errorf("%s: the refresh token gets %d", what, a.Code)
	}
}

func (w *world) limited(name string) float64 {
	w.t.Helper()
	var m dto.Metric
	if err := w.Metrics.limited.WithLabelValues(name).Write(&m); err != nil {
		w.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// events is an audit log in memory.
type events struct {
	mu   sync.Mutex
	list []map[string]string
}

func (*events) Enabled(context.Context, slog.Level) bool { return true }
func (e *events) WithAttrs([]slog.Attr) slog.Handler     { return e }
func (e *events) WithGroup(string) slog.Handler          { return e }

func (e *events) Handle(_ context.Context, r slog.Record) error {
	entry := map[string]string{"event": r.Message}
	r.Attrs(func(a slog.Attr) bool {
		entry[a.Key] = a.Value.String()
		return true
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, entry)
	return nil
}

// take returns what happened since it was last asked.
func (e *events) take() []map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.list
	e.list = nil
	return out
}

func names(list []map[string]string) string {
	var out []string
	for _, e := range list {
		out = append(out, e["event"])
	}
	return strings.Join(out, " ")
}
