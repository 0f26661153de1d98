package bpcctest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"bpcc-nats/bpcc/bpcctest"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	smallCentre(x.Tenant)
	x.subscribe(agents)
	complete := x.data()
	get := func() httpResponse { t.Helper(); return x.do("GET", data, "") }

	x.Inject(bpcctest.Fault{Status: 503, RetryAfter: "7", Body: "<html>busy</html>"})
	if a := get(); a.StatusCode != 503 || a.Header.Get("Retry-After") != "7" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || a.body != "<html>busy</html>" {
		t.Errorf("status: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	for _, status := range []int{204, 401, 404, 429, 500, 502} {
		x.Inject(bpcctest.Fault{Status: status})
		if a := get(); a.StatusCode != status || a.body != "" {
			t.Errorf("status %d: %d %s", status, a.StatusCode, a.body)
		}
	}
	x.Inject(bpcctest.Fault{Body: `{"a":1}`, ContentType: "text/plain"})
	if a := get(); a.StatusCode != 200 || a.body != `{"a":1}` || a.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("body: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	x.Inject(bpcctest.Fault{Close: true})
	if a := get(); a.StatusCode != 200 || !errors.Is(a.err, io.ErrUnexpectedEOF) || a.body != complete[:len(complete)/2] {
		t.Errorf("close: %d, %v, %s", a.StatusCode, a.err, a.body)
	}
	x.Inject(bpcctest.Fault{Status: 204, Close: true})
	if a := get(); a.err == nil {
		t.Errorf("close without a body: %d", a.StatusCode)
	}
	x.Inject(bpcctest.Fault{Truncate: true})
	if a := get(); a.StatusCode != 200 || a.err != nil || a.body != complete[:len(complete)/2] || a.ContentLength != int64(len(a.body)) {
		t.Errorf("truncate: %d, %v, length %d, %s", a.StatusCode, a.err, a.ContentLength, a.body)
	}
	x.Inject(bpcctest.Fault{EmptyGrids: true})
	if a := get(); a.body != `{"a":{"agent_grids":[{"id":"g","values":[]}]}}` {
		t.Errorf("empty grids: %s", a.body)
	}
	x.Inject(bpcctest.Fault{Foreign: true})
	if a := get(); !strings.HasPrefix(a.body, `{"wallboard-7":`) {
		t.Errorf("foreign: %s", a.body)
	}
	began := time.Now()
	x.Inject(bpcctest.Fault{Delay: 30 * time.Millisecond})
	if a := get(); a.body != complete || time.Since(began) < 30*time.Millisecond {
		t.Errorf("delay: %s after %v", a.body, time.Since(began))
	}
	began = time.Now()
	x.Inject(bpcctest.Fault{Drip: 100 * time.Microsecond})
	if a := get(); a.body != complete || time.Since(began) < time.Duration(len(complete))*100*time.Microsecond {
		t.Errorf("drip: %s after %v", a.body, time.Since(began))
	}
	// The client itself repeats a request whose used connection was reset.
	x.Inject(bpcctest.Fault{Reset: true, Times: 2})
	if a := get(); a.err == nil {
		t.Errorf("reset: %d %s", a.StatusCode, a.body)
	}
	if a := get(); a.body != complete {
		t.Errorf("afterwards: %s", a.body)
	}

	x.Inject(bpcctest.Fault{Status: 500, Times: 2})
	x.Inject(bpcctest.Fault{Status: 502, Times: -1})
	x.Inject(bpcctest.Fault{Status: 401, Path: "/oauth/token"})
	for i, want := range []int{500, 500, 502, 502, 502} {
		if a := get(); a.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, a.StatusCode, want)
		}
	}
	x.expectStatus(401, "POST", "/configapi/v2/oauth/token", "")
	x.ClearFaults()
	if a := get(); a.body != complete {
		t.Errorf("cleared: %s", a.body)
	}
	x.Inject(bpcctest.Fault{Path: "/subscription", Status: 409})
	x.expectStatus(409, "POST", "/statsapi/subscription", agents)
	x.Inject(bpcctest.Fault{Path: "/subscription", Close: true})
	if a := x.do("POST", "/statsapi/subscription", agents); a.err == nil {
		t.Errorf("subscribe over a cut connection: %d", a.StatusCode)
	}

	c := x.Counts()
	if c.Logins != 2 || c.Subscribes != 3 || c.Faults == 0 || c.Data[500] != 3 || c.Data[502] != 4 || c.Data[429] != 1 || c.MaxInFlightData != 1 {
		t.Errorf("counts %+v", c)
	}
	sum := 0
	for _, n := range c.Data {
		sum += n
	}
	if c.DataRequests() != sum {
		t.Errorf("%d data requests, want %d", c.DataRequests(), sum)
	}
}

