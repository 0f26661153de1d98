package test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

var (
	runScripts = flag.Bool("scripts", false, "run the scripts, which start programs and take minutes")
	cold       = flag.Bool("cold", false, "TestFirstEvent: with empty caches of Go, downloads included")
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"typed": typed})
}

func needScripts(t *testing.T) {
	t.Helper()
	if !*runScripts {
		t.Skip("NOT TESTED without -scripts; .ci/run has a step for it")
	}
}

// The commands of scripts by which a documented command is not run there: another step of .ci/run runs
// it, by a text in a file; or nothing can.
//
//	elsewhere STEP FILE TEXT COMMAND
//	notrun REASON COMMAND
var leftOut = map[string]int{"elsewhere": 4, "notrun": 2}

// scriptedCommand is a line of a script that stands for a command of a document.
type scriptedCommand struct {
	verb string
	args []string // the last one is the command
}

var (
	scriptWord    = regexp.MustCompile(`(?:'(?:[^']|'')*'|[^\s'])+`)
	scriptQuoted  = regexp.MustCompile(`'((?:[^']|'')*)'`)
	scriptSection = regexp.MustCompile(`^# (\S+|bridge \w+ --help)$`)
)

// readScripts returns the commands of all scripts by the document that they belong to. A comment that is
// nothing but a document's name begins its part of a script.
func readScripts(t *testing.T) map[string][]scriptedCommand {
	t.Helper()
	scripts, err := filepath.Glob("testdata/documents/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts %v, %v", scripts, err)
	}
	found := map[string][]scriptedCommand{}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		var name string
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "-- ") {
				break // the files of the archive
			}
			if m := scriptSection.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
				name = m[1]
				continue
			}
			var words []string
			for _, word := range scriptWord.FindAllString(line, -1) {
				words = append(words, scriptQuoted.ReplaceAllStringFunc(word, func(quoted string) string {
					return strings.ReplaceAll(quoted[1:len(quoted)-1], "''", "'")
				}))
			}
			if len(words) > 1 && words[0] == "exec" {
				words = words[1:]
			}
			if len(words) < 2 || words[0] != "typed" && leftOut[words[0]] == 0 {
				continue
			}
			if n := leftOut[words[0]]; n > 0 && len(words) != n+1 {
				t.Errorf("%s: %d arguments, want %d: %s", script, len(words)-1, n, line)
				continue
			}
			found[name] = append(found[name], scriptedCommand{words[0], words[1:]})
		}
	}
	return found
}

func commandsOf(scripted []scriptedCommand) []string {
	var commands []string
	for _, s := range scripted {
		commands = append(commands, s.args[len(s.args)-1])
	}
	return commands
}

