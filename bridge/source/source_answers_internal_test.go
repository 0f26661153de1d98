package source

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/diff"
)

// pollAndParse polls once, with the check of the response that the engine makes.
func pollAndParse(t *testing.T, src *Session) error {
	t.Helper()
	response, err := src.poll(t.Context())
	if err != nil {
		return err
	}
	if _, err = diff.Parse(src.Plan.Layout, response.Body); err != nil {
		err = src.ExplainAnswer(err, response.Body)
	}
	src.reportResult(err)
	return err
}

// TestAnswersThatAreNoSnapshot answers requests for data with something else. Once that is a lost
// session: the bridge logs in and subscribes again. If it persists, the error holds the server's
// words, and there are few requests and no more logins, until there was a good snapshot.
func TestAnswersThatAreNoSnapshot(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		said string
	}{
		"an error":               {`{"error":"session expired"}`, "error: session expired"},
		"an error with a mark":   {"\ufeff" + `{"error":"session expired"}`, "error: session expired"},
		"a code":                 {`{"code":401,"message":"please log in"}`, "code: 401, message: please log in"},
		"an error in an object":  {`{"error":{"code":401,"text":"please log in"}}`, "code: 401, text: please log in"},
		"errors in an array":     {`{"data":null,"errors":[{"message":"please log in"}]}`, "message: please log in"},
		"with a secret":          {`{"error":"sim-secret is not for SIM"}`, "[redacted] is not for SIM"},
		"a secret as a name":     {`{"sim-secret":"is wrong"}`, `member "[redacted]"`},
		"with control sequences": {`{"error":"please\u001b[31m log\n\u202e in"}`, "please [31m log in"},
		"long":                   {`{"error":"please ` + strings.Repeat("wait ", 1000) + `"}`, "please wait wait"},
		"an array":               {`[]`, "[]"},
		"text":                   {`"please log in"`, "please log in"},
		"plain text":             {`please log in`, "please log in"},
		"null":                   {`null`, "null"},
		"a number":               {`401`, "401"},
		"HTML":                   {`<html><title>please log in</title>`, "please log in"},
		"nothing":                {``, "the body is empty"},
		"an empty object":        {`{}`, "missing app id"},
		"no JSON":                {`{error: please log in}`, "invalid character"},
		"rows in an object":      {`{"bridge~test":{"agent_grids":[{"id":"agents","values":{"login_id":"anna"}}]}}`, `agent_grids "agents", values: want an array of rows, have an object`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, sim, clock := newTestSource(t, bpcctest.Config{TokenTTL: 100 * time.Hour})
			poll := func(what string, good bool) error {
				t.Helper()
				clock.advance(max(src.backoff, 2*time.Second))
				err := pollAndParse(t, src)
				if (err == nil) != good {
					t.Fatalf("%s: %v", what, err)
				}
				return err
			}
			expect := func(what string, logins int) {
				t.Helper()
				// Each login is followed by a subscription. What may be another program's takes more of them.
				foreign := name == "an error in an object" || name == "an empty object"
				if c := sim.Counts(); c.Logins != logins || c.Subscribes != logins && !foreign {
					t.Errorf("%s: %d logins, %d subscriptions; want %d", what, c.Logins, c.Subscribes, logins)
				}
			}
			fault := bpcctest.Fault{Body: tt.body, ContentType: "application/json", Status: 200}
			poll("before", true)
			sim.Inject(fault)
			poll("once", false)
			if src.backoff != 0 {
				t.Errorf("a lost session is waited out for %v", src.backoff)
			}
			poll("after it", true)
			expect("a lost session", 2)

			for range 40 { // long enough for another episode
				poll("in between", true)
			}
			fault.Times = -1
			sim.Inject(fault)
			started := clock.now()
			for n := range 10 {
				err := poll("persistent", false)
				if text := err.Error(); !strings.Contains(text, tt.said) || len(text) > 500 || strings.Contains(text, "sim-secret") || strings.Contains(text, "anna") {
					t.Errorf("poll %d: %q (%d bytes), want %q in it", n, text, len(text), tt.said)
				}
				if errors.Is(err, bpcc.ErrAuth) {
					t.Errorf("poll %d: %v", n, err)
				}
			}
			expect("an answer that persists", 3)
			if took := clock.now().Sub(started); took < 2*time.Minute {
				t.Errorf("ten requests within %v", took)
			}
			sim.ClearFaults()
			poll("when it is over", true)
			expect("when it is over", 3)
			for range 40 {
				poll("in between", true)
			}
			sim.Inject(bpcctest.Fault{Body: tt.body, ContentType: "application/json", Status: 200})
			poll("the next episode", false)
			poll("after the next episode", true)
			expect("the next episode", 4)
		})
	}
}

