package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestExamples runs the examples in Go and TypeScript as processes, and moves the simulated tenant. The commands
// of their README are run by TestDocuments.
func TestExamples(t *testing.T) {
	needScripts(t)
	bridge := findBridge(t)
	env := cleanEnv()
	server := startServer(t, env)
	url, id, secret := startTenant(t, env, bridge, "--still")
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := nats.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	f := &floor{url: url, connection: connection, read: map[string]int{}}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/examples",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(append(e.Vars, env...),
				"PATH="+filepath.Dir(bridge)+":"+e.Getenv("PATH"), "ROOT="+top, "TSX=file://"+top+"/examples/ts/node_modules/tsx/dist/loader.mjs",
				"NATS_URL="+server, "BPCC_URL="+url, "BPCC_CLIENT_ID="+id, "BPCC_CLIENT_SECRET="+secret, "BRIDGE_TENANT=demo",
				"BPCC_POLL_INTERVAL=200ms", "BPCC_AVAILABILITY_INTERVAL=200ms", "BPCC_DIRECTORY_INTERVAL=0s",
				"BRIDGE_CHECKPOINT_INTERVAL=500ms", "BRIDGE_LEASE_TTL=1s", "BRIDGE_HTTP=off")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sim": f.sim, "event": f.event, "walk": f.walk, "stored": f.stored, "complete": f.complete, "printed": f.printed, "seen": f.seenSoFar,
		},
	})
}

// floor is the simulated tenant and the stream that the bridge makes of it, for the commands of a script.
type floor struct {
	url        string
	connection *nats.Conn
	read       map[string]int // bytes by file that `printed` has read

	mu     sync.Mutex
	bodies []string // of the stream, from its start
	seen   int      // bodies that `event` has looked at
}

// waitUntil asks until the answer is true, and fails the script after 20 seconds.
func waitUntil(ts *testscript.TestScript, what string, ask func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !ask(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("not within 20 s: %s", what)
		}
	}
}

// sim changes the tenant: sim PATH JSON.
func (f *floor) sim(ts *testscript.TestScript, _ bool, args []string) {
	f.put(ts, args[0], args[1])
}

func (f *floor) put(ts *testscript.TestScript, path, body string) {
	request, err := http.NewRequest(http.MethodPut, f.url+"/sim/"+path, strings.NewReader(body))
	ts.Check(err)
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	answer, err := io.ReadAll(response.Body)
	ts.Check(err)
	ts.Check(response.Body.Close())
	if response.StatusCode/100 != 2 {
		ts.Fatalf("PUT /sim/%s: %s %s", path, response.Status, answer)
	}
}

// follow reads the stream into f.bodies, once it is there.
func (f *floor) follow(ts *testscript.TestScript) {
	if f.bodies != nil {
		return
	}
	ctx := context.Background()
	js, err := jetstream.New(f.connection)
	ts.Check(err)
	waitUntil(ts, "the stream", func() bool {
		_, err := js.Stream(ctx, "BPCC_EVENTS")
		return err == nil
	})
	consumer, err := js.OrderedConsumer(ctx, "BPCC_EVENTS", jetstream.OrderedConsumerConfig{})
	ts.Check(err)
	f.bodies = []string{}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.bodies = append(f.bodies, string(m.Data()))
	})
	ts.Check(err)
	ts.Defer(consuming.Stop)
}

// event waits for an event after the one that was waited for before: event TYPE [PATTERN].
func (f *floor) event(ts *testscript.TestScript, _ bool, args []string) {
	f.follow(ts)
	pattern := regexp.MustCompile(strings.Join(args[1:], ""))
	waitUntil(ts, strings.Join(args, " "), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for f.seen < len(f.bodies) {
			body := f.bodies[f.seen]
			f.seen++
			if strings.Contains(body, `"type":"bpcc.`+args[0]+`.v1"`) && pattern.MatchString(body) {
				return true
			}
		}
		return false
	})
}

// walk changes the state of the agent that often, each time when the stream has the change before: walk N.
func (f *floor) walk(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := range n {
		state := []string{"busy", "ready"}[i%2]
		f.put(ts, "agents/john.smith", fmt.Sprintf(`{"state": %q, "reason": ""}`, state))
		f.event(ts, false, []string{"agent.state_changed"})
	}
}

// changes returns the ids of the changes of state in the stream.
func (f *floor) changes(ts *testscript.TestScript) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for _, body := range f.bodies {
		if strings.Contains(body, `"type":"bpcc.agent.state_changed.v1"`) {
			ids = append(ids, eventID(ts, body))
		}
	}
	return ids
}

func eventID(ts *testscript.TestScript, body string) string {
	var event struct{ ID string }
	ts.Check(json.Unmarshal([]byte(body), &event))
	return event.ID
}

// stored writes the stream into a file, a line for an event: stored [-without-change N] FILE.
func (f *floor) stored(ts *testscript.TestScript, _ bool, args []string) {
	var left string
	if args[0] == "-without-change" {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		left, args = f.changes(ts)[n-1], args[2:]
	}
	var out bytes.Buffer
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, body := range f.bodies {
		if left == "" || eventID(ts, body) != left {
			out.WriteString(body + "\n")
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

// complete waits until a ledger has as many lines as the stream has changes of state, and checks that
// they are those, once each and in order: complete FILE.
func (f *floor) complete(ts *testscript.TestScript, _ bool, args []string) {
	want := f.changes(ts)
	var got []string
	waitUntil(ts, fmt.Sprintf("%d lines in %s", len(want), args[0]), func() bool {
		got = nil
		for line := range strings.Lines(ts.ReadFile(args[0])) {
			if strings.HasSuffix(line, "\n") { // else it is being written
				got = append(got, eventID(ts, line))
			}
		}
		return len(got) >= len(want)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		ts.Fatalf("ids of changes (-stream +%s):\n%s", args[0], diff)
	}
}

// printed waits until a file has something new that matches: printed FILE PATTERN. Programs in the background write
// into such files.
func (f *floor) printed(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[1])
	waitUntil(ts, strings.Join(args, " "), func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil || !pattern.Match(text[min(f.read[args[0]], len(text)):]) {
			return false
		}
		f.read[args[0]] = len(text)
		return true
	})
}

// seenSoFar notes what files hold, so that it is not new to printed: seen FILE….
func (f *floor) seenSoFar(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		f.read[file] = len(ts.ReadFile(file))
	}
}