func TestFaultAsJSON(t *testing.T) {
	t.Parallel()
	f := bpcctest.Fault{
		Path: "/x", Status: 503, RetryAfter: "5", Delay: 1500 * time.Millisecond, Drip: 20 * time.Millisecond, Times: -1, Close: true,
		Every: 2, Services: []string{"Sales"}, Hang: true, BOM: true, ExpiresIn: `"1h"`,
		Frozen: true, Lag: 4 * time.Second, Empty: []string{"agents"}, Shuffle: true, Limit: 3,
		Rows: map[string]bpcctest.Row{"ann": {
			Missing: true, Without: []string{"reason"}, Cells: map[string]json.RawMessage{"extension": json.RawMessage(`["7"]`)},
			Duplicate: map[string]json.RawMessage{},
		}},
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"path":"/x","services":["Sales"],"every":2,"times":-1,"status":503,"retry_after":"5","close":true,"hang":true,` +
		`"bom":true,"frozen":true,"empty":["agents"],"shuffle":true,"limit":3,` +
		`"rows":{"ann":{"missing":true,"without":["reason"],"cells":{"extension":["7"]},"duplicate":{}}},` +
		`"delay":"1.5s","drip":"20ms","lag":"4s","expires_in":"1h"}`
	if string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
	var back bpcctest.Fault
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, f) {
		t.Errorf("%+v (%v), want %+v", back, err, f)
	}
	for _, bad := range []string{`{"delay":"soon"}`, `{"lag":4}`, `{"staus":500}`, `{"rows":{"ann":{"mising":true}}}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// Two requests of one user at one time are counted as two, also while they are
// being held up.
func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	x.AddUser("other", "o")
	other := x.login("other", "o").Token
	x.token = ""
	x.subscribe(agents)
	x.Inject(bpcctest.Fault{Delay: 300 * time.Millisecond, Times: -1})
	var all sync.WaitGroup
	for _, token := range []string{x.token, x.token, other} {
		all.Go(func() { x.do("GET", data, "", "Authorization", "Bearer "+token) })
	}
	all.Wait()
	if got := x.Counts().MaxInFlightData; got != 2 {
		t.Errorf("%d in flight at most, want 2", got)
	}
}

// TestFaultOfAService is met by the checks of that service alone.
func TestFaultOfAService(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	smallCentre(x.Tenant)
	x.subscribe(agents)
	x.Inject(bpcctest.Fault{Services: []string{"Voice"}, Status: 500, Times: 2})
	for _, c := range []struct {
		path   string
		status int
	}{
		{data, 200}, {"/statsapi/info/check_available_agents?service=Chat", 200}, {"/statsapi/cfg/teams?service=Voice", 200},
		{"/statsapi/info/check_available_agents?service=Voice", 500}, {"/statsapi/info/check_available_agents?tenantUrl=a&service=Voice", 500},
		{"/statsapi/info/check_available_agents?service=Voice", 200},
	} {
		if a := x.do("GET", c.path, ""); a.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.path, a.StatusCode, c.status)
		}
	}
}

// Close ends a delay and waits for the request that sat in it.
func TestCloseEndsDelays(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	arrive := sync.OnceFunc(func() { close(arrived) })
	s := bpcctest.NewServer(bpcctest.Config{Now: func() time.Time {
		arrive() // a request asks for the time first
		return time.Now()
	}})
	s.Inject(bpcctest.Fault{Path: "/cfg/teams", Delay: time.Hour})
	done := make(chan error, 1)
	go func() {
		resp, err := http.Get(s.URL + "/statsapi/cfg/teams")
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	<-arrived
	s.Close()
	if err := <-done; err == nil {
		t.Error("the delayed request was answered")
	}
	s.Close()
}

func TestLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lines []string
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1, Log: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, strings.TrimSpace(fmt.Sprintf(format, args...)))
	}})
	x.subscribe(agents)
	x.data()
	x.expectStatus(404, "GET", "/nowhere", "")
	mu.Lock()
	defer mu.Unlock()
	text := strings.Join(lines, "\n")
	if len(lines) != 4 || !strings.Contains(text, "GET /statsapi/subscription/data sim: 200") ||
		strings.Contains(text, x.token) || strings.Contains(text, "sim-secret") {
		t.Errorf("log:\n%s", text)
	}
}

// TestOddValues: a value of another type, and a token whose lifetime is stated in another way.
func TestOddValues(t *testing.T) {
	t.Parallel()
	x := startTester(t, bpcctest.Config{NotReadyPolls: -1})
	smallCentre(x.Tenant)
	x.subscribe(agents)
	complete := x.data()
	x.Inject(bpcctest.Fault{Nested: "ready"})
	if a := x.do("GET", data, ""); strings.Contains(a.body, `:"ready"`) || strings.Count(a.body, `:["ready"]`) != strings.Count(complete, `:"ready"`) || !json.Valid([]byte(a.body)) {
		t.Errorf("nested: %s", a.body)
	}
	for text, want := range map[string]string{"-1": `"expires_in":-1,`, `"soon"`: `"expires_in":"soon",`, "none": `"token_type":"Bearer","scope"`} {
		x.Inject(bpcctest.Fault{Path: "/oauth/token", ExpiresIn: text})
		a := x.do("POST", "/configapi/v2/oauth/token", "grant_type=client_credentials&client_id=sim&client_secret=sim-secret",
			"Content-Type", "application/x-www-form-urlencoded")
		if a.StatusCode != 200 || !strings.Contains(a.body, want) || !json.Valid([]byte(a.body)) {
			t.Errorf("expires_in %s: %d %s", text, a.StatusCode, a.body)
		}
	}
}