// TestAlternatingAnswers meets a balancer one of whose nodes answers with errors: good snapshots in
// between must not make the bridge log in at every second poll.
func TestAlternatingAnswers(t *testing.T) {
	t.Parallel()
	src, sim, clock := newTestSource(t, bpcctest.Config{TokenTTL: 100 * time.Hour})
	good := 0
	for n := range 300 {
		if n%2 == 1 {
			sim.Inject(bpcctest.Fault{Body: `{"error":"session expired"}`})
		}
		if err := pollAndParse(t, src); err == nil {
			good++
		}
		clock.advance(2 * time.Second)
	}
	if n := sim.Counts().Logins; n > 30 { // in ten minutes
		t.Errorf("%d logins", n)
	}
	if good < 100 {
		t.Errorf("%d good polls of 300", good)
	}
}

// TestCutAnswersKeepTheSession: a response that ends too early says nothing about the session.
func TestCutAnswersKeepTheSession(t *testing.T) {
	t.Parallel()
	src, sim, clock := newTestSource(t, bpcctest.Config{})
	sim.Inject(bpcctest.Fault{Truncate: true, Times: 5})
	for range 8 {
		_ = pollAndParse(t, src) // the counts say what it does
		clock.advance(10 * time.Second)
	}
	if c := sim.Counts(); c.Logins != 1 || c.Subscribes != 1 {
		t.Errorf("%d logins, %d subscriptions; want 1", c.Logins, c.Subscribes)
	}
}

// TestLoginAnswers answers logins with something else: the error holds the server's words and no
// credential, and the logins become rare.
func TestLoginAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, said string }{
		"an error":    {`{"error":"invalid_client","error_description":"user is locked"}`, "error: invalid_client, error_description: user is locked"},
		"with a mark": {"\ufeff" + `{"error":"user is locked"}`, "error: user is locked"},
		"a code":      {`{"code":403,"message":"user is locked"}`, "code: 403, message: user is locked"},
		"an array":    {`[{"error":"user is locked"}]`, "not shown"},
		"a token":     {`{"access_token":{"value":"0123456789"}}`, "not shown"},
		"nothing":     {``, "the body is empty"},
		"HTML":        {`<p>user is locked`, "user is locked"},
		"UTF-16":      {"\xff\xfe{\x00}\x00", "UTF-16"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, sim, clock := newTestSource(t, bpcctest.Config{})
			sim.Inject(bpcctest.Fault{Path: "/oauth/token", Body: tt.body, ContentType: "application/json", Status: 200, Times: -1})
			for range 150 { // five minutes
				err := pollAndParse(t, src)
				if !errors.Is(err, bpcc.ErrMalformed) || !strings.Contains(fmt.Sprint(err), tt.said) || strings.Contains(fmt.Sprint(err), "0123456789") {
					t.Fatalf("error %v, want %q in it", err, tt.said)
				}
				clock.advance(2 * time.Second)
			}
			if n := sim.Counts().Logins; n < 5 || n > 20 {
				t.Errorf("%d logins in five minutes", n)
			}
			sim.ClearFaults()
			clock.advance(time.Minute)
			if err := pollAndParse(t, src); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUnreadableDirectoryEntries: an entry that cannot be read spoils itself. It is counted and logged
// once, and the service that it may be is checked nevertheless.
func TestUnreadableDirectoryEntries(t *testing.T) {
	t.Parallel()
	sim, p, _, text := newPollers(t, nil)
	list := func(body string) []string {
		t.Helper()
		sim.Inject(bpcctest.Fault{Path: "/cfg/services", Body: body})
		if !p.pollDirectories(t.Context()) {
			t.Errorf("%s: a directory was not listed", body)
		}
		for _, l := range p.drainSnapshots() {
			if l.Directory == engine.Services && l.Skipped != p.skippedEntries() {
				t.Errorf("%s: %d entries skipped in the listing, %d in all", body, l.Skipped, p.skippedEntries())
			}
		}
		names, _ := p.serviceNames()
		return names
	}
	const voice, chat = `{"id":"S1","name":"Voice"}`, `{"id":2,"name":"Chat"}`
	if got := list("[" + voice + "," + chat + "]"); fmt.Sprint(got) != "[Chat Voice]" || p.skippedEntries() != 0 {
		t.Errorf("services %v, %d skipped", got, p.skippedEntries())
	}
	for range 3 {
		if got := list("[" + voice + `,{"id":{},"name":"Chat"},[2],"x",7,null]`); fmt.Sprint(got) != "[Chat Voice]" || p.skippedEntries() != 5 {
			t.Errorf("services %v, %d skipped; want 5", got, p.skippedEntries())
		}
	}
	if n := strings.Count(text.String(), "directory entries skipped"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, text)
	}
	list("[" + voice + "]") // a removal is believed at the second listing
	if got := list("[" + voice + "]"); fmt.Sprint(got) != "[Voice]" || p.skippedEntries() != 0 {
		t.Errorf("services %v, %d skipped", got, p.skippedEntries())
	}
	if !strings.Contains(text.String(), "directory is complete again") {
		t.Error("the end is not logged")
	}
}
