package test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bpcc-nats/bpcc/bpcctest"
)

// scale is how many times as short the alerts' waits and ranges are in TestIncidents, by default.
var scale = flag.Int("incidents.scale", 20, "TestIncidents: how many times as short waits and ranges of the alerts are; 1 measures the shipped ones, and takes a quarter of an hour")

// anyIncident are alerts that follow from many incidents.
var anyIncident = []string{"BridgeFeedNotLive", "BridgeObservationLag", "BridgeNotReady", "BridgePollsFailing", "BridgeCommitsFailing", "BridgeNoLeader", "BridgeAvailabilityChecksFailing"}

// incidentsPage collects what an operator sees of each incident, and what to do.
const incidentsPage = "docs/incidents.md"

// incident is one of the page's. The texts are in the row of its table there.
type incident struct {
	cause  func(s *site)
	alerts []string // that must fire
	log    string   // message of the line that names it
	cure   string   // in that line, or in the one of its key
	readyz string   // in the body of /readyz; "" = there is none
	status int      // of /readyz; 0 = nobody answers, -1 = it changes all the time
}

// incidents are the incidents by the title of their row.
func incidents() map[string]incident {
	const down, up = http.StatusServiceUnavailable, http.StatusOK
	// After 30 s of empty grids the feed is live again.
	emptyStatus, emptyReadyz := down, "the feed is interrupted: empty: "
	if *scale == 1 {
		emptyStatus, emptyReadyz = up, `"ready":true`
	}
	return map[string]incident{
		"source down":              {func(s *site) { s.sim.Close() }, []string{"BridgeFeedNotLive"}, "BPCC request failed", "check the network", "the feed is interrupted: source: ", down},
		"credentials refused":      {(*site).revokeSecret, []string{"BridgeCredentialsRefused", "BridgeFeedNotLive"}, "BPCC request failed", "check the credentials", "the feed is interrupted: auth: ", down},
		"subscription taken":       {(*site).takeSubscription, []string{"BridgeSubscriptionLost"}, "snapshot not used", "another program uses the same API user", "", -1},
		"source frozen":            {fault(bpcctest.Fault{Frozen: true, Times: -1}), []string{"BridgeSourceFrozen", "BridgeFeedNotLive"}, "snapshot not used", "ask Bright Pattern", "the feed is interrupted: frozen: ", down},
		"floor empty":              {fault(bpcctest.Fault{EmptyGrids: true, Times: -1}), []string{"BridgeFloorEmpty"}, "snapshot not used", "check that the API user still has its teams", emptyReadyz, emptyStatus},
		"NATS down":                {func(s *site) { s.stopNATS() }, []string{"BridgeNATSDisconnected", "BridgeNoLeader"}, "NATS error", "check that one runs at NATS_URL", "not connected to NATS", down},
		"NATS credentials revoked": {(*site).revokeNATS, []string{"BridgeNATSDisconnected", "BridgeNoLeader"}, "NATS server refused the credentials, retrying", "check NATS_CREDS", "Authorization Violation", down},
		"disk full":                {(*site).fillDisk, []string{"BridgeStorageFailed"}, "publish failed, retrying the same batch", "free disk space", "free disk space", down},
		"events refused":           {(*site).refuseBatches, []string{"BridgeCommitsFailing"}, "publish failed, retrying the same batch", "enable allow_atomic", "publish failed: ", down},
		"no instance runs":         {(*site).stopInstances, []string{"BridgeNoLeader"}, "stopped", "", "", 0},
		"standby gone":             {func(s *site) { s.instances[1].stop() }, []string{"BridgeInstanceGone"}, "", "", `"ready":true`, up},
		"view stalled":             {(*site).stallView, []string{"BridgeViewStalled"}, "KV view stalled: readers see old data", "nats stream cluster step-down KV_bpcc_state", "the view has been stalled for ", up},
		"clock off":                {func(s *site) { s.clockOff.Store(true) }, []string{"BridgeClockDiffers"}, "clock differs from the NATS server's", "synchronize the clocks", "synchronize both, as with NTP", up},
		"healthy":                  {func(*site) {}, nil, "", "", `"ready":true`, up},
	}
}

// fault injects a fault of the simulated tenant.
func fault(f bpcctest.Fault) func(*site) { return func(s *site) { s.sim.Inject(f) } }

