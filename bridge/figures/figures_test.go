package figures_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bpcc-nats/bridge/answer"
	"bpcc-nats/bridge/figures"
	"bpcc-nats/diff/image"
)

// collector collects a picture as a registry of Prometheus does.
type collector struct {
	tenant  *figures.Tenant
	picture answer.Picture
}

func (c collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(ch chan<- prometheus.Metric) { c.tenant.Collect(ch, c.picture) }

// gather returns the samples of a picture, as "name{labels} value".
func gather(t *testing.T, tenant *figures.Tenant, p answer.Picture) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{tenant, p})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetName() != "tenant" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			all = append(all, fmt.Sprintf("%s{%s} %v", f.GetName(), strings.Join(labels, ","), m.GetGauge().GetValue()))
		}
	}
	return all
}

// entity is one of statistics "name=text".
func entity(id string, stats ...string) answer.Entity {
	var all []image.Stat
	for _, s := range stats {
		name, text, _ := strings.Cut(s, "=")
		all = append(all, image.Stat{Name: name, Text: text})
	}
	return answer.Entity{ID: id, Image: image.New(all...)}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	patterns := []string{"in_*", "service_level", "in-*", "calls*", "level*", "available"}
	for name, test := range map[string]struct {
		picture answer.Picture
		want    []string
	}{
		"nothing is known": {answer.Picture{}, nil},
		"numbers alone, of what is chosen": {
			answer.Picture{Services: []answer.Entity{entity("Sales", "name=Sales", "in_calls_waiting=3", "in_max_wait_time=", "service_level=0.85", "in_wait=00:01:02", "in_share=87%", "agents_busy=4")}},
			[]string{`bpcc_service_in_calls_waiting{service=Sales} 3`, `bpcc_service_service_level{service=Sales} 0.85`},
		},
		"totals have no service": {
			answer.Picture{Totals: []answer.Entity{entity("bridge", "in_calls_waiting=7", "agents_ready=2")}},
			[]string{`bpcc_totals_in_calls_waiting{} 7`},
		},
		"two apps have one name": {
			answer.Picture{Totals: []answer.Entity{entity("second", "in_calls_waiting=7"), entity("first", "in_calls_waiting=1")}},
			[]string{`bpcc_bridge_metrics_series_cut{} 1`, `bpcc_totals_in_calls_waiting{} 1`},
		},
		"names that Prometheus does not allow": {
			answer.Picture{Services: []answer.Entity{entity("Überlauf \xff", "calls[Sale, EU]=3", "in-calls=1"), entity("B", "calls[Sale]=4")}},
			[]string{`bpcc_service_calls_Sale{service=B} 4`, `bpcc_service_calls_Sale_EU{service=Überlauf �} 3`, `bpcc_service_in_calls{service=Überlauf �} 1`},
		},
		"two statistics have one name": {
			answer.Picture{Services: []answer.Entity{entity("A", "level-1=3", "level_1=4")}},
			[]string{`bpcc_bridge_metrics_series_cut{} 1`, `bpcc_service_level_1{service=A} 3`},
		},
		"a statistic has the name of availability": {
			answer.Picture{Available: map[string]bool{"A": true}, Services: []answer.Entity{entity("A", "available=5")}},
			[]string{`bpcc_bridge_metrics_series_cut{} 1`, `bpcc_service_available{service=A} 1`},
		},
		"availability": {
			answer.Picture{Available: map[string]bool{"A": true, "B": false}},
			[]string{`bpcc_service_available{service=A} 1`, `bpcc_service_available{service=B} 0`},
		},
		"agents": {
			answer.Picture{Agents: []answer.Entity{
				entity("ann", "login_id=ann", "team_name=Sales", "acd_state=ready"), entity("bob", "login_id=bob", "team_name=Sales", "acd_state=ready"),
				entity("eve", "login_id=eve", "team_name=Sales", "acd_state=supervising"), entity("tom", "login_id=tom", "team_name=Support", "acd_state="),
			}},
			[]string{
				`bpcc_agents{state=after_call_work,team=Sales} 0`, `bpcc_agents{state=after_call_work,team=Support} 0`,
				`bpcc_agents{state=busy,team=Sales} 0`, `bpcc_agents{state=busy,team=Support} 0`,
				`bpcc_agents{state=logged_out,team=Sales} 0`, `bpcc_agents{state=logged_out,team=Support} 1`,
				`bpcc_agents{state=not_ready,team=Sales} 0`, `bpcc_agents{state=not_ready,team=Support} 0`,
				`bpcc_agents{state=ready,team=Sales} 2`, `bpcc_agents{state=ready,team=Support} 0`, `bpcc_agents{state=supervising,team=Sales} 1`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := gather(t, figures.New("acme", patterns, slog.New(slog.DiscardHandler)), test.picture)
			without := got[:0]
			for _, s := range got {
				if s != "bpcc_bridge_metrics_series_cut{} 0" {
					without = append(without, s)
				}
			}
			if d := cmp.Diff(test.want, append([]string(nil), without...)); d != "" {
				t.Errorf("samples (-want +got)\n%s", d)
			}
		})
	}
}

// TestBound: a tenant has no more series than the bound, the same ones each time, and one warning.
func TestBound(t *testing.T) {
	t.Parallel()
	var p answer.Picture
	for i := range 1500 {
		p.Services = append(p.Services, entity(fmt.Sprintf("Service %04d", i), "in_a=1", "in_b=2"))
	}
	var log bytes.Buffer
	tenant := figures.New("acme", []string{"in_*"}, slog.New(slog.NewTextHandler(&log, nil)))
	first := gather(t, tenant, p)
	if d := cmp.Diff(first, gather(t, tenant, p)); d != "" {
		t.Errorf("two scrapes (-first +second)\n%s", d)
	}
	if len(first) != figures.MaxSeries+1 || first[0] != "bpcc_bridge_metrics_series_cut{} 1000" {
		t.Errorf("%d samples, the first %s", len(first), first[0])
	}
	if text := log.String(); strings.Count(text, "business metrics left out") != 1 || !strings.Contains(text, "BRIDGE_METRICS_STATS") {
		t.Errorf("log:\n%s", text)
	}
}
