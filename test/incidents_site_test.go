package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bpcc-nats/bpcc/bpcctest"
	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/internal/bridgetest"
	"bpcc-nats/internal/natstest"
)

// within waits until something is so, and reports whether it was in time.
func within(limit time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(limit); !so(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// mapsKeys is [maps.Keys] of any map with text keys.
func mapsKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// site is a contact centre with a NATS server and instances of the bridge of its own.
type site struct {
	t         *testing.T
	tenant    string
	sim       *bpcctest.Server
	nats      *server.Server
	store     string
	port      int
	maxStore  int64
	instances []*instance
	clockOff  atomic.Bool // the NATS server's clock is ahead
	caused    time.Time   // when the incident was caused
}

// instance is a bridge that runs, with its log and its HTTP server.
type instance struct {
	server *httptest.Server
	log    *bridgetest.Buffer
	stop   func() // ends both, once
}

// newSite starts the contact centre and the NATS server of an incident.
func newSite(t *testing.T, name string) *site {
	t.Helper()
	s := &site{t: t, tenant: strings.ReplaceAll(name, " ", "-"), sim: bpcctest.NewServer(bpcctest.Config{TokenTTL: time.Hour}), store: t.TempDir(), maxStore: 1 << 30}
	t.Cleanup(s.sim.Close)
	if name == "disk full" {
		s.maxStore = 4 << 20
	}
	floor := bpcctest.NewFloor(s.sim.Tenant, bpcctest.FloorConfig{Agents: 8, Services: 2, Seed: 1, Speed: 5})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { floor.Run(ctx, 100*time.Millisecond) })
	t.Cleanup(func() { cancel(); running.Wait() })
	s.nats = natstest.Start(t, s.options("secret"))
	s.port = s.nats.Addr().(*net.TCPAddr).Port
	return s
}

// url is the address of the site's NATS server for a user.
func (s *site) url(user, password string) string {
	return fmt.Sprintf("nats://%s:%s@127.0.0.1:%d", user, password, s.port)
}

// operator connects as somebody who may do everything.
func (s *site) operator() jetstream.JetStream {
	return natstest.Connect(s.t, s.url("operator", "operator"))
}

// start starts the leader and a standby, and waits until both are ready.
func (s *site) start() {
	s.relayClock()
	for range 2 {
		i, err := s.startInstance(s.tenant)
		if err != nil {
			s.t.Error(err)
			return
		}
		s.instances = append(s.instances, i)
		if !within(40*time.Second, func() bool {
			_, status := i.get("/readyz")
			return status == http.StatusOK
		}) {
			s.t.Errorf("%s is not ready:\n%s", s.tenant, i.log)
			return
		}
	}
}

// relayClock relays requests to JetStream under another prefix, and puts the clock ahead in the answers that the
// bridge compares with its own.
func (s *site) relayClock() {
	nc := s.operator().Conn()
	ts := regexp.MustCompile(`"ts":"([^"]+)"`)
	relay := func(m *nats.Msg) {
		// The library puts the prefix before subjects of buckets too.
		if m.Subject = strings.TrimPrefix(m.Subject, "RELAY.API."); !strings.HasPrefix(m.Subject, "$KV.") {
			m.Subject = "$JS.API." + m.Subject
		}
		if !s.clockOff.Load() || !strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO.BPCC_EVENTS_WATCHDOG") {
			_ = nc.PublishMsg(m) // a request without an answer is sent again
			return
		}
		answer, err := nc.Request(m.Subject, m.Data, 2*time.Second)
		if err != nil {
			return
		}
		body := ts.ReplaceAllFunc(answer.Data, func(found []byte) []byte {
			at, err := time.Parse(time.RFC3339Nano, string(ts.FindSubmatch(found)[1]))
			if err != nil {
				return found
			}
			return []byte(`"ts":"` + at.Add(20*time.Second).Format(time.RFC3339Nano) + `"`)
		})
		_ = nc.Publish(m.Reply, body)
	}
	if _, err := nc.Subscribe("RELAY.API.>", func(m *nats.Msg) { go relay(m) }); err != nil {
		s.t.Error(err)
		return
	}
	if err := nc.Flush(); err != nil {
		s.t.Error(err)
	}
}