// TestIncidents causes each incident, with the shipped alerts in a real Prometheus, and checks what an
// operator sees: that the alert fires, the line of the log, and what the probes say. Waits and ranges of the
// alerts are a twentieth of their own, those of the bridge that are not configured a tenth. With -incidents.scale=1
// all are as they are.
func TestIncidents(t *testing.T) {
	needScripts(t)
	p := &watch{address: freeAddress(t), fired: map[string]map[string]time.Duration{}}
	all := incidents()
	sites := make(map[string]*site, len(all))
	var starting sync.WaitGroup
	for name := range all {
		s := newSite(t, name)
		sites[name] = s
		starting.Go(s.start)
	}
	starting.Wait()
	if t.Failed() {
		return
	}
	p.start(t, sites)
	p.waitQuiet(t, sites)
	for name, s := range sites {
		s.caused = time.Now()
		all[name].cause(s)
	}
	p.waitFired(t, sites, all)
	var judging sync.WaitGroup
	for name, s := range sites {
		judging.Go(func() { s.judge(t, name, all[name], p.fired[name]) })
	}
	judging.Wait()
	for name, s := range sites {
		for alert := range p.fired[name] {
			if !slices.Contains(all[name].alerts, alert) && (name == "healthy" || !slices.Contains(anyIncident, alert)) {
				t.Errorf("%s: %s fires, which says something else", name, alert)
			}
		}
		s.stopInstances()
	}
	p.waitGone(t)
	p.print(t, all)
}

// print writes the table of incidents.
func (p *watch) print(t *testing.T, all map[string]incident) {
	t.Helper()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "incident\talerts, after so many seconds (waits divided by %d)\n", *scale)
	for _, name := range slices.Sorted(mapsKeys(all)) {
		fired := p.fired[name]
		alerts := slices.SortedFunc(mapsKeys(fired), func(a, b string) int { return int(fired[a] - fired[b]) })
		for i, alert := range alerts {
			alerts[i] = fmt.Sprintf("%s %.1f", alert, fired[alert].Seconds())
		}
		fmt.Fprintf(w, "%s\t%s\n", name, strings.Join(alerts, ", "))
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())
}

// TestIncidentsPage holds the page to the incidents that are caused, and the alerts to the page.
func TestIncidentsPage(t *testing.T) {
	t.Parallel()
	page := readDocument(t, incidentsPage).text
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| \[([^\]]+)\]\(#[\w-]+\) \|.*$`).FindAllStringSubmatch(page, -1) {
		rows[m[1]] = m[0]
	}
	for name, i := range incidents() {
		if name == "healthy" {
			continue
		}
		row, found := rows[name]
		if !found {
			t.Errorf("%s has no row %q", incidentsPage, name)
			continue
		}
		delete(rows, name)
		for _, text := range append(slices.Clone(i.alerts), i.log) {
			if !strings.Contains(row, text) {
				t.Errorf("the row of %s lacks %q", name, text)
			}
		}
		if strings.HasPrefix(i.readyz, "the feed is") && !strings.Contains(row, strings.TrimSuffix(i.readyz, " ")) {
			t.Errorf("the row of %s lacks what /readyz says: %q", name, i.readyz)
		}
	}
	for name := range rows {
		t.Errorf("no test causes the incident %q", name)
	}
	rules := readDocument(t, "deploy/prometheus/alerts.yaml").text
	names := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	urls := regexp.MustCompile(`runbook_url: docs/incidents\.md#([\w-]+)`).FindAllStringSubmatch(rules, -1)
	if len(names) == 0 || len(urls) != len(names) {
		t.Fatalf("%d alerts have %d links to %s", len(names), len(urls), incidentsPage)
	}
	for i, m := range urls {
		title := regexp.MustCompile(`(?mi)^## ` + strings.ReplaceAll(m[1], "-", "[ -]") + `$`)
		begin := title.FindStringIndex(page)
		if begin == nil {
			t.Errorf("%s: no section %s", names[i][1], m[1])
			continue
		}
		section, _, _ := strings.Cut(page[begin[1]:], "\n## ")
		if !strings.Contains(section, "`"+names[i][1]+"`") {
			t.Errorf("the section %s does not name %s", m[1], names[i][1])
		}
	}
}

