package bpcc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Token is an OAuth access token. Its text stays inside the client.
type Token struct {
	// TTL is the remaining lifetime of the token, 0 if the server does not state one that can be
	// used. The server returns the same token until it expires, so a new call may return a short
	// TTL, and calling again before the end does not renew the token.
	TTL time.Duration
	// Scope is the tenant the token is for.
	Scope string
}

// maxTokenTTL is the longest lifetime of a token that the client believes. A token with a longer one
// is replaced by then.
const maxTokenTTL = 30 * 24 * time.Hour

// parseTTL reads the lifetime of a token from expires_in: seconds, as a number or text, with or
// without decimals. It returns 0 for what is no lifetime, such as null, 0 or a word: only a 401 then
// says that the token has ended.
func parseTTL(expiresIn json.RawMessage) time.Duration {
	var value flexString
	if json.Unmarshal(expiresIn, &value) != nil { // missing, an array or an object
		return 0
	}
	text := strings.TrimSpace(string(value))
	// ParseFloat would read hexadecimal numbers, infinities and NaN too.
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), seconds <= 0:
		return 0
	case seconds >= maxTokenTTL.Seconds():
		return maxTokenTTL
	}
	return time.Duration(seconds * float64(time.Second))
}

// currentSecret returns the secret for the next login; fixed is that of the configuration.
func (c *Client) currentSecret(fixed string) string {
	if c.config.Secret != nil {
		fixed = c.config.Secret()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastSecret = fixed
	c.addRedaction(fixed)
	return fixed
}

// SecretChanged reports whether the secret differs from that of the last login. A changed secret is
// a reason to retry soon after a refused login.
func (c *Client) SecretChanged() bool {
	if c.config.Secret == nil {
		return false
	}
	secret := c.config.Secret()
	c.mu.Lock()
	defer c.mu.Unlock()
	return secret != c.lastSecret
}

// AccessToken logs in with the client credentials (Get Access Token, BPCC 5.5.5 and later). Errors:
// [ErrAuth] for refused credentials. A refused attempt may count towards a lock of the user, so do
// not repeat it quickly.
func (c *Client) AccessToken(ctx context.Context) (Token, error) {
	const op = "get access token"
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {c.config.ClientID},
		"client_secret": {c.currentSecret(c.config.ClientSecret)},
		"scope":         {c.config.Scope},
	}
	a, err := c.send(ctx, request{
		op: op, method: http.MethodPost, path: "/configapi/v2/oauth/token",
		body: []byte(form.Encode()), contentType: "application/x-www-form-urlencoded", anonymous: true, login: true,
	})
	if err != nil {
		return Token{}, err
	}
	var t struct {
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // captured as a string of seconds
		Scope       json.RawMessage `json:"scope"`
	}
	if err := c.decode(op, a, &t); err != nil {
		return Token{}, err
	}
	if t.AccessToken == "" {
		return Token{}, &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: "no access_token" + c.quoteServer(a.body)}
	}
	ttl := parseTTL(t.ExpiresIn)
	c.mu.Lock()
	c.token, c.session, c.expires = t.AccessToken, "", time.Time{}
	if ttl > 0 {
		// The lifetime began at some time after the request was sent. From then on counted, the client
		// does not use the token for longer than the server accepts it.
		c.expires = a.sent.Add(ttl)
	}
	c.addRedaction(c.token)
	c.mu.Unlock()
	token := Token{TTL: ttl}
	// Nothing depends on the scope: one of another type is left out.
	_ = json.Unmarshal(t.Scope, &token.Scope)
	return token, nil
}

// Session is the response to a cookie login.
type Session struct {
	// Privileges holds the user's privileges by their protocol names.
	Privileges []string
	// UserID is the user's GUID.
	UserID string
}

// Authenticate logs in with username and password (Authenticate). The session
// lasts until the same user next logs in to any wallboard. Errors: [ErrAuth]
// for refused credentials, [ErrForbidden] on BPCC 5.36 and later, which has
// switched this login off.
func (c *Client) Authenticate(ctx context.Context) (Session, error) {
	const op = "authenticate"
	body, err := json.Marshal(map[string]string{
		"tenant_url": c.config.Scope, "username": c.config.Username, "password": c.currentSecret(c.config.Password),
	})
	if err != nil {
		return Session{}, &Error{Op: op, Kind: ErrRejected, Err: err}
	}
	a, err := c.send(ctx, request{
		op: op, method: http.MethodPost, path: "/statsapi/auth",
		body: body, contentType: "application/json;charset=UTF-8", anonymous: true, login: true,
	})
	if err != nil {
		return Session{}, err
	}
	var s struct {
		Token      string          `json:"token"`
		Privileges json.RawMessage `json:"privileges"`
		UserID     json.RawMessage `json:"user_id"`
	}
	if err := c.decode(op, a, &s); err != nil {
		return Session{}, err
	}
	if s.Token == "" {
		return Session{}, &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: "no token" + c.quoteServer(a.body)}
	}
	// Releases differ in the cookies they set. The documents allow these three to be sent by hand,
	// so the client sends them whatever the server has set.
	c.http.Jar.SetCookies(c.base, []*http.Cookie{
		{Name: "X-STATSAPI-TOKEN", Value: s.Token, Path: "/"},
		{Name: "X-STATSAPI-TENANT", Value: c.config.Scope, Path: "/"},
		{Name: "X-STATSAPI-LOGIN", Value: c.config.Username, Path: "/"},
	})
	c.mu.Lock()
	c.token, c.session, c.expires = "", s.Token, time.Time{}
	c.addRedaction(c.session)
	c.mu.Unlock()
	var session Session
	// Nothing depends on these two: one of another type is left out.
	_ = json.Unmarshal(s.Privileges, &session.Privileges)
	_ = json.Unmarshal(s.UserID, &session.UserID)
	return session, nil
}

// LoggedIn reports whether the client has a session that has not expired as far as the client
// knows. Only a request can verify it.
func (c *Client) LoggedIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session != "" || c.token != "" && (c.expires.IsZero() || c.config.Now().Before(c.expires))
}

// Invalidate drops the session after a 401, so that LoggedIn is false.
func (c *Client) Invalidate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.session, c.expires = "", "", time.Time{}
}
