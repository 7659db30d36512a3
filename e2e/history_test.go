package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"gatehouse/internal/gatetest"
)

// kept is what the gateway acknowledged and therefore must still know.
type kept struct {
	mu         sync.Mutex
	registered []string          // addresses
	passwords  map[string]string // address -> acknowledged password
	dead       []string          // access tokens of ended sessions
	deadRT     []string          // refresh tokens of ended sessions
	heads      map[string]string // address -> acknowledged refresh head
}

func post(c *gatetest.Client, path string, v any, headers ...string) (gatetest.Tokens, int) {
	body, err := json.Marshal(v)
	if err != nil {
		return gatetest.Tokens{}, 0
	}
	a, err := c.Send(http.MethodPost, path, string(body), append(headers, "Content-Type: application/json")...)
	if err != nil {
		return gatetest.Tokens{}, 0
	}
	var tok gatetest.Tokens
	if a.StatusCode < 300 && a.Text != "" {
		if json.Unmarshal([]byte(a.Text), &tok) != nil {
			return tok, 0
		}
	}
	return tok, a.StatusCode
}

// oneUser registers and then, by its number, refreshes, changes the password,
// signs out, ends a session or all of them. What was acknowledged is written
// down; what was not may have happened or not, and is forgotten. False means
// that the gateway is gone.
func oneUser(c *gatetest.Client, k *kept, n int64) bool {
	email, second := fmt.Sprintf("user%d@example.com", n), fmt.Sprintf("another-password-%d", n)
	tok, status := post(c, "/_auth/register", map[string]string{"email": email, "password": password})
	if status != http.StatusCreated {
		return status != 0
	}
	k.note(func() { k.registered = append(k.registered, email); k.passwords[email] = password })
	end := func(status int) bool {
		if status == http.StatusNoContent {
			k.note(func() { k.dead = append(k.dead, tok.AccessToken); k.deadRT = append(k.deadRT, tok.RefreshToken) })
		}
		return status != 0
	}
	switch n % 6 {
	case 0:
		return end(ask(c, http.MethodPost, "/_auth/logout", tok.AccessToken))
	case 3:
		return end(ask(c, http.MethodPost, "/_auth/logout?all=true", tok.AccessToken))
	case 4:
		return end(ask(c, http.MethodDelete, "/_auth/sessions/"+tok.User.Sid, tok.AccessToken))
	case 5:
		return ask(c, http.MethodGet, "/", tok.AccessToken) != 0
	case 1:
		next, status := post(c, "/_auth/refresh", map[string]string{"refresh_token": tok.RefreshToken})
		if status != http.StatusOK {
			return status != 0
		}
		k.note(func() { k.heads[email] = next.RefreshToken })
	case 2:
		k.note(func() { delete(k.passwords, email) }) // in doubt until acknowledged
		_, status := post(c, "/_auth/password", map[string]string{"current_password": password, "new_password": second}, gatetest.Bearer(tok.AccessToken))
		if status != http.StatusOK {
			return status != 0
		}
		k.note(func() {
			k.passwords[email] = second
			k.deadRT = append(k.deadRT, tok.RefreshToken)
			k.dead = append(k.dead, tok.AccessToken)
		})
	}
	return true
}

func logout(c *gatetest.Client, token string) int {
	return ask(c, http.MethodPost, "/_auth/logout", token)
}

// ask returns the status of an answer, or 0 without one.
func ask(c *gatetest.Client, method, path, token string) int {
	a, err := c.Send(method, path, "", gatetest.Bearer(token), "Content-Type: application/json")
	if err != nil {
		return 0
	}
	return a.StatusCode
}

func (k *kept) note(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// check holds the restarted gateway to what it acknowledged. Each round asks
// for the newest: the last asks for everything, since passwords cost a hash.
func (k *kept) check(t *testing.T, g *gatetest.Gate, last bool) {
	t.Helper()
	c := g.Client("app.test", true)
	dead := k.dead
	if !last {
		dead = dead[max(0, len(dead)-100):]
	}
	for _, token := range dead {
		if got := c.Status("/", token); got != http.StatusUnauthorized {
			t.Fatalf("a revoked access token after the restart: %d", got)
		}
	}
	if !last {
		return
	}
	for _, token := range k.deadRT {
		if _, got := post(c, "/_auth/refresh", map[string]string{"refresh_token": token}); got != http.StatusUnauthorized {
			t.Errorf("a revoked refresh token after the restart: %d", got)
		}
	}
	for email, head := range k.heads {
		if _, got := post(c, "/_auth/refresh", map[string]string{"refresh_token": head}); got != http.StatusOK {
			t.Errorf("the acknowledged refresh token of %s: %d", email, got)
		}
	}
	for i, email := range k.registered {
		if pw, known := k.passwords[email]; known {
			if _, got := post(c, "/_auth/login", map[string]string{"email": email, "password": pw}); got != http.StatusOK {
				t.Errorf("registration %d, %s: sign-in %d", i, email, got)
			}
		}
	}
}
