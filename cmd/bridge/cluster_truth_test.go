//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/bpcc/bpcctest"
)

// snapshot is what a snapshot shows: under "agent.anna", "service.Voice" or
// "totals.bridge" the entity's image, which is its columns in their order less
// the running clocks.
type snapshot map[string]string

// version is an image of one entity and since when the tenant shows it: not before
// from, surely at since. The image "" says that it is not there.
type version struct {
	from, since time.Time
	image       string
}

// response is a data request as the tenant has seen it.
type response struct {
	arrived, done time.Time
	snapshot      snapshot // nil if the bridge that asked could not use it
	certain       bool     // the whole of it was sent well within the bridge's patience
}

// tenantHistory is the tenant, and all that it has ever shown to whom. The test knows
// from it what the stream must hold.
type tenantHistory struct {
	tenant  *bpcctest.Tenant
	sub     bpcc.Subscription
	timeout time.Duration // the bridges' patience with a request

	mu        sync.Mutex
	appSuffix map[string]string        // by front: the suffix of the app ids it has asked for last
	responses map[string][]response    // by that suffix, as the requests came in
	clocks    map[string]time.Duration // by front: how far the clock of the bridge behind it is ahead
	offsets   map[string]time.Duration // the same by suffix
	versions  map[string][]version     // by entity; "availability.Voice" too
}

func newTenantHistory(t *testing.T, timeout time.Duration) *tenantHistory {
	t.Helper()
	body, err := os.ReadFile("../../deploy/subscription.json")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := bpcc.ParseSubscription(body)
	if err != nil {
		t.Fatal(err)
	}
	return &tenantHistory{
		tenant: bpcctest.New(bpcctest.Config{}), sub: sub, timeout: timeout,
		clocks: map[string]time.Duration{}, offsets: map[string]time.Duration{},
		appSuffix: map[string]string{}, responses: map[string][]response{}, versions: map[string][]version{},
	}
}

// handlerFor is the door through which one bridge sees the tenant.
func (tr *tenantHistory) handlerFor(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Accept-Encoding")
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/subscription"):
			tr.recordSubscription(name, r)
			tr.tenant.ServeHTTP(w, r)
		case strings.HasSuffix(r.URL.Path, "/subscription/data"):
			tr.recordResponse(name, w, r)
		default:
			tr.tenant.ServeHTTP(w, r)
		}
	})
}

// recordSubscription notes whose app ids a subscription asks for.
func (tr *tenantHistory) recordSubscription(name string, r *http.Request) {
	// A body that cannot be read is the tenant's to refuse.
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var apps map[string]json.RawMessage
	if json.Unmarshal(body, &apps) != nil {
		return
	}
	for app := range apps {
		tr.mu.Lock()
		_, suffix, _ := strings.Cut(app, "~")
		tr.appSuffix[name], tr.offsets[suffix] = suffix, tr.clocks[name]
		tr.mu.Unlock()
	}
}

// recordResponse lets the tenant answer and writes down what it said.
func (tr *tenantHistory) recordResponse(name string, w http.ResponseWriter, r *http.Request) {
	tr.mu.Lock()
	owner := tr.appSuffix[name]
	tr.mu.Unlock()
	a := response{arrived: time.Now()}
	recorder := &responseRecorder{ResponseWriter: w}
	complete := false
	defer func() { // a fault may end the handler by a panic
		a.done = time.Now()
		if recorder.status == http.StatusOK && complete {
			a.snapshot = tr.parseSnapshot(recorder.body.Bytes(), owner)
		}
		a.certain = a.snapshot != nil && r.Context().Err() == nil && a.done.Sub(a.arrived) < tr.timeout-300*time.Millisecond
		tr.mu.Lock()
		tr.responses[owner] = append(tr.responses[owner], a)
		tr.mu.Unlock()
	}()
	tr.tenant.ServeHTTP(recorder, r)
	complete = true
}

// responseRecorder keeps what is answered.
type responseRecorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (s *responseRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *responseRecorder) Write(b []byte) (int, error) {
	s.body.Write(b)
	return s.ResponseWriter.Write(b)
}

