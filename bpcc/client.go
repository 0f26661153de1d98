// Package bpcc is a client of the Real-Time Statistics API of the Bright Pattern Contact Center:
// every documented method, and two undocumented look-ups.
//
// The sequence of requests:
//
//	POST /configapi/v2/oauth/token           a bearer token for about an hour
//	DELETE /statsapi/subscription/active     whatever was there before
//	POST /statsapi/subscription              what to see; the response is empty
//	GET /statsapi/subscription/data          204 at first, then a snapshot
//	GET /statsapi/subscription/data          …at every poll
//
// A snapshot is text without time, order or identity: the client adds the times between which it
// was taken. A user has one active subscription, so use a separate user for each collector.
package bpcc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// MaxBody is the default limit for a response's size after decompression, in bytes.
const MaxBody = 64 << 20

// Config configures a [Client]. Only URL is required.
type Config struct {
	// URL is the tenant's address, such as https://acme.brightpattern.com.
	URL string
	// ClientID and ClientSecret are the OAuth client credentials: a username
	// and the API secret key generated for it.
	ClientID, ClientSecret string
	// Username and Password are for the cookie login of older releases.
	Username, Password string
	// Secret, if set, is called at each login and replaces ClientSecret or Password, so that a
	// rotated secret is used from then on.
	Secret func() string
	// Scope is the token scope and the tenant named in cookie logins and
	// availability checks; empty means the URL's host, in lower case.
	Scope string
	// Timeout bounds a request from dialling to the last byte; 0 means 10 s.
	Timeout time.Duration
	// CheckTimeout bounds an availability check in the same way, if it is shorter; 0 means Timeout.
	CheckTimeout time.Duration
	// Governor bounds the requests; nil means no bound.
	Governor *Governor
	// RootCAs are the trusted roots; nil means the system's.
	RootCAs *x509.CertPool
	// Certificate, if set, is called for the client's certificate whenever a server requests one.
	Certificate func() *tls.Certificate
	// Proxy, if set, returns the proxy for a request, nil for none. By default it is that of the
	// process's environment.
	Proxy func(*http.Request) (*url.URL, error)
	// MaxBody limits a response's size in bytes; 0 means [MaxBody].
	MaxBody int64
	// Now is the clock for the times of responses; nil means time.Now.
	Now func() time.Time
}

// Client is one user's client of one tenant. Its methods may be called concurrently, but a
// subscription should have only one reader.
type Client struct {
	base   *url.URL
	config Config
	http   *http.Client

	mu         sync.Mutex // guards what follows
	token      string     // "" = not logged in by token
	expires    time.Time  // when the token expires according to the server; zero = unknown
	session    string     // the cookie login's token, "" = not logged in by cookie
	recycled   []byte     // memory for the next response of Data, see [Client.Recycle]
	lastSecret string     // the secret of the last login, whether it was accepted or not
	redactions []string   // the latest credentials, newest last; see redact
}

// New returns a client; it sends nothing yet.
func New(c Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(c.URL, "/"))
	if err != nil {
		// The text of a URL that does not parse may hold a password.
		return nil, errors.New("the BPCC URL does not parse: want https://host")
	}
	if base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil || base.RawQuery != "" {
		// The text is not shown either: john:secret@host parses as something else.
		return nil, errors.New("the BPCC URL is not of the form https://host")
	}
	if c.Scope == "" {
		c.Scope = strings.ToLower(strings.TrimSuffix(base.Hostname(), "."))
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.MaxBody == 0 {
		c.MaxBody = MaxBody
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	// A jar cannot fail without options. It also keeps a load balancer's
	// cookie, so that POST and GET reach the same node.
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("make a cookie jar: %w", err)
	}
	trust := &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	if c.Certificate != nil {
		trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate(), nil }
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	client := &Client{
		base:   base,
		config: c,
		http: &http.Client{
			Jar:     jar,
			Timeout: c.Timeout,
			Transport: &http.Transport{
				Proxy:               c.Proxy,
				TLSClientConfig:     trust,
				ForceAttemptHTTP2:   true,
				MaxIdleConnsPerHost: 8,
				// Servers of this API close idle connections early; closing before them avoids a
				// reset during a poll.
				IdleConnTimeout:     30 * time.Second,
				TLSHandshakeTimeout: c.Timeout,
			},
			// A redirect leads to a login page, or the address is wrong.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	client.addRedaction(c.ClientSecret)
	client.addRedaction(c.Password)
	return client, nil
}

// Close closes idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call of the API.
type request struct {
	op, method, path string
	query            url.Values
	body             []byte
	contentType      string
	anonymous        bool   // send no token
	login            bool   // the answer holds a credential
	buf              []byte // memory for the answer
	priority         priority
	timeout          time.Duration // if shorter than that of the client; 0 = none
}

// apiResponse is a successful response and the times that bound it.
type apiResponse struct {
	login          bool // as in the request
	status         int
	body           []byte
	sent, received time.Time
}

// send sends one request and reads the complete response. Only send evaluates status codes: 2xx is
// a response, everything else an [*Error]. While the governor lets no request go, the error is
// [ErrThrottled] with the time that is left.
func (c *Client) send(ctx context.Context, r request) (apiResponse, error) {
	fail := func(kind error, status int, detail string, err error) (apiResponse, error) {
		return apiResponse{}, &Error{Op: r.op, Kind: kind, Status: status, Detail: c.redact(detail), Err: err}
	}
	if held, err := c.config.Governor.wait(ctx, r.priority); errors.Is(err, errHeld) {
		return apiResponse{}, &Error{Op: r.op, Kind: ErrThrottled, RetryAfter: held, Err: err}
	} else if err != nil {
		return fail(ErrTransport, 0, "", err)
	}
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	u := *c.base
	// Both, because URL.String ignores a RawPath that does not match Path: a / that the address
	// escapes stays escaped.
	u.Path, u.RawPath = u.Path+r.path, u.EscapedPath()+r.path
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return fail(ErrTransport, 0, "", err)
	}
	req.Header.Set("Accept", "application/json, text/plain, */*")
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if !r.anonymous {
		c.mu.Lock()
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		c.mu.Unlock()
	}
	sent := c.config.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(ErrTransport, 0, "", err)
	}
	defer resp.Body.Close()
	body, err := c.readBody(resp, r.buf)
	received := c.config.Now()
	if int64(len(body)) > c.config.MaxBody {
		return fail(ErrTooLarge, resp.StatusCode, fmt.Sprintf("more than %d bytes", c.config.MaxBody), nil)
	}
	if resp.StatusCode/100 != 2 {
		detail := c.excerpt(trimMark(body))
		if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && to != "" {
			detail = "redirected to " + to + "; BPCC_URL must be the address that answers itself"
		}
		e := &Error{Op: r.op, Kind: kindOf(resp.StatusCode), Status: resp.StatusCode, Detail: c.redact(detail), RetryAfter: retryAfter(resp.Header, received)}
		if e.RetryAfter > 0 && e.Kind == ErrThrottled {
			c.config.Governor.hold(e.RetryAfter)
		}
		return apiResponse{}, e
	}
	if err != nil {
		return fail(ErrTransport, resp.StatusCode, fmt.Sprintf("response ended after %d bytes", len(body)), err)
	}
	return apiResponse{r.login, resp.StatusCode, trimMark(body), sent, received}, nil
}