// TestEveryCommandIsScripted checks that the scripts hold the commands of every document, and no others.
func TestEveryCommandIsScripted(t *testing.T) {
	t.Parallel()
	scripts := readScripts(t)
	want, got := map[string][]string{}, map[string][]string{}
	for _, name := range append(files(t, "*.md"), files(t, "deploy")...) {
		if !markdown.MatchString(name) && !deployed.MatchString(name) {
			continue
		}
		if commands := documentedCommands(t, readDocument(t, name)); len(commands) > 0 {
			want[name] = commands
		}
	}
	for name, scripted := range scripts {
		if !strings.HasSuffix(name, " --help") { // these are compared with the program
			got[name] = commandsOf(scripted)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands by document (-documents +testdata/documents):\n%s", diff)
	}
}

// TestLeftOutCommandsRunElsewhere checks that the steps that the scripts leave a command to are there, and have it.
func TestLeftOutCommandsRunElsewhere(t *testing.T) {
	t.Parallel()
	steps := readDocument(t, ".ci/run").text
	for name, scripted := range readScripts(t) {
		for _, s := range scripted {
			if s.verb != "elsewhere" {
				continue
			}
			step, file, text := s.args[0], s.args[1], s.args[2]
			if !regexp.MustCompile(`(?m)^ *step(_(with|by) \S+)? ` + regexp.QuoteMeta(step) + ` `).MatchString(steps) {
				t.Errorf("%s: %s: .ci/run has no step %s", name, s.args[3], step)
			}
			if !strings.Contains(readDocument(t, file).text, text) {
				t.Errorf("%s: %s: %s has no %q", name, s.args[3], file, text)
			}
		}
	}
}

// world is what the commands of the documents are run against: a clone of the repository, the demo
// that README.md starts, a NATS server, and a simulated tenant.
type world struct {
	dir, bridge, page string
	env               []string
}

func newWorld(t *testing.T) world {
	t.Helper()
	began := time.Now()
	w := world{dir: filepath.Join(t.TempDir(), "bpcc-nats"), bridge: findBridge(t)}
	clone(t, w.dir)
	env := cleanEnv()
	nats, page := startDemo(t, w.dir, env)
	w.page = page
	t.Logf("from the clone to the running demo: %.1f s", time.Since(began).Seconds())
	url, id, secret := startTenant(t, env, w.bridge, "--seed 1")
	secretFile := filepath.Join(t.TempDir(), "secret")
	bin := filepath.Join(w.dir, "bin")
	program, err := os.ReadFile(w.bridge)
	if err == nil {
		err = os.WriteFile(secretFile, []byte(secret), 0o600)
	}
	if err == nil {
		err = os.MkdirAll(bin, 0o755)
	}
	if err == nil { // where README.md builds it, so that each script can be run alone
		err = os.WriteFile(filepath.Join(bin, "bridge"), program, 0o755)
	}
	if err == nil {
		modules, absErr := filepath.Abs(filepath.Join(root, "examples/ts/node_modules"))
		if err = absErr; err == nil {
			err = os.Symlink(modules, filepath.Join(w.dir, "examples/ts/node_modules"))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	places := []string{
		"nats://127.0.0.1:4222", nats,
		"http://127.0.0.1:8080", "http://" + page,
		"nats://nats.example.com:4222", startServer(t, env),
		"https://acme.brightpattern.com", url,
		"stats.user", id,
		"/run/secrets/bpcc", secretFile,
	}
	w.env = append(env,
		placesVariable+"="+strings.Join(places, "\n"), "DEMO_NATS="+nats, "DEMO_HTTP="+page, "NATS_URL="+nats, "BRIDGE_HTTP="+page,
		"BPCC_URL="+url, "BPCC_CLIENT_ID="+id, "BPCC_CLIENT_SECRET_FILE="+secretFile,
	)
	return w
}

// params are those of the scripts that are run in the world.
func (w world) params(script string) testscript.Params {
	return testscript.Params{
		Files: []string{script},
		Setup: func(e *testscript.Env) error {
			path := filepath.Join(w.dir, "bin") + ":" + e.Getenv("PATH")
			e.Vars = append(append(e.Vars, w.env...), "PATH="+path)
			e.Cd = w.dir
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"elsewhere": func(*testscript.TestScript, bool, []string) {},
			"notrun":    func(*testscript.TestScript, bool, []string) {},
			"recent":    recent,
		},
	}
}

// recent checks that the feed in the file of the script was observed within the last minute.
func recent(ts *testscript.TestScript, _ bool, args []string) {
	var feed struct {
		Data struct {
			ObservedUntil time.Time `json:"observed_until"`
		} `json:"data"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &feed))
	if age := time.Since(feed.Data.ObservedUntil); age > time.Minute {
		ts.Fatalf("observed %v ago", age)
	}
}

// TestDocuments runs the scripts one after the other, and compares with the program what the documents
// say of it.
func TestDocuments(t *testing.T) {
	needScripts(t)
	w := newWorld(t)
	difference := func() string { return output(t, os.Environ(), "git", "-C", w.dir, "diff") }
	before := difference()
	t.Run("help", func(t *testing.T) { checkHelp(t, w) })
	t.Run("metrics", func(t *testing.T) { checkMetrics(t, w) })
	scripts, err := filepath.Glob("testdata/documents/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		// Scripts of one call would run side by side.
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) { testscript.Run(t, w.params(script)) })
	}
	if after := difference(); after != before {
		t.Errorf("the commands have changed files:\n%s", cmp.Diff(before, after))
	}
}

// checkHelp compares the examples in the help of the program with their scripts, and looks for commands
// and flags in the documents that it does not have.
func checkHelp(t *testing.T, w world) {
	help := map[string]string{}
	want, got := map[string][]string{}, map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^ {2}bridge (\w+) +\S`).FindAllStringSubmatch(output(t, cleanEnv(), w.bridge, "--help"), -1) {
		name := m[1]
		if help[name] != "" {
			continue // it is in two lines of the usage
		}
		help[name] = output(t, cleanEnv(), w.bridge, name, "--help")
		_, examples, found := strings.Cut(help[name], "\nExamples:\n")
		if !found {
			t.Errorf("bridge %s --help has no examples", name)
		}
		for example := range strings.SplitSeq(strings.TrimSpace(examples), "\n") {
			document := "bridge " + name + " --help"
			want[document] = append(want[document], strings.TrimSpace(example))
		}
	}
	for name, scripted := range readScripts(t) {
		if strings.HasSuffix(name, " --help") {
			got[name] = commandsOf(scripted)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("examples by command (-bridge +testdata/documents):\n%s", diff)
	}
	n, command, option := 0, regexp.MustCompile(`^bridge ([a-z]+)(.*)$`), regexp.MustCompile(`--[a-z-]+`)
	for _, d := range readDocuments(t) {
		for _, piece := range d.quoted() {
			m := command.FindStringSubmatch(piece)
			if m == nil {
				continue
			}
			n++
			if help[m[1]] == "" {
				t.Errorf("%s: there is no command %s", d.name, piece)
			}
			for _, name := range option.FindAllString(m[2], -1) {
				if !strings.Contains(help[m[1]], "  "+name+" ") {
					t.Errorf("%s: bridge %s has no flag %s", d.name, m[1], name)
				}
			}
		}
	}
	if n == 0 {
		t.Error("no document names a command of the bridge")
	}
}

// checkMetrics looks for metrics in the documents that the bridge does not have.
func checkMetrics(t *testing.T, w world) {
	n, metrics := 0, scrape(t, w.page)
	for _, d := range readDocuments(t) {
		for _, name := range regexp.MustCompile(`\bbpcc_bridge_\w+`).FindAllString(d.text, -1) {
			n++
			if !strings.Contains(metrics, "# TYPE "+name+" ") {
				t.Errorf("%s: there is no metric %s", d.name, name)
			}
		}
	}
	if n == 0 {
		t.Error("no document names a metric")
	}
}

// TestFirstEvent measures the way of somebody new: from the clone to the first event in `nats sub`. With
// -cold it builds the nats CLI too.
func TestFirstEvent(t *testing.T) {
	needScripts(t)
	env := cleanEnv()
	if *cold {
		caches := t.TempDir()
		env = append(env, "GOMODCACHE="+filepath.Join(caches, "mod"), "GOCACHE="+filepath.Join(caches, "cache"), "GOFLAGS=-modcacherw",
			"GOBIN="+caches, "CGO_ENABLED=0", "PATH="+caches+":"+os.Getenv("PATH"))
	}
	commands := documentedCommands(t, readDocument(t, "README.md"))
	find := func(pattern string) string {
		for _, command := range commands {
			if regexp.MustCompile(pattern).MatchString(command) {
				return command
			}
		}
		t.Fatalf("README.md has no command %s", pattern)
		return ""
	}
	began := time.Now()
	dir := filepath.Join(t.TempDir(), "bpcc-nats")
	clone(t, dir)
	nats, _ := startDemo(t, dir, env)
	demo := time.Since(began)
	if *cold {
		output(t, env, "bash", "-c", find(`^go install github\.com/nats-io/natscli/`))
	}
	built := time.Since(began)
	sub := strings.ReplaceAll(find(`^nats .* sub `), "nats://127.0.0.1:4222", nats)
	s, err := startShell(sub, dir, env, false)
	if err != nil {
		t.Fatal(err)
	}
	received := s.waitFor(regexp.MustCompile(`Received on "bpcc\.v1\.demo\.`), 30*time.Second)
	took := time.Since(began)
	s.stop(syscall.SIGINT)
	if !received {
		t.Fatalf("%s: no event\n%s", sub, s.tail())
	}
	t.Logf("from the clone to the first event in nats sub: %.1f s; the demo ran after %.1f s, the nats CLI was there after %.1f s",
		took.Seconds(), demo.Seconds(), built.Seconds())
}