// startInstance starts a bridge of a tenant.
func (s *site) startInstance(tenant string) (*instance, error) {
	environ := []string{
		"BPCC_URL=" + s.sim.URL, "BPCC_CLIENT_ID=sim", "BPCC_CLIENT_SECRET=sim-secret", "NATS_URL=" + s.url("bridge", "secret"), "BRIDGE_TENANT=" + tenant,
	}
	if *scale > 1 {
		environ = append(environ, "BPCC_POLL_INTERVAL=200ms", "BPCC_AVAILABILITY_INTERVAL=1s", "BRIDGE_FROZEN_AFTER=1s", "BRIDGE_CHECKPOINT_INTERVAL=1s")
	}
	if tenant == "clock-off" {
		environ = append(environ, "NATS_JS_API_PREFIX=RELAY.API")
	}
	c, _, err := config.Parse(environ, config.ForBridge)
	if err != nil {
		return nil, err
	}
	c.Version, c.Timing = "test", bridgetest.Timing(max(time.Duration(*scale)/2, 1), max(time.Duration(*scale)/10, 1))
	i := &instance{log: &bridgetest.Buffer{}}
	log := slog.New(slog.NewTextHandler(i.log, nil))
	js, err := stream.Connect(s.t.Context(), c.NATS, c.Version, log, func(error) {})
	if err != nil {
		return nil, err
	}
	if _, err := stream.Provision(s.t.Context(), js, c.Stream, c.Times(), nil); err != nil {
		return nil, err
	}
	fleet, err := bridge.NewFleet([]*config.Config{c}, js, nil, log)
	if err != nil {
		return nil, err
	}
	i.server = httptest.NewServer(fleet.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, bridge.ErrUnfinished) && !errors.Is(err, context.Canceled) {
			s.t.Errorf("%s: %v", tenant, err)
		}
		js.Conn().Close()
		i.server.Close()
	})
	s.t.Cleanup(i.stop)
	return i, nil
}

// get returns what the instance answers; status 0 if nobody does.
func (i *instance) get(path string) (body string, status int) {
	response, err := http.Get(i.server.URL + path)
	if err != nil {
		return err.Error(), 0
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(text), response.StatusCode
}

// stopInstances stops all instances of the site.
func (s *site) stopInstances() {
	var stopping sync.WaitGroup
	for _, i := range s.instances {
		stopping.Go(i.stop)
	}
	stopping.Wait()
}

func (s *site) stopNATS() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

// revokeNATS gives the bridge's user another password.
func (s *site) revokeNATS() {
	s.stopNATS()
	s.nats = natstest.Start(s.t, s.options("another"))
}

// revokeSecret makes BPCC refuse the present token and the secret.
func (s *site) revokeSecret() {
	s.sim.Inject(bpcctest.Fault{Path: "/oauth/token", Status: http.StatusUnauthorized, Times: -1})
	s.sim.ExpireTokens()
}

// takeSubscription runs another bridge as the same API user, without a common lease.
func (s *site) takeSubscription() {
	if _, err := s.startInstance("thief"); err != nil {
		s.t.Error(err)
	}
}

// fill stores in another stream until the server refuses it.
func (s *site) fill() error {
	js := s.operator()
	if _, err := js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}}); err != nil {
		return err
	}
	for size := 256 << 10; size > 0; size /= 4 {
		for {
			if _, err := js.Publish(s.t.Context(), "other", make([]byte, size)); err != nil {
				break
			}
		}
	}
	return nil
}