// decode decodes a JSON response into v. The error describes a body that is not JSON.
func (c *Client) decode(op string, a apiResponse, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return &Error{Op: op, Kind: ErrMalformed, Status: a.status, Detail: c.describeBody(a), Err: err}
	}
	return nil
}

// describeBody describes a body that should have been JSON.
func (c *Client) describeBody(a apiResponse) string {
	switch trimmed := bytes.TrimSpace(a.body); {
	case len(trimmed) == 0:
		return "the body is empty"
	case isUTF16(a.body):
		return errUTF16.Error()
	case trimmed[0] == '<':
		return "HTML instead of JSON, perhaps from a login page or a proxy; check BPCC_URL: " + c.excerpt(a.body)
	case a.login:
		// It may contain a credential that the client does not know yet.
		return fmt.Sprintf("%d bytes that are not shown", len(a.body)) + c.quoteServer(a.body)
	default:
		return c.excerpt(a.body)
	}
}

// excerpt shortens a body for a log entry. Credentials are removed first, because a cut could leave
// half of one.
func (c *Client) excerpt(body []byte) string {
	const limit, maxScanned = 160, 64 << 10
	body = []byte(c.redact(string(body[:min(len(body), maxScanned)])))
	cut := len(body) > limit
	if cut {
		body = body[:limit]
	}
	s := strings.Map(func(r rune) rune {
		// This includes characters that change the direction of text.
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(body), "?"))
	s = strings.Join(strings.Fields(s), " ")
	if cut {
		s += "…"
	}
	return s
}

// maxRedactions is how many credentials a client continues to redact. A server may still echo a
// replaced one, for as long as a request takes.
const maxRedactions = 16

// addRedaction adds a credential to be redacted from now on. Needs c.mu.
func (c *Client) addRedaction(secret string) {
	// Redacting a secret of one or two letters would destroy the text and protect nothing.
	if len(secret) <= 2 {
		return
	}
	c.redactions = append(slices.DeleteFunc(c.redactions, func(s string) bool { return s == secret }), secret)
	c.redactions = c.redactions[max(len(c.redactions)-maxRedactions, 0):]
}

// redact removes every credential that the client knows from s.
func (c *Client) redact(s string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The longest first: one may begin with another.
	for _, secret := range slices.SortedFunc(slices.Values(c.redactions), func(a, b string) int { return len(b) - len(a) }) {
		for _, encoding := range encodings(secret) {
			s = strings.ReplaceAll(s, encoding, "[redacted]")
		}
	}
	return s
}

// encodings returns a secret as it is, and as encoded in forms, HTML and two ways of JSON: servers
// echo requests in any of them.
func encodings(secret string) []string {
	quoted := strconv.Quote(secret)
	all := []string{secret, url.QueryEscape(secret), html.EscapeString(secret), quoted[1 : len(quoted)-1]}
	if b, err := json.Marshal(secret); err == nil {
		all = append(all, string(b[1:len(b)-1]))
	}
	return all
}
