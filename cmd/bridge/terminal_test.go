package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/nats-io/nats.go"
	"golang.org/x/term"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/internal/hostile"
)

// terminal is a pseudo-terminal, and what has been written to it.
type terminal struct {
	tty  *os.File
	seen syncBuffer
	read chan struct{}
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 50, Cols: 300}); err != nil {
		t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(tty.Fd())); err != nil { // so that the kernel changes nothing
		t.Fatal(err)
	}
	x := &terminal{tty: tty, read: make(chan struct{})}
	go func() {
		defer close(x.read)
		defer screen.Close()
		_, _ = io.Copy(&x.seen, screen) // ends with an error when the other side is closed
	}()
	return x
}

// onTerminal runs the program with its output on a terminal, which is the result's
// stdout.
func onTerminal(t *testing.T, ctx context.Context, env []string, args ...string) result {
	t.Helper()
	x := newTerminal(t)
	status := run(ctx, args, env, x.tty, x.tty)
	x.tty.Close()
	<-x.read
	return result{status: status, stdout: x.seen.String()}
}

// hostileScene is a tenant with hostile names, which a bridge has published while its
// log was on a terminal, and a stream with messages of another program.
func hostileScene(t *testing.T) (s *processTest, log string) {
	t.Helper()
	s = newProcessTest(t)
	s.env = append(s.env, "BRIDGE_HTTP=off", "BRIDGE_LOG_LEVEL=debug", "BPCC_DIRECTORY_INTERVAL=100ms", "BPCC_AVAILABILITY_INTERVAL=100ms",
		`BRIDGE_THRESHOLDS=[{"name":"rule \u202e","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`)
	var agents []bpcctest.Agent
	for i, name := range hostile.Names() {
		service := fmt.Sprint("S", i, name)
		agents = append(agents, bpcctest.Agent{Login: fmt.Sprint("L", i, name), First: "N", Last: name + ".", Team: "T" + name, State: "ready", Services: []string{service}})
		s.tenant.SetAgent(agents[i])
		s.tenant.SetService(bpcctest.Service{Name: service})
	}
	x := newTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	go func() { status <- run(ctx, []string{"run"}, s.env, x.tty, x.tty) }()
	stored := func(what, text string) {
		t.Helper()
		var r result
		waitUntil(t, func() bool {
			r = runCommand(t, t.Context(), s.env, "replay", "--type", what, "--since", "1h")
			return strings.Contains(r.stdout, text)
		}, func() string { return fmt.Sprintf("no %s\n%s%s\n%q", what, r.stdout, r.stderr, x.seen.String()) })
	}
	stored("availability.observed,service.availability_observed", "title")
	for i, name := range hostile.Names() {
		agents[i].State, agents[i].Reason = "not_ready", "R"+name
		s.tenant.SetAgent(agents[i])
		s.tenant.SetServiceStat(fmt.Sprint("S", i, name), "in_calls_waiting", "7")
	}
	stored("agent.state_changed", "title")
	stored("threshold.raised", "title")
	s.tenant.SetTeams(append([]string{"NEW"}, hostile.Names()[1:]...)...)
	stored("directory.changed", "NEW")
	cancel()
	if got := <-status; got != exitOK {
		t.Errorf("run: status %d", got)
	}
	x.tty.Close()
	<-x.read
	for _, m := range []*nats.Msg{
		{Subject: "bpcc.v1.acme.agent.\x1b]0;x\x07\u202e\x9b.state_changed", Data: []byte(`{"type":"bpcc.\u001b[2J.x.v1","data":{"service":"\u001b[2J\u202e"}}`)},
		{Subject: "bpcc.v1.acme.agent.x.observed", Data: []byte("{\x1b]0;x\x07")},
		{Subject: "bpcc.v1.=1B]0;x=07.feed.checkpoint", Data: []byte(`{"type":"bpcc.\u001b[2J.v1","id":"\u001b]0;x\u0007\u202e","data":{"tenant":"\u001b]0;x\u0007"}}`)},
	} {
		if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	return s, x.seen.String()
}

// TestNothingDrivesTheTerminal runs every command that writes for people, on a
// terminal, with hostile names.
func TestNothingDrivesTheTerminal(t *testing.T) {
	t.Parallel()
	s, log := hostileScene(t)
	if bad := hostile.Controls(log); len(bad) > 0 {
		t.Errorf("run: %s", strings.Join(bad, "\n"))
	}
	if !strings.Contains(log, "\x1b[92mINF") {
		t.Errorf("run: the log has no colours: %q", log)
	}
	dir := t.TempDir()
	recording, rules := filepath.Join(dir, "recording"), filepath.Join(dir, "rules\x1b]0;x\x07.json")
	if r := onTerminal(t, t.Context(), s.env, "record", "--out", recording, "--for", "1s"); r.status != exitOK || len(hostile.Controls(r.stdout)) > 0 {
		t.Fatalf("record: status %d, %q", r.status, r.stdout)
	}
	rule := `[{"name":"rule \u202e","kind":"service","stat":"in_calls_waiting","raise":{"op":">=","value":5}}]`
	if err := os.WriteFile(rules, []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := writeFile(t, "refused.json", []byte(strings.Replace(rule, "rule ", `rule \u001b]0;rule\u0007`, 1)))
	export := writeFile(t, "export", []byte(runCommand(t, t.Context(), s.env, "replay", "--with-meta").stdout))
	anything := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, hostile.Text())
	}))
	defer anything.Close()
	title, turned := `\x1b]0;`, `\u202e`
	var rows []string
	for i, name := range hostile.Names() {
		rows = append(rows, fmt.Sprint("S", i, console.Visible(name), "  "), fmt.Sprint("L", i, console.Visible(name), "  "), "N "+console.Visible(name)+".", "T"+console.Visible(name), "(R"+console.Visible(name)+")")
	}
	tests := map[string]struct {
		args   []string
		env    []string // more of it
		status int
		want   []string
	}{
		"state":                  {[]string{"state"}, nil, exitOK, append(rows, `\x9b`, "RAISED")},
		"state of all":           {[]string{"state", "--all"}, nil, exitOK, []string{title, turned}},
		"state of another":       {[]string{"state", "--tenant", hostile.Text()}, nil, exitFailed, []string{title, turned}},
		"report":                 {[]string{"report"}, nil, exitOK, []string{title, turned, `not_ready (R`}},
		"report for programs":    {[]string{"report", "--csv"}, nil, exitOK, []string{title, turned, "above_threshold"}},
		"report of no zone":      {[]string{"report", "--zone", hostile.Text()}, nil, exitUsage, []string{title}},
		"replay for people":      {[]string{"replay", "--human"}, nil, exitOK, []string{"not an event of the bridge", "raised rule", title, turned, ", added \\"}},
		"replay of nothing":      {[]string{"replay", "--subject", "a." + hostile.Text()}, nil, exitFailed, []string{"invalid subject"}},
		"replay under something": {[]string{"replay", "--into", "a." + hostile.Text()}, nil, exitUsage, []string{title}},
		"verify":                 {[]string{"verify"}, nil, exitFailed, []string{title, turned, `\x9b`, "UNSOUND"}},
		"verify a file":          {[]string{"verify", export}, nil, exitFailed, []string{title, turned, "UNSOUND"}},
		"verify no file":         {[]string{"verify", hostile.Text()}, nil, exitUsage, []string{title}},
		"check":                  {[]string{"check"}, nil, exitOK, []string{title, `S12\u2028\u2029\u0085`, "OK"}},
		"check of a wrong user":  {[]string{"check"}, []string{"BPCC_CLIENT_ID=" + hostile.Text()}, exitFailed, []string{title, "FAILED"}},
		"backtest":               {[]string{"backtest", "--human", "--rules", rules, "--rules", rules, recording}, nil, exitOK, []string{title, turned, "COMPARED"}},
		"backtest of no rules":   {[]string{"backtest", "--rules", refused, recording}, nil, exitUsage, []string{`got "rule \u001b]0;`}},
		"backtest of nothing":    {[]string{"backtest", hostile.Text()}, nil, exitUsage, []string{title}},
		"health":                 {[]string{"health"}, []string{"BRIDGE_HTTP=" + strings.TrimPrefix(anything.URL, "http://")}, exitFailed, []string{title, turned}},
		"provision":              {[]string{"provision"}, nil, exitOK, []string{"configured as expected"}},
		"configuration":          {[]string{"run"}, []string{"BPCC_URL=" + hostile.Text(), "BPCC_AUTH=" + hostile.Text(), "BRIDGE_STREAM=" + hostile.Text()}, exitUsage, []string{"BPCC_URL"}},
		"no such command":        {[]string{hostile.Text()}, nil, exitUsage, []string{title}},
		"no such flag":           {[]string{"state", "--" + hostile.Text()}, nil, exitUsage, []string{title}},
		"no such schema":         {[]string{"schemas", hostile.Text()}, nil, exitUsage, []string{title}},
		"no such address":        {[]string{"sim", "--listen", hostile.Text()}, nil, exitUsage, []string{title}},
		"help":                   {[]string{"help"}, nil, exitOK, []string{"bridge demo"}},
		"version":                {[]string{"version"}, nil, exitOK, []string{"go1."}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := onTerminal(t, t.Context(), append(s.env, test.env...), test.args...)
			if r.status != test.status {
				t.Errorf("status %d, want %d\n%q", r.status, test.status, r.stdout)
			}
			if bad := hostile.Controls(r.stdout); len(bad) > 0 {
				t.Errorf("it writes %s", strings.Join(bad, "\n"))
			}
			for _, want := range test.want {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("no %q in\n%s", want, hostile.Plain(r.stdout))
				}
			}
		})
	}
}

