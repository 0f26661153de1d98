package bpcctest

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// user is an API user. Guarded by the tenant's mutex.
type user struct {
	id, secret string
	scope      scope
	token      string    // "" = none was issued or it was revoked
	expires    time.Time // of the token
	session    string    // cookie, "" = none
	sub        *subscription
	inFlight   int // data requests under way
}

// userOf finds the user of a request, or nil. A token takes precedence over a cookie. A token in
// Authorization without "Bearer" is ignored. Needs t.mu.
func (t *Tenant) userOf(r *http.Request) *user {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		u := t.tokens[token]
		if u == nil || !t.config.Now().Before(u.expires) {
			return nil
		}
		return u
	}
	// X-BP-SESSION-ID is what servers set; the documents allow sending X-STATSAPI-TOKEN by hand.
	for _, name := range []string{sessionCookie, "X-STATSAPI-TOKEN"} {
		if c, err := r.Cookie(name); err == nil {
			if u := t.sessions[c.Value]; u != nil {
				return u
			}
		}
	}
	return nil
}

const sessionCookie = "X-BP-SESSION-ID"

// requireUser wraps h for users only; all others get 401. h runs under t.mu.
func (t *Tenant) requireUser(h func(u *user, r *http.Request, f Fault) reply) handler {
	return func(r *http.Request, f Fault) reply {
		// The body is read before the mutex is locked, so that a slow client blocks no other.
		body, status, err := readBody(r)
		if err != nil {
			return jsonReply(status, badRequest(err).body)
		}
		r.Body = body
		t.mu.Lock()
		defer t.mu.Unlock()
		u := t.userOf(r)
		if u == nil {
			return errorReply(http.StatusUnauthorized, "unauthorized")
		}
		return h(u, r, f)
	}
}

// postToken is Get Access Token. A token that has not expired is returned again with its remaining
// lifetime, so requesting it does not renew it.
func (t *Tenant) postToken(r *http.Request, f Fault) reply {
	// A body that is no form leaves all fields empty, which is refused below.
	_ = r.ParseForm()
	now := t.config.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[r.PostForm.Get("client_id")]
	if u == nil || u.secret != r.PostForm.Get("client_secret") || r.PostForm.Get("grant_type") != "client_credentials" {
		t.counts.LoginsRefused++
		return jsonReply(http.StatusUnauthorized, []byte(`{"error":"invalid_client","error_description":"Client authentication failed"}`))
	}
	remaining := u.expires.Sub(now)
	// The lifetime is in whole seconds; less than one would read as expired.
	if u.token == "" || remaining < time.Second {
		delete(t.tokens, u.token)
		u.token, u.expires, remaining = newToken(), now.Add(t.config.TokenTTL), t.config.TokenTTL
		t.tokens[u.token] = u
	}
	body := appendQuoted([]byte(`{"access_token":`), u.token)
	body = append(body, `,"token_type":"Bearer"`...)
	if f.ExpiresIn != noExpiresIn {
		expiresIn := cmp.Or(f.ExpiresIn, strconv.Quote(strconv.Itoa(int(remaining/time.Second))))
		body = append(append(body, `,"expires_in":`...), expiresIn...)
	}
	body = appendQuoted(append(body, `,"scope":`...), t.config.Tenant)
	return jsonReply(http.StatusOK, append(body, '}'))
}

// postAuth is Authenticate, the login of older releases. A user has one session: the next login
// replaces it and invalidates the previous cookie.
func (t *Tenant) postAuth(r *http.Request, _ Fault) reply {
	if !t.config.CookieLogin {
		return errorReply(http.StatusForbidden, "illegal login attempt")
	}
	var in struct{ Username, Password string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return badRequest(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[in.Username]
	if u == nil || u.secret != in.Password {
		return errorReply(http.StatusUnauthorized, "unauthorized")
	}
	t.endSession(u)
	u.session = guid("session/" + rand.Text())
	t.sessions[u.session] = u
	cookie := &http.Cookie{Name: sessionCookie, Value: u.session, Path: "/"}
	body := appendQuoted([]byte(`{"token":`), u.session)
	body = append(body, `,"privileges":["PUSH_PULL_GLOBAL_WALLBOARDS","CUSTOMIZE_WALLBOARDS","SYS_USE_AGENT_SEAT_MAPS"],"user_id":`...)
	body = append(appendQuoted(body, UserID(u.id)), '}')
	a := jsonReply(http.StatusOK, body)
	a.header = http.Header{"Set-Cookie": {cookie.String()}}
	return a
}

// deleteAuth is the logout that the vendor's wallboard uses.
func (t *Tenant) deleteAuth(u *user, _ *http.Request, _ Fault) reply {
	t.endSession(u)
	return reply{status: http.StatusOK}
}

func (t *Tenant) endSession(u *user) {
	delete(t.sessions, u.session)
	u.session = ""
}

// ExpireTokens ends the lifetime of all OAuth tokens: requests with them get 401, and the next
// login gets a new one.
func (t *Tenant) ExpireTokens() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.tokens)
	for _, u := range t.users {
		u.token, u.expires = "", time.Time{}
	}
}

// StealSession invalidates all cookies, as if each user had logged in to another wallboard.
func (t *Tenant) StealSession() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.users {
		t.endSession(u)
	}
}

func newToken() string {
	b := make([]byte, 32)
	// crypto/rand never fails: the runtime would end the program first.
	_, _ = rand.Read(b)
	return fmt.Sprintf("%X", b)
}
