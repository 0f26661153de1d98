package test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMonitoring lets Prometheus read the alerts, the dashboards and the metrics. It needs prometheus and
// promtool in the path.
func TestMonitoring(t *testing.T) {
	needScripts(t)
	bridge := findBridge(t)
	env := cleanEnv()
	tenant, id, secret := startTenant(t, env, bridge, "--seed 1 --speed 20")
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	p := prometheus{
		bridge: freeAddress(t), address: freeAddress(t),
		dashboard: append(readDashboard(t, "deploy/grafana/dashboard.json"), readDashboard(t, "deploy/grafana/supervisors.json")...),
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/monitoring",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(append(e.Vars, env...), "CI_BRIDGE="+bridge, "ROOT="+top, "PROMETHEUS="+p.address, "BRIDGE_HTTP="+p.bridge,
				"BPCC_URL="+tenant, "BPCC_CLIENT_ID="+id, "BPCC_CLIENT_SECRET="+secret, "BPCC_POLL_INTERVAL=200ms",
				// The server inside has metrics of its own, beside all others.
				"BRIDGE_STORE_DIR="+e.WorkDir+"/store", "BRIDGE_EMBEDDED_LISTEN=127.0.0.1:0", "BRIDGE_TENANT=metrics", "BRIDGE_METRICS_STATS=in_calls_*,service_level,agents_*",
				`BRIDGE_THRESHOLDS=[{"name": "always", "kind": "service", "stat": "in_calls_waiting", "raise": {"op": ">=", "value": 0}}]`)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"scrape": p.scrape, "evaluated": p.evaluated, "alerts": p.alerts, "expressions": p.expressions, "unused": p.unused,
		},
	})
}

// expression is one of an alert or of a dashboard.
type expression struct{ title, query string }

// readDashboard returns every expression of a dashboard, with its variables filled in.
func readDashboard(t *testing.T, file string) []expression {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readDocument(t, file).text), &dashboard); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$tenant", ".*", "$service", ".*", "$__rate_interval", "10s", "$__interval", "10s")
	ids := map[int]bool{}
	var all []expression
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("%s: two panels have the id %d", file, panel.ID)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			all = append(all, expression{panel.Title, fill.Replace(target.Expr)})
		}
	}
	for _, annotation := range dashboard.Annotations.List {
		all = append(all, expression{annotation.Name, fill.Replace(annotation.Expr)})
	}
	if len(all) == 0 {
		t.Fatalf("%s has no expressions", file)
	}
	return all
}

// prometheus gives the commands of the script, which ask the Prometheus at an address that scrapes the
// bridge at another.
type prometheus struct {
	bridge, address string
	dashboard       []expression
}

// scrape waits until the bridge serves a metric, and writes all of them: scrape FILE METRIC.
func (p prometheus) scrape(ts *testscript.TestScript, _ bool, args []string) {
	waitUntil(ts, args[1], func() bool {
		response, err := http.Get("http://" + p.bridge + "/metrics")
		if err != nil {
			return false // it does not listen yet
		}
		body, err := io.ReadAll(response.Body)
		ts.Check(err)
		ts.Check(response.Body.Close())
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o600))
		return strings.Contains(string(body), args[1])
	})
}