// TestJSONKeepsItsBytes: programs get events as they are stored, and no control
// characters of ASCII.
func TestJSONKeepsItsBytes(t *testing.T) {
	t.Parallel()
	js, env := serverWithDay(t)
	body := `{"type":"bpcc.x.y.v1","data":{"service":"\u001b` + "\u202e\u009b\x9b" + `"}}`
	for _, b := range []string{body, "{\"a\":\r1}", "\x1b]0;x\x07"} {
		if _, err := js.Publish(t.Context(), "bpcc.v1.acme.hello", []byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"replay"}, {"replay", "--with-meta"}, {"state", "--json"}, {"report", "--json"}, {"verify", "--json"}} {
		r := onTerminal(t, t.Context(), env, args...)
		for i := range len(r.stdout) {
			if c := r.stdout[i]; c < ' ' && c != '\n' {
				t.Errorf("%v: %q in %q", args, c, r.stdout[max(0, i-30):min(i+30, len(r.stdout))])
			}
		}
		if args[0] == "replay" && !strings.Contains(r.stdout, body) {
			t.Errorf("%v: the body has changed", args)
		}
	}
}

// TestDemoOnATerminal publishes a hostile name to a demo.
func TestDemoOnATerminal(t *testing.T) {
	t.Parallel()
	x := newTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"demo", "--seed", "1", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, nil, x.tty, x.tty)
	}()
	x.seen.waitFor(t, "first snapshot")
	nc, err := nats.Connect(regexp.MustCompile(`nats://\S+`).FindString(x.seen.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("bpcc.v1.demo.chat.x", []byte(`{"type":"bpcc.chat.message_posted.v1","data":{"message":{"login_id":"\u001b]0;x\u0007","content":"\u009b5m\u202e"}}}`)); err != nil {
		t.Fatal(err)
	}
	x.seen.waitFor(t, `\u202e`)
	cancel()
	if got := <-status; got != exitOK {
		t.Errorf("status %d", got)
	}
	x.tty.Close()
	<-x.read
	if bad := hostile.Controls(x.seen.String()); len(bad) > 0 {
		t.Errorf("it writes %s", strings.Join(bad, "\n"))
	}
}