// scaled returns rules with all waits, ranges and limits of ages divided by [scale].
func scaled(t *testing.T, rules string) string {
	t.Helper()
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	shorter := func(text string) string {
		n, err := strconv.Atoi(text[:len(text)-1])
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatInt((time.Duration(n)*units[text[len(text)-1:]]/time.Duration(*scale)).Milliseconds(), 10) + "ms"
	}
	duration := regexp.MustCompile(`\d+[smhd]\b`)
	n := 0
	places := regexp.MustCompile(`(?m)for: \d+[smhd]$|\[\d+[smhd](:\d+[smhd])?\]|offset \d+[smhd]\b`)
	rules = places.ReplaceAllStringFunc(rules, func(place string) string {
		n++
		return duration.ReplaceAllStringFunc(place, shorter)
	})
	ages := regexp.MustCompile(`(_seconds\)+ > )(\d{2,})\b`)
	rules = ages.ReplaceAllStringFunc(rules, func(limit string) string {
		m := ages.FindStringSubmatch(limit)
		seconds, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		n++
		return m[1] + strconv.FormatFloat(float64(seconds)/float64(*scale), 'f', -1, 64)
	})
	if n < 30 {
		t.Fatalf("only %d durations in the alerts", n)
	}
	return rules
}

// watch asks a Prometheus which alerts fire.
type watch struct {
	address string
	fired   map[string]map[string]time.Duration // by site and alert, after how long it fired first
}

// start starts Prometheus with the scaled alerts and the instances of the sites.
func (p *watch) start(t *testing.T, sites map[string]*site) {
	t.Helper()
	dir := t.TempDir()
	var targets []string
	for _, s := range sites {
		for _, i := range s.instances {
			targets = append(targets, strconv.Quote(strings.TrimPrefix(i.server.URL, "http://")))
		}
	}
	interval := strconv.FormatInt((10*time.Second/time.Duration(*scale)).Milliseconds(), 10) + "ms"
	files := map[string]string{
		"alerts.yaml": scaled(t, readDocument(t, "deploy/prometheus/alerts.yaml").text),
		"prometheus.yaml": "global: {scrape_interval: " + interval + ", scrape_timeout: " + interval + ", evaluation_interval: " + interval + "}\nrule_files: [alerts.yaml]\n" +
			"scrape_configs: [{job_name: bridge, static_configs: [{targets: [" + strings.Join(targets, ", ") + "]}]}]\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := startShell("exec prometheus --config.file=prometheus.yaml --storage.tsdb.path=tsdb --web.listen-address="+p.address+" --log.level=warn", dir, os.Environ(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop(syscall.SIGINT)
		if t.Failed() {
			t.Log(s.tail())
		}
	})
}

// siteOf returns the name of the site that the labels of an alert belong to. An alert without labels belongs to
// the site that alone can cause it.
func siteOf(sites map[string]*site, labels map[string]string) string {
	for name, s := range sites {
		if labels["tenant"] == s.tenant || slices.ContainsFunc(s.instances, func(i *instance) bool { return i.server.URL == "http://"+labels["instance"] }) {
			return name
		}
	}
	if labels["alertname"] == "BridgeViewStalled" {
		return "view stalled"
	}
	return ""
}

// look records the alerts that fire now.
func (p *watch) look(t *testing.T, sites map[string]*site) {
	t.Helper()
	for _, labels := range p.series(t, `ALERTS{alertstate="firing"}`) {
		name, alert := siteOf(sites, labels), labels["alertname"]
		if p.fired[name] == nil {
			p.fired[name] = map[string]time.Duration{}
		}
		if _, known := p.fired[name][alert]; !known {
			since := time.Duration(0)
			if s := sites[name]; s != nil && !s.caused.IsZero() {
				since = time.Since(s.caused)
			}
			p.fired[name][alert] = since
		}
	}
}

// fillDisk stores in another stream until nothing more fits.
func (s *site) fillDisk() {
	if err := s.fill(); err != nil {
		s.t.Error(err)
	}
}

// options returns those of the site's NATS server.
func (s *site) options(password string) *server.Options {
	return &server.Options{
		JetStream: true, StoreDir: s.store, Port: s.port, JetStreamMaxStore: s.maxStore,
		Users: []*server.User{{Username: "bridge", Password: password}, {Username: "operator", Password: "operator"}},
	}
}
