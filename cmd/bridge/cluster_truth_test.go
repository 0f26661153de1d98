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

// picture is what a snapshot shows: under "agent.anna", "service.Voice" or
// "totals.bridge" the entity's image, which is its columns in their order less
// the running clocks.
type picture map[string]string

// span is an image of one entity and since when the tenant shows it: not before
// from, surely at since. The image "" says that it is not there.
type span struct {
	from, since time.Time
	image       string
}

// answer is a data request as the tenant has seen it.
type answer struct {
	arrived, done time.Time
	picture       picture // nil if the bridge that asked could not use it
	sure          bool    // the whole of it was sent well within the bridge's patience
}

// truth is the tenant, and all that it has ever shown to whom. The test knows
// from it what the stream must hold.
type truth struct {
	tenant  *bpcctest.Tenant
	sub     bpcc.Subscription
	timeout time.Duration // the bridges' patience with a request

	mu      sync.Mutex
	owner   map[string]string   // by front: the suffix of the app ids it has asked for last
	answers map[string][]answer // by that suffix, as the requests came in
	spans   map[string][]span   // by entity; "availability.Voice" too
}

func newTruth(t *testing.T, timeout time.Duration) *truth {
	t.Helper()
	body, err := os.ReadFile("../../deploy/subscription.json")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := bpcc.ParseSubscription(body)
	if err != nil {
		t.Fatal(err)
	}
	return &truth{
		tenant: bpcctest.New(bpcctest.Config{}), sub: sub, timeout: timeout,
		owner: map[string]string{}, answers: map[string][]answer{}, spans: map[string][]span{},
	}
}

// front is the door through which one bridge sees the tenant.
func (tr *truth) front(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Accept-Encoding")
		switch {
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/subscription"):
			tr.subscribed(name, r)
			tr.tenant.ServeHTTP(w, r)
		case strings.HasSuffix(r.URL.Path, "/subscription/data"):
			tr.answer(name, w, r)
		default:
			tr.tenant.ServeHTTP(w, r)
		}
	})
}

// subscribed notes whose app ids a subscription asks for.
func (tr *truth) subscribed(name string, r *http.Request) {
	// A body that cannot be read is the tenant's to refuse.
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var apps map[string]json.RawMessage
	if json.Unmarshal(body, &apps) != nil {
		return
	}
	for app := range apps {
		tr.mu.Lock()
		_, tr.owner[name], _ = strings.Cut(app, "~")
		tr.mu.Unlock()
	}
}

// answer lets the tenant answer and writes down what it said.
func (tr *truth) answer(name string, w http.ResponseWriter, r *http.Request) {
	tr.mu.Lock()
	owner := tr.owner[name]
	tr.mu.Unlock()
	a := answer{arrived: time.Now()}
	spy := &spy{ResponseWriter: w}
	whole := false
	defer func() { // a fault may end the handler by a panic
		a.done = time.Now()
		if spy.status == http.StatusOK && whole {
			a.picture = tr.read(spy.body.Bytes(), owner)
		}
		a.sure = a.picture != nil && r.Context().Err() == nil && a.done.Sub(a.arrived) < tr.timeout-300*time.Millisecond
		tr.mu.Lock()
		tr.answers[owner] = append(tr.answers[owner], a)
		tr.mu.Unlock()
	}()
	tr.tenant.ServeHTTP(spy, r)
	whole = true
}

// spy keeps what is answered.
type spy struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (s *spy) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *spy) Write(b []byte) (int, error) {
	s.body.Write(b)
	return s.ResponseWriter.Write(b)
}

func (s *spy) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// read makes a picture of a body, nil unless it is whole, the owner's own and
// has rows in every grid.
func (tr *truth) read(body []byte, owner string) picture {
	var apps map[string]struct {
		Totals   map[string]string `json:"stats_totals"`
		Agents   []grid            `json:"agent_grids"`
		Services []grid            `json:"service_grids"`
	}
	if json.Unmarshal(body, &apps) != nil || len(apps) != 1 {
		return nil
	}
	p := picture{}
	for id, app := range apps {
		name, suffix, _ := strings.Cut(id, "~")
		asked := tr.sub[name]
		if suffix != owner || len(app.Agents) != 1 || len(app.Services) != 1 || len(app.Agents[0].Values) == 0 || len(app.Services[0].Values) == 0 {
			return nil
		}
		p.add("agent.", "login_id", app.Agents[0], asked.AgentGrids[0])
		p.add("service.", "name", app.Services[0], asked.ServiceGrids[0])
		p["totals."+name] = image(asked.StatsTotals, app.Totals)
	}
	return p
}

type grid struct{ Values []map[string]string }

func (p picture) add(prefix, key string, shown grid, asked bpcc.Grid) {
	for _, row := range shown.Values {
		stats := map[string]string{}
		for _, c := range asked.Columns {
			if text, ok := row[c.ID]; ok {
				stats[c.StatName] = text
			}
		}
		p[prefix+stats[key]] = image(columns(asked), stats)
	}
}

func columns(g bpcc.Grid) []string {
	var names []string
	for _, c := range g.Columns {
		names = append(names, c.StatName)
	}
	return names
}

// clocks are the statistics that run by themselves; they trigger no event.
var clocks = []string{"state_duration", "login_time", "active_item_talk_duration", "active_item_hold_duration", "agent_total_*_time", "in_max_wait_time"}

// image writes statistics in the order of names, clocks left out.
func image(names []string, stats map[string]string) string {
	var b strings.Builder
	for _, name := range names {
		clock := slices.ContainsFunc(clocks, func(pattern string) bool {
			matched, _ := path.Match(pattern, name) // the patterns are sound
			return matched
		})
		if text, ok := stats[name]; ok && !clock {
			b.WriteString(name + "=" + text + " ")
		}
	}
	return b.String()
}

// imageOf is the image that an event tells of an entity; nil is "".
func (tr *truth) imageOf(entity string, stats map[string]string) string {
	if stats == nil {
		return ""
	}
	asked := tr.sub["bridge"]
	switch kind, _, _ := strings.Cut(entity, "."); kind {
	case "agent":
		return image(columns(asked.AgentGrids[0]), stats)
	case "service":
		return image(columns(asked.ServiceGrids[0]), stats)
	}
	return image(asked.StatsTotals, stats)
}

// change changes the tenant and notes since when it shows what. It is called
// by one goroutine alone.
func (tr *truth) change(do func(*bpcctest.World), availability map[string]string) {
	var from, since time.Time
	tr.tenant.Update(func(w *bpcctest.World) {
		from = time.Now()
		do(w)
		since = time.Now()
	})
	now := tr.read(tr.tenant.Snapshot(tr.sub), "")
	for service, available := range availability {
		now["availability."+service] = available
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for entity, list := range tr.spans {
		if _, there := now[entity]; !there && list[len(list)-1].image != "" && !strings.HasPrefix(entity, "availability.") {
			tr.spans[entity] = append(list, span{from, since, ""})
		}
	}
	for entity, shown := range now {
		if list := tr.spans[entity]; len(list) == 0 || list[len(list)-1].image != shown {
			tr.spans[entity] = append(list, span{from, since, shown})
		}
	}
}

// now is what the tenant shows.
func (tr *truth) now() picture { return tr.read(tr.tenant.Snapshot(tr.sub), "") }