func (s *responseRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// parseSnapshot makes a snapshot of a body, nil unless it is complete, the owner's own and
// has rows in every grid.
func (tr *tenantHistory) parseSnapshot(body []byte, owner string) snapshot {
	var apps map[string]struct {
		Totals   map[string]string `json:"stats_totals"`
		Agents   []grid            `json:"agent_grids"`
		Services []grid            `json:"service_grids"`
	}
	if json.Unmarshal(body, &apps) != nil || len(apps) != 1 {
		return nil
	}
	p := snapshot{}
	for id, app := range apps {
		name, suffix, _ := strings.Cut(id, "~")
		requested := tr.sub[name]
		if suffix != owner || len(app.Agents) != 1 || len(app.Services) != 1 || len(app.Agents[0].Values) == 0 || len(app.Services[0].Values) == 0 {
			return nil
		}
		p.addGrid("agent.", "login_id", app.Agents[0], requested.AgentGrids[0])
		p.addGrid("service.", "name", app.Services[0], requested.ServiceGrids[0])
		p["totals."+name] = statImage(requested.StatsTotals, app.Totals)
	}
	return p
}

type grid struct{ Values []map[string]string }

func (p snapshot) addGrid(prefix, key string, responseGrid grid, requested bpcc.Grid) {
	for _, row := range responseGrid.Values {
		stats := map[string]string{}
		for _, c := range requested.Columns {
			if text, ok := row[c.ID]; ok {
				stats[c.StatName] = text
			}
		}
		p[prefix+stats[key]] = statImage(columnNames(requested), stats)
	}
}

func columnNames(g bpcc.Grid) []string {
	var names []string
	for _, c := range g.Columns {
		names = append(names, c.StatName)
	}
	return names
}

// clockStats are the statistics that run by themselves; they trigger no event.
var clockStats = []string{"state_duration", "login_time", "active_item_talk_duration", "active_item_hold_duration", "agent_total_*_time", "in_max_wait_time"}

// statImage writes statistics in the order of names, clocks left out.
func statImage(names []string, stats map[string]string) string {
	var b strings.Builder
	for _, name := range names {
		clock := slices.ContainsFunc(clockStats, func(pattern string) bool {
			matched, _ := path.Match(pattern, name) // the patterns are sound
			return matched
		})
		if text, ok := stats[name]; ok && !clock {
			b.WriteString(name + "=" + text + " ")
		}
	}
	return b.String()
}

// imageOf is the image that an event has of an entity; nil is "".
func (tr *tenantHistory) imageOf(entity string, stats map[string]string) string {
	if stats == nil {
		return ""
	}
	requested := tr.sub["bridge"]
	switch kind, _, _ := strings.Cut(entity, "."); kind {
	case "agent":
		return statImage(columnNames(requested.AgentGrids[0]), stats)
	case "service":
		return statImage(columnNames(requested.ServiceGrids[0]), stats)
	}
	return statImage(requested.StatsTotals, stats)
}

// update changes the tenant and notes since when it shows what. It is called
// by one goroutine alone.
func (tr *tenantHistory) update(do func(*bpcctest.World), availability map[string]string) {
	var from, since time.Time
	tr.tenant.Update(func(w *bpcctest.World) {
		from = time.Now()
		do(w)
		since = time.Now()
	})
	now := tr.parseSnapshot(tr.tenant.Snapshot(tr.sub), "")
	for service, available := range availability {
		now["availability."+service] = available
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for entity, list := range tr.versions {
		if _, there := now[entity]; !there && list[len(list)-1].image != "" && !strings.HasPrefix(entity, "availability.") {
			tr.versions[entity] = append(list, version{from, since, ""})
		}
	}
	for entity, image := range now {
		if list := tr.versions[entity]; len(list) == 0 || list[len(list)-1].image != image {
			tr.versions[entity] = append(list, version{from, since, image})
		}
	}
}

// current is what the tenant shows.
func (tr *tenantHistory) current() snapshot { return tr.parseSnapshot(tr.tenant.Snapshot(tr.sub), "") }

// setClock notes how far the clock of a bridge is ahead, from its next start on.
func (tr *tenantHistory) setClock(name string, offset time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.clocks[name] = offset
}

// offsetOf is how far the clock of an instance was ahead.
func (tr *tenantHistory) offsetOf(instance string) time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.offsets[instance[strings.LastIndexByte(instance, '-')+1:]]
}

// setBackMargin bounds by how much more than their clocks differ a bridge sets back the times of one
// whose clock was ahead.
const setBackMargin = 1100 * time.Millisecond

// writtenTime is an instant as a term has written it, and how far that is ahead of the clock of this
// machine.
type writtenTime struct {
	at     time.Time
	offset time.Duration
}

// byOneClock returns the events with all times by the clock of this machine. A term repeats times of the
// one before as they are, or sets all of them back by the same, if that bridge's clock was ahead.
func (tr *tenantHistory) byOneClock(all []record) []record {
	out := slices.Clone(all)
	var own time.Duration
	last := map[string]writtenTime{} // what a later term may repeat, by what it is
	var earlier []writtenTime
	correct := func(what string, at *time.Time) *time.Time {
		if at == nil {
			return nil
		}
		offset := own
		for _, w := range earlier {
			if at.Sub(w.at).Abs() <= time.Millisecond { // both are rounded
				offset = w.offset
			}
		}
		if what != "" {
			last[what] = writtenTime{*at, offset}
		}
		return new(at.Add(-offset))
	}
	for i := range out {
		r := &out[i]
		if r.subject == "feed.started" {
			own = tr.offsetOf(r.Data.Instance)
			earlier = nil
			back := setBack(all[i:], last["until"], own)
			for _, w := range last {
				earlier = append(earlier, writtenTime{w.at.Add(-back), w.offset - back})
			}
		}
		r.Time = r.Time.Add(-own)
		if w := r.Data.Observed; w != nil {
			what := ""
			if entity := r.entity(); strings.HasPrefix(entity, "availability.") {
				what = entity
			}
			r.Data.Observed = &timeRange{After: correct(what, w.After), By: w.By.Add(-own)}
		}
		r.Data.ObservedUntil = correct("until", r.Data.ObservedUntil)
		r.Data.MissingSince = correct("missing since", r.Data.MissingSince)
		r.Data.AvailabilityUntil = correct("availability until", r.Data.AvailabilityUntil)
	}
	return out
}

// setBack is by how much a term whose clock is own ahead sets back the times before it, as its first
// checkpoint shows; 0 if that is not by what the other clock was ahead of its own.
func setBack(term []record, until writtenTime, own time.Duration) time.Duration {
	i := slices.IndexFunc(term, func(r record) bool { return r.subject == "feed.checkpoint" })
	if i < 0 || term[i].Data.ObservedUntil == nil || until.at.IsZero() {
		return 0
	}
	back := until.at.Sub(*term[i].Data.ObservedUntil)
	if ahead := until.offset - own; ahead > 0 && back > ahead-time.Millisecond && back < ahead+setBackMargin {
		return back
	}
	return 0
}