// refuseBatches makes the stream refuse atomic batches.
func (s *site) refuseBatches() {
	s.updateStream("BPCC_EVENTS", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
}

// stallView stops the view at what it holds.
func (s *site) stallView() {
	s.updateStream("KV_bpcc_state", func(c *jetstream.StreamConfig) { c.Sources = nil })
}

func (s *site) updateStream(name string, change func(*jetstream.StreamConfig)) {
	js := s.operator()
	found, err := js.Stream(s.t.Context(), name)
	if err == nil {
		c := found.CachedInfo().Config
		change(&c)
		_, err = js.UpdateStream(s.t.Context(), c)
	}
	if err != nil {
		s.t.Error(err)
	}
}

// judge checks what the log and the probes of a site say.
func (s *site) judge(t *testing.T, name string, want incident, fired map[string]time.Duration) {
	t.Helper()
	for _, alert := range want.alerts {
		if _, found := fired[alert]; !found {
			t.Errorf("%s: %s does not fire", name, alert)
		}
	}
	var log string
	if !within(30*time.Second, func() bool {
		log = ""
		for _, i := range s.instances {
			log += i.log.String()
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, want.log) && strings.Contains(line, want.cure) {
				return true
			}
		}
		return false
	}) {
		t.Errorf("%s: no line of the log with %q and %q:\n%s", name, want.log, want.cure, log)
	}
	var answers []string
	if want.status >= 0 && !within(30*time.Second, func() bool {
		answers = nil
		for _, i := range s.instances {
			body, status := i.get("/readyz")
			answers = append(answers, fmt.Sprint(status, " ", body))
			if status == want.status && (status == 0 || strings.Contains(body, want.readyz)) {
				return true
			}
		}
		return false
	}) {
		t.Errorf("%s: /readyz %s; want %d and %q", name, answers, want.status, want.readyz)
	}
	if _, status := s.instances[0].get("/healthz"); status != http.StatusOK && want.status != 0 {
		t.Errorf("%s: /healthz %d", name, status)
	}
}

// series returns the labels of what a query gives.
func (p *watch) series(t *testing.T, query string) (all []map[string]string) {
	t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/query?" + url.Values{"query": {query}}.Encode())
	if err != nil {
		return nil // it does not listen yet
	}
	defer response.Body.Close()
	var answer struct {
		Status string
		Data   struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		return nil
	}
	for _, r := range answer.Data.Result {
		all = append(all, r.Metric)
	}
	return all
}

// waitQuiet waits until every site has been seen for some time, with both instances, and no alert is pending.
func (p *watch) waitQuiet(t *testing.T, sites map[string]*site) {
	t.Helper()
	step := (time.Minute / time.Duration(*scale)).Milliseconds()
	seen := fmt.Sprintf(`count_over_time((count by (tenant) (bpcc_bridge_leader) == 2)[%dms:%dms]) >= 2`, 3*step, step)
	if !within(40*time.Second+5*time.Minute/time.Duration(*scale), func() bool { return len(p.series(t, seen)) == len(sites) }) {
		t.Fatal("not all sites are seen")
	}
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(250 * time.Millisecond) {
		alerts := p.series(t, "ALERTS")
		if len(alerts) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("alerts although nothing is wrong: %v", alerts)
		}
	}
}

// waitFired waits until all expected alerts have fired.
func (p *watch) waitFired(t *testing.T, sites map[string]*site, all map[string]incident) {
	t.Helper()
	missing := func() (names []string) {
		for name, i := range all {
			for _, alert := range i.alerts {
				if _, fired := p.fired[name][alert]; !fired {
					names = append(names, name+": "+alert)
				}
			}
		}
		return names
	}
	for deadline := time.Now().Add(40*time.Second + 10*time.Minute/time.Duration(*scale)); len(missing()) > 0; <-time.After(250 * time.Millisecond) {
		p.look(t, sites)
		if time.Now().After(deadline) {
			t.Errorf("these alerts do not fire: %s", strings.Join(missing(), ", "))
			return
		}
	}
}

// waitGone waits for the alert that no bridge runs.
func (p *watch) waitGone(t *testing.T) {
	t.Helper()
	if !within(10*time.Second+3*time.Minute/time.Duration(*scale), func() bool {
		return len(p.series(t, `ALERTS{alertname="BridgeGone", alertstate="firing"}`)) == 1
	}) {
		t.Error("BridgeGone does not fire")
	}
}
