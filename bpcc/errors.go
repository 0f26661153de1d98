package bpcc

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kinds of failure for errors.Is. Every error of a [Client] method is an [*Error] of one of these
// kinds.
var (
	// ErrAuth is returned when the server answers 401: wrong credentials from
	// the token call, an expired token or a stolen cookie from the others.
	ErrAuth = errors.New("not authorized")
	// ErrForbidden is returned on 403: the user lacks a privilege, or the
	// cookie login is switched off (BPCC 5.36 and later).
	ErrForbidden = errors.New("forbidden")
	// ErrNotReady is returned by Data on 204: subscribed, first collection not done.
	ErrNotReady = errors.New("data not ready yet")
	// ErrNoSubscription is returned by Data on 404: the subscription was deleted, replaced, lost or
	// never created.
	ErrNoSubscription = errors.New("no active subscription")
	// ErrLimit is returned by Subscribe on 409: the tenant's pool of active
	// subscriptions, which supervisors' wallboards share, is used up.
	ErrLimit = errors.New("limit of active subscriptions reached")
	// ErrThrottled is returned on 429 and 503; [Error.RetryAfter] may hold how long the server asks
	// clients to wait.
	ErrThrottled = errors.New("throttled")
	// ErrRejected is returned on 400: the server did not accept the request, for example because of
	// an unknown statistic.
	ErrRejected = errors.New("request rejected")
	// ErrMalformed is returned when a response is not what the API documents: HTML, truncated or
	// invalid JSON.
	ErrMalformed = errors.New("malformed response")
	// ErrTooLarge is returned when a body exceeds the limit; the body is discarded.
	ErrTooLarge = errors.New("response too large")
	// ErrServer is returned on 500 and other 5xx. On Data, 500 was seen where
	// a session was lost.
	ErrServer = errors.New("server error")
	// ErrUnexpected is returned on any status that the API does not document,
	// redirects included.
	ErrUnexpected = errors.New("unexpected response")
	// ErrTransport is returned when no complete response arrived: DNS, connection, TLS, timeout,
	// premature close.
	ErrTransport = errors.New("no response")
)

// Error is a failed request. It never holds a secret: the server's text is shortened and stripped
// of the credentials that the client knows.
type Error struct {
	// Op is the operation, such as "get data".
	Op string
	// Kind is one of the sentinels of this package.
	Kind error
	// Status is the HTTP status, 0 when there was none.
	Status int
	// RetryAfter is the wait that the server asks for, 0 if it named none.
	RetryAfter time.Duration
	// Detail is the server's text, or what is wrong with the response.
	Detail string
	// Err is the cause, if any.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", e.Op, e.Kind)
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap lets errors.Is find the kind and errors.As the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// kindOf maps a status to its kind, following the documentation and captures.
func kindOf(status int) error {
	switch {
	case status == http.StatusBadRequest:
		return ErrRejected
	case status == http.StatusUnauthorized:
		return ErrAuth
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusConflict:
		return ErrLimit
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return ErrThrottled
	case status >= 500:
		return ErrServer
	default:
		return ErrUnexpected
	}
}

// retryAfter parses both forms of the header, seconds and HTTP date. A date refers to the server's
// clock, which is in the response's Date header; now is used only if that header is missing.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	// A Duration cannot hold more seconds.
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 && seconds <= int(math.MaxInt64/time.Second) {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
