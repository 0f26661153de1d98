package bpcc_test

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// errorKinds are all the kinds there are: an error is exactly one of them.
var errorKinds = []error{
	bpcc.ErrAuth, bpcc.ErrForbidden, bpcc.ErrNotReady, bpcc.ErrNoSubscription, bpcc.ErrLimit, bpcc.ErrThrottled,
	bpcc.ErrRejected, bpcc.ErrMalformed, bpcc.ErrTooLarge, bpcc.ErrServer, bpcc.ErrUnexpected, bpcc.ErrTransport,
}

// wantError is what an error must be.
type wantError struct {
	op     string
	kind   error
	status int
	retry  time.Duration
	detail string // within its text
}

// checkError checks an error by errors.Is and errors.As.
func checkError(t *testing.T, err error, w wantError) {
	t.Helper()
	var e *bpcc.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *bpcc.Error", err)
	}
	for _, kind := range errorKinds {
		if got := errors.Is(err, kind); got != (kind == w.kind) {
			t.Errorf("error %q is %q: %v", err, kind, got)
		}
	}
	if e.Op != w.op || e.Status != w.status || e.RetryAfter != w.retry {
		t.Errorf("op %q, status %d, retry after %v; want %q, %d, %v", e.Op, e.Status, e.RetryAfter, w.op, w.status, w.retry)
	}
	if !strings.HasPrefix(err.Error(), w.op+": "+w.kind.Error()) || !strings.Contains(err.Error(), w.detail) {
		t.Errorf("text %q; want op and kind first, and %q in it", err, w.detail)
	}
}

// TestRetryAfterIsByTheServersClock sets the client's clock an hour back: a date
// must not keep the client away for an hour longer.
func TestRetryAfterIsByTheServersClock(t *testing.T) {
	t.Parallel()
	now := newFakeClock()
	sim := startTenant(t, bpcctest.Config{Now: now.Now})
	client := newClient(t, bpcc.Config{URL: sim.URL, Now: func() time.Time { return now.Now().Add(-time.Hour) }})
	subscribe(t, client)
	sim.Inject(bpcctest.Fault{Status: 503, RetryAfter: now.Now().Add(20 * time.Second).Format(http.TimeFormat)})
	_, err := client.Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrThrottled, status: 503, retry: 20 * time.Second})
}