// ask decodes an answer of Prometheus' API into value, and reports whether there was one.
func (p prometheus) ask(ts *testscript.TestScript, value any, what string, query url.Values) bool {
	response, err := http.Get("http://" + p.address + "/api/v1/" + what + "?" + query.Encode())
	if err != nil {
		return false // it does not listen yet
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	err = json.NewDecoder(response.Body).Decode(&answer)
	ts.Check(response.Body.Close())
	if err != nil || answer.Status != "success" {
		ts.Logf("%s %v: %s %v", what, query, answer.Error, err)
		return false
	}
	ts.Check(json.Unmarshal(answer.Data, value))
	return true
}

// series returns how many series a query gives.
func (p prometheus) series(ts *testscript.TestScript, query string) (n int, answered bool) {
	var data struct{ Result []json.RawMessage }
	answered = p.ask(ts, &data, "query", url.Values{"query": {query}})
	return len(data.Result), answered
}

type alert struct {
	Name, Query, Health, LastError, State string
	Annotations, Labels                   map[string]string
}

// rules returns the alerts as Prometheus has them.
func (p prometheus) rules(ts *testscript.TestScript) []alert {
	var data struct {
		Groups []struct{ Rules []alert }
	}
	var all []alert
	if p.ask(ts, &data, "rules", nil) {
		for _, group := range data.Groups {
			all = append(all, group.Rules...)
		}
	}
	return all
}

// evaluated waits until there is a rate of polls, and each alert has been evaluated.
func (p prometheus) evaluated(ts *testscript.TestScript, _ bool, _ []string) {
	waitUntil(ts, "a rate of polls", func() bool {
		n, _ := p.series(ts, "rate(bpcc_bridge_polls_total[10s]) > 0")
		return n > 0
	})
	waitUntil(ts, "an evaluation of each alert", func() bool {
		rules := p.rules(ts)
		return len(rules) > 0 && !slices.ContainsFunc(rules, func(a alert) bool { return a.Health == "unknown" })
	})
}

// alerts checks that each alert can be evaluated, is quiet, and says what to do.
func (p prometheus) alerts(ts *testscript.TestScript, _ bool, _ []string) {
	for _, a := range p.rules(ts) {
		if a.Health != "ok" || a.State != "inactive" {
			ts.Fatalf("%s: health %s, state %s: %s", a.Name, a.Health, a.State, a.LastError)
		}
		if a.Annotations["summary"] == "" || a.Annotations["runbook"] == "" || a.Labels["severity"] == "" {
			ts.Fatalf("%s does not say what to do: %v %v", a.Name, a.Annotations, a.Labels)
		}
	}
}

// all returns the expressions of the alerts and of the dashboard.
func (p prometheus) all(ts *testscript.TestScript) []expression {
	all := slices.Clone(p.dashboard)
	for _, a := range p.rules(ts) {
		all = append(all, expression{a.Name, a.Query})
	}
	return all
}

var (
	anyMetric = regexp.MustCompile(`\b(bpcc_agents|(bpcc_bridge|bpcc_service|bpcc_totals|process|go)_\w+)`)
	ourMetric = regexp.MustCompile(`bpcc_bridge_\w+`)
	ourType   = regexp.MustCompile(`(?m)^# TYPE (bpcc_bridge_\w+)`)
	// What is about trouble has nothing to show while there is none.
	ofTrouble = regexp.MustCompile(`> 0$|changes\(`)
)

// expressions checks that the expressions name metrics that are there, and that those of the dashboard
// have something to show.
func (p prometheus) expressions(ts *testscript.TestScript, _ bool, _ []string) {
	var there []string
	if !p.ask(ts, &there, "label/__name__/values", nil) {
		ts.Fatalf("Prometheus does not tell its metrics")
	}
	for _, e := range p.all(ts) {
		names := anyMetric.FindAllString(e.query, -1)
		if len(names) == 0 {
			ts.Fatalf("%s: no metric in %s", e.title, e.query)
		}
		for _, name := range names {
			if !slices.Contains(there, name) {
				ts.Fatalf("%s: there is no metric %s: %s", e.title, name, e.query)
			}
		}
	}
	for _, e := range p.dashboard {
		if n, answered := p.series(ts, e.query); !answered || n == 0 && !ofTrouble.MatchString(e.query) {
			ts.Fatalf("%s shows nothing: %s", e.title, e.query)
		}
	}
}

// unused checks that every metric of the bridge is in the dashboard or an alert: unused FILE, of `scrape`.
func (p prometheus) unused(ts *testscript.TestScript, _ bool, args []string) {
	used := map[string]bool{}
	for _, e := range p.all(ts) {
		for _, name := range ourMetric.FindAllString(e.query, -1) {
			used[strings.TrimSuffix(name, "_bucket")] = true
		}
	}
	served := ourType.FindAllStringSubmatch(ts.ReadFile(args[0]), -1)
	if len(served) == 0 {
		ts.Fatalf("the bridge serves no metrics")
	}
	for _, m := range served {
		if !used[m[1]] {
			ts.Fatalf("%s is neither in the dashboard nor in an alert", m[1])
		}
	}
}
