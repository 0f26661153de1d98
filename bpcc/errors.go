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

// The kinds of failure that callers tell apart with errors.Is. Every error of a
// [Client] method is an [*Error] of one of these kinds.
var (
	// ErrAuth is returned when the server answers 401: wrong credentials from
	// the token call, an expired token or a stolen cookie from the others.
	ErrAuth = errors.New("not authorized")
	// ErrForbidden is returned on 403: the user lacks a privilege, or the
	// cookie login is switched off (BPCC 5.36 and later).
	ErrForbidden = errors.New("forbidden")
	// ErrNotReady is returned by Data on 204: subscribed, first collection not done.
	ErrNotReady = errors.New("data not ready yet")
	// ErrNoSubscription is returned by Data on 404: the subscription was
	// deleted, replaced, lost or never made.
	ErrNoSubscription = errors.New("no active subscription")
	// ErrLimit is returned by Subscribe on 409: the tenant's pool of active
	// subscriptions, which supervisors' wallboards share, is used up.
	ErrLimit = errors.New("limit of active subscriptions reached")
	// ErrThrottled is returned on 429 and 503; [Error.RetryAfter] may tell how
	// long the server wants to be left alone.
	ErrThrottled = errors.New("throttled")
	// ErrRejected is returned on 400: the server did not understand the
	// request, such as a statistic name it does not know.
	ErrRejected = errors.New("request rejected")
	// ErrMalformed is returned when an answer is not what the API promises:
	// HTML, cut or invalid JSON.
	ErrMalformed = errors.New("malformed answer")
	// ErrTooLarge is returned when a body exceeds the cap; nothing of it is used.
	ErrTooLarge = errors.New("answer too large")
	// ErrServer is returned on 500 and other 5xx. On Data, 500 was seen where
	// a session was lost.
	ErrServer = errors.New("server error")
	// ErrUnexpected is returned on any status that the API does not document,
	// redirects included.
	ErrUnexpected = errors.New("unexpected answer")
	// ErrTransport is returned when no whole answer arrived: DNS, connection,
	// TLS, timeout, premature close.
	ErrTransport = errors.New("no answer")
)

// Error is a failed request. It never holds a secret: what the server said is
// cut short and stripped of the credentials that the client knows.
type Error struct {
	// Op is what was being done, such as "get data".
	Op string
	// Kind is one of the sentinels of this package.
	Kind error
	// Status is the HTTP status, 0 when there was none.
	Status int
	// RetryAfter is the server's wish, 0 when it named none.
	RetryAfter time.Duration
	// Detail is what the server said, or what is wrong with it.
	Detail string
	// Err is the cause below, if any.
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

// kindOf reads a status as the documentation and captures give it.
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

// retryAfter reads the header in both its forms, seconds and HTTP date. A date
// is by the server's clock, which the answer tells; that of this machine, now, is
// only for a server that does not.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	// More seconds than a Duration holds are no wish that anybody can grant.
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