func TestDataErrors(t *testing.T) {
	t.Parallel()
	start := newFakeClock().Now()
	at := func(d time.Duration) string { return start.Add(d).Format(http.TimeFormat) }
	tests := map[string]struct {
		fault bpcctest.Fault
		want  wantError
	}{
		"not ready":              {bpcctest.Fault{Status: 204}, wantError{kind: bpcc.ErrNotReady, status: 204}},
		"bad request":            {bpcctest.Fault{Status: 400, Body: `{"error_code":"400"}`}, wantError{kind: bpcc.ErrRejected, status: 400, detail: "error_code"}},
		"unauthorized":           {bpcctest.Fault{Status: 401}, wantError{kind: bpcc.ErrAuth, status: 401}},
		"forbidden":              {bpcctest.Fault{Status: 403, Body: "no privilege"}, wantError{kind: bpcc.ErrForbidden, status: 403, detail: "no privilege"}},
		"no subscription":        {bpcctest.Fault{Status: 404}, wantError{kind: bpcc.ErrNoSubscription, status: 404}},
		"conflict":               {bpcctest.Fault{Status: 409}, wantError{kind: bpcc.ErrLimit, status: 409}},
		"a status of no meaning": {bpcctest.Fault{Status: 418}, wantError{kind: bpcc.ErrUnexpected, status: 418}},
		"server error":           {bpcctest.Fault{Status: 500}, wantError{kind: bpcc.ErrServer, status: 500}},
		"bad gateway":            {bpcctest.Fault{Status: 502, Body: "<html>\r\n<h1>502</h1>\x00"}, wantError{kind: bpcc.ErrServer, status: 502, detail: "<html> <h1>502</h1>"}},
		"unavailable":            {bpcctest.Fault{Status: 503}, wantError{kind: bpcc.ErrThrottled, status: 503}},
		"throttled":              {bpcctest.Fault{Status: 429}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"for seconds":            {bpcctest.Fault{Status: 429, RetryAfter: "7"}, wantError{kind: bpcc.ErrThrottled, status: 429, retry: 7 * time.Second}},
		"until a date":           {bpcctest.Fault{Status: 503, RetryAfter: at(90 * time.Second)}, wantError{kind: bpcc.ErrThrottled, status: 503, retry: 90 * time.Second}},
		"until a past date":      {bpcctest.Fault{Status: 429, RetryAfter: at(-time.Second)}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"for no time":            {bpcctest.Fault{Status: 429, RetryAfter: "0"}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"for less than no time":  {bpcctest.Fault{Status: 429, RetryAfter: "-5"}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"for ages":               {bpcctest.Fault{Status: 429, RetryAfter: "9223372036854775807"}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"for just too long":      {bpcctest.Fault{Status: 429, RetryAfter: "9223372037"}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"for a word":             {bpcctest.Fault{Status: 429, RetryAfter: "soon"}, wantError{kind: bpcc.ErrThrottled, status: 429}},
		"HTML":                   {bpcctest.Fault{Body: "<html>Please log in</html>"}, wantError{kind: bpcc.ErrMalformed, status: 200, detail: "HTML instead of JSON"}},
		"an array":               {bpcctest.Fault{Body: "[1]"}, wantError{kind: bpcc.ErrMalformed, status: 200, detail: "[1]"}},
		"nothing":                {bpcctest.Fault{Status: 200}, wantError{kind: bpcc.ErrMalformed, status: 200, detail: "the body is empty"}},
		"blanks":                 {bpcctest.Fault{Body: " \r\n\t", ContentType: "text/plain"}, wantError{kind: bpcc.ErrMalformed, status: 200, detail: "the body is empty"}},
		"cut off":                {bpcctest.Fault{Close: true}, wantError{kind: bpcc.ErrTransport, status: 200, detail: "response ended after"}},
		"cut off in an error":    {bpcctest.Fault{Status: 500, Body: `{"error":"no session"}`, Close: true}, wantError{kind: bpcc.ErrServer, status: 500, detail: `{"error"`}},
		"a long story":           {bpcctest.Fault{Status: 500, Body: strings.Repeat("ü", 1000)}, wantError{kind: bpcc.ErrServer, status: 500, detail: strings.Repeat("ü", 80) + "…"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := newFakeClock()
			sim := startTenant(t, bpcctest.Config{Now: now.Now})
			client := newClient(t, bpcc.Config{URL: sim.URL, Now: now.Now})
			subscribe(t, client)
			sim.Inject(tt.fault)
			_, err := client.Data(t.Context())
			tt.want.op = "get data"
			checkError(t, err, tt.want)
			if len(err.Error()) > 400 {
				t.Errorf("%d bytes of error text", len(err.Error()))
			}
			if _, err := client.Data(t.Context()); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

func TestSubscribeErrors(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{RefuseUnknownStats: true})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	err := client.Subscribe(t.Context(), testSubscription)
	checkError(t, err, wantError{op: "create subscription", kind: bpcc.ErrAuth, status: 401})
	logIn(t, client)
	err = client.Subscribe(t.Context(), bpcc.Subscription{"wall": {StatsTotals: []string{"no_such_statistic"}}})
	checkError(t, err, wantError{op: "create subscription", kind: bpcc.ErrRejected, status: 400, detail: "no_such_statistic"})
	sim.FillSubscriptions()
	err = client.Subscribe(t.Context(), testSubscription)
	checkError(t, err, wantError{op: "create subscription", kind: bpcc.ErrLimit, status: 409})
	sim.Inject(bpcctest.Fault{Path: "/subscription/active", Status: 500})
	checkError(t, client.Unsubscribe(t.Context()), wantError{op: "delete subscription", kind: bpcc.ErrServer, status: 500})
}

func TestDirectoryCallErrors(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	logIn(t, client)
	calls := map[string]struct {
		path string
		call func(context.Context) error
	}{
		"get teams":    {"/cfg/teams", func(ctx context.Context) error { _, err := client.Teams(ctx); return err }},
		"get services": {"/cfg/services", func(ctx context.Context) error { _, err := client.Services(ctx); return err }},
		"get agents":   {"/cfg/agents", func(ctx context.Context) error { _, err := client.Agents(ctx); return err }},
		"get dispositions": {"/cfg/dispositions", func(ctx context.Context) error {
			_, err := client.Dispositions(ctx, bpcc.DispositionQuery{})
			return err
		}},
		"check available agents": {"/check_available_agents", func(ctx context.Context) error { _, err := client.Available(ctx, "Sales"); return err }},
	}
	for op, c := range calls {
		faults := map[*bpcctest.Fault]wantError{
			{Truncate: true}:               {kind: bpcc.ErrMalformed, status: 200},
			{Body: `"a text"`}:             {kind: bpcc.ErrMalformed, status: 200, detail: "a text"},
			{Body: "<html>"}:               {kind: bpcc.ErrMalformed, status: 200, detail: "HTML instead of JSON"},
			{Status: 404}:                  {kind: bpcc.ErrUnexpected, status: 404},
			{Status: 401}:                  {kind: bpcc.ErrAuth, status: 401},
			{Status: 429, RetryAfter: "3"}: {kind: bpcc.ErrThrottled, status: 429, retry: 3 * time.Second},
		}
		for fault, w := range faults {
			fault.Path, w.op = c.path, op
			sim.Inject(*fault)
			checkError(t, c.call(t.Context()), w)
		}
	}
	sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Body: `{"available":true}`})
	_, err := client.Available(t.Context(), "Sales")
	checkError(t, err, wantError{op: "check available agents", kind: bpcc.ErrMalformed, status: 200, detail: "no availability in"})
	sim.Inject(bpcctest.Fault{Path: "/cfg/teams", Truncate: true})
	_, err = client.Teams(t.Context())
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		t.Errorf("error %v does not hold the JSON error", err)
	}
}

// An entry of a listing that cannot be read spoils itself, and a listing without any that can is none.
func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		refs []bpcc.Ref // nil = malformed
		said string
	}{
		"all":            {`[{"id":"1","name":"Sales"},{"id":2,"name":null}]`, []bpcc.Ref{{ID: "1", Name: "Sales"}, {ID: "2"}}, ""},
		"none":           {`[]`, []bpcc.Ref{}, ""},
		"an odd id":      {`[{"id":{},"name":"Sales"},{"id":"2","name":"Night"}]`, []bpcc.Ref{{}, {ID: "2", Name: "Night"}}, ""},
		"an odd name":    {`[{"id":"1","name":["Sales"]},{"id":"2","name":"Night"}]`, []bpcc.Ref{{}, {ID: "2", Name: "Night"}}, ""},
		"no objects":     {`[7,"x",null,[1],{"id":"2","name":"Night","more":{"x":[]}}]`, []bpcc.Ref{{}, {}, {}, {}, {ID: "2", Name: "Night"}}, ""},
		"a mark":         {"\ufeff" + `[{"id":"1","name":"Sales"}]`, []bpcc.Ref{{ID: "1", Name: "Sales"}}, ""},
		"only odd ones":  {`["session expired"]`, nil, "session expired"},
		"null":           {`null`, nil, "null"},
		"an error":       {`{"error":"session expired"}`, nil, "session expired"},
		"an odd listing": {`{"teams":[{"id":"1"}]}`, nil, "teams"},
		"UTF-16":         {"\xff\xfe[\x00]\x00", nil, "UTF-16"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := startTenant(t, bpcctest.Config{})
			client := newClient(t, bpcc.Config{URL: sim.URL})
			logIn(t, client)
			sim.Inject(bpcctest.Fault{Path: "/cfg/teams", Body: tt.body})
			got, err := client.Teams(t.Context())
			if tt.refs == nil {
				checkError(t, err, wantError{op: "get teams", kind: bpcc.ErrMalformed, status: 200, detail: tt.said})
				return
			}
			if d := cmp.Diff(tt.refs, got); d != "" || err != nil {
				t.Errorf("error %v, teams (-want +got)\n%s", err, d)
			}
		})
	}
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	logIn(t, client)
	sim.Inject(bpcctest.Fault{Path: "/cfg/dispositions", Body: `["Sale",5,["No sale"],null,{"name":"x"}]`})
	got, err := client.Dispositions(t.Context(), bpcc.DispositionQuery{})
	if d := cmp.Diff([]string{"Sale", "5", "", "", ""}, got); d != "" || err != nil {
		t.Errorf("error %v, dispositions (-want +got)\n%s", err, d)
	}
}

// An availability that is no boolean is a failure with the server's words, not an answer.
func TestUnreadableAvailability(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"availability":"true"}`, `{"availability":1}`, `{"availability":null}`, `{"availability":[true]}`, `{"error":"no such service"}`, `[]`, `true`, `null`, `""`, ``, `no`,
	} {
		sim := startTenant(t, bpcctest.Config{})
		client := newClient(t, bpcc.Config{URL: sim.URL})
		sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Status: 200, Body: body})
		said := body
		if body == "" {
			said = "the body is empty"
		}
		available, err := client.Available(t.Context(), "Sales")
		checkError(t, err, wantError{op: "check available agents", kind: bpcc.ErrMalformed, status: 200, detail: said})
		if available {
			t.Errorf("%q says that agents are available", body)
		}
	}
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Body: "\ufeff" + `{"availability":true}`})
	if available, err := client.Available(t.Context(), "Sales"); err != nil || !available {
		t.Errorf("with a byte order mark: %v, error %v", available, err)
	}
}

// A byte order mark is no part of a response, and another encoding is named.
func TestByteOrderMarks(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL})
	sim.Inject(bpcctest.Fault{Path: "/oauth/token", Body: "\ufeff" + `{"access_token":"T0K","expires_in":60}`})
	if token, err := client.AccessToken(t.Context()); err != nil || token.TTL != time.Minute {
		t.Errorf("token %v, error %v", token, err)
	}
	subscribe(t, client)
	sim.Inject(bpcctest.Fault{Body: "\ufeff" + `{"wall":{}}`})
	if response, err := client.Data(t.Context()); err != nil || string(response.Body) != `{"wall":{}}` {
		t.Errorf("data %q, error %v", response.Body, err)
	}
	for _, body := range []string{"\xff\xfe{\x00}\x00", "\xfe\xff\x00{\x00}"} {
		sim.Inject(bpcctest.Fault{Body: body})
		_, err := client.Data(t.Context())
		checkError(t, err, wantError{op: "get data", kind: bpcc.ErrMalformed, status: 200, detail: "text is in UTF-16, want UTF-8"})
	}
	sim.Inject(bpcctest.Fault{Status: 403, Body: "\ufeffno privilege"})
	_, err := client.Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrForbidden, status: 403, detail: ": no privilege"})
	if _, err := bpcc.ParseSubscription([]byte("\xff\xfe{\x00}\x00")); !errors.Is(err, bpcc.ErrSubscription) || !strings.Contains(err.Error(), "UTF-16") {
		t.Errorf("subscription: %v", err)
	}
}

func TestSlowResponse(t *testing.T) {
	t.Parallel()
	sim := startTenant(t, bpcctest.Config{})
	client := newClient(t, bpcc.Config{URL: sim.URL, Timeout: 50 * time.Millisecond})
	sim.Inject(bpcctest.Fault{Path: "/check_available_agents", Delay: time.Hour})
	_, err := client.Available(t.Context(), "Sales")
	checkError(t, err, wantError{op: "check available agents", kind: bpcc.ErrTransport})
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v is no timeout", err)
	}
}

// The timeout bounds the body, too: headers in time do not help.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	address := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"wall":`)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	})
	_, err := newClient(t, bpcc.Config{URL: address, Timeout: 100 * time.Millisecond}).Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrTransport, status: 200, detail: "response ended after 8 bytes"})
}

func TestCancelledRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	address := startServer(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := newClient(t, bpcc.Config{URL: address}).Data(ctx)
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrTransport})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v is not context.Canceled", err)
	}
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = newClient(t, bpcc.Config{URL: refused}).Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrTransport})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v is not ECONNREFUSED", err)
	}
	// The domain .invalid never resolves (RFC 6761).
	_, err = newClient(t, bpcc.Config{URL: "http://no-such-tenant.invalid"}).Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrTransport})
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		t.Errorf("error %v is no *net.DNSError", err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs the refused handshake
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := newClient(t, bpcc.Config{URL: s.URL}).Data(t.Context())
	checkError(t, err, wantError{op: "get data", kind: bpcc.ErrTransport})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("error %v is no x509.UnknownAuthorityError", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	if _, err := newClient(t, bpcc.Config{URL: s.URL, RootCAs: roots}).Data(t.Context()); err != nil {
		t.Errorf("with its root: %v", err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	target := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		followed.Add(1)
		fmt.Fprint(w, "{}")
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		address := startServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target+"/login", status) })
		_, err := newClient(t, bpcc.Config{URL: address}).Data(t.Context())
		checkError(t, err, wantError{op: "get data", kind: bpcc.ErrUnexpected, status: status, detail: "redirected to " + target + "/login"})
		err = newClient(t, bpcc.Config{URL: address}).Subscribe(t.Context(), testSubscription)
		checkError(t, err, wantError{op: "create subscription", kind: bpcc.ErrUnexpected, status: status})
	}
	if n := followed.Load(); n > 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	body := `{"wall":"` + strings.Repeat("x", 1000) + `"}`
	plain := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
	zipped := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, body)
		if err := z.Close(); err != nil {
			t.Error(err)
		}
	}
	failed := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		plain(w, r)
	}
	size := int64(len(body))
	tests := map[string]struct {
		handler http.HandlerFunc
		most    int64
		status  int // 0 = accepted
	}{
		"as large as allowed":         {plain, size, 0},
		"one byte more":               {plain, size - 1, 200},
		"as large when unzipped":      {zipped, size, 0},
		"one byte more when unzipped": {zipped, size - 1, 200},
		"an error":                    {failed, size - 1, 500},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response, err := newClient(t, bpcc.Config{URL: startServer(t, tt.handler), MaxBody: tt.most}).Data(t.Context())
			if tt.status != 0 {
				checkError(t, err, wantError{op: "get data", kind: bpcc.ErrTooLarge, status: tt.status, detail: fmt.Sprintf("more than %d bytes", tt.most)})
				return
			}
			if diff := cmp.Diff(body, string(response.Body)); err != nil || diff != "" {
				t.Errorf("error %v, body (-want +got)\n%s", err, diff)
			}
		})
	}
}
