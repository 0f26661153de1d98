package test

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// possible is what is known of an agent at an instant.
type possible struct {
	States  []string
	Certain bool
	Why     string
}

// checkStates compares state_at.sql with `bridge state --at`, which knows more: it also doubts a state where
// the source did not show all rows. Its states are those of whole images.
func (s *sinks) checkStates(t *testing.T) {
	instants := strings.Fields(s.postgres.run(t, "-c", `
		WITH changes AS (SELECT *, row_number() OVER (ORDER BY sequence) AS n FROM bpcc_events WHERE type = 'bpcc.agent.state_changed.v1'),
		gaps AS (SELECT * FROM bpcc_unobserved)
		SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM (
			SELECT observed_after + (observed_by - observed_after) / 2 AS at FROM changes WHERE n % 60 = 1
			UNION ALL SELECT observed_by + interval '1 ms' FROM changes WHERE n % 60 = 20
			UNION ALL SELECT observed_by FROM changes WHERE n = 30
			UNION ALL SELECT lower(during) + interval '500 ms' FROM gaps WHERE lower(during) IS NOT NULL
			UNION ALL SELECT upper(during) - interval '1 ms' FROM gaps WHERE upper(during) IS NOT NULL) AS instants`))
	if len(instants) < 10 {
		t.Fatalf("only %d instants", len(instants))
	}
	reasons, compared := map[string]int{}, 0
	for _, at := range instants {
		want := s.statesOfBridge(t, at)
		got := map[string]possible{}
		text := s.postgres.run(t, "-v", "tenant=acme", "-v", "at="+at, "-f", "../deploy/sinks/state_at.sql")
		for line := range strings.Lines(text) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
			states, err := csv.NewReader(strings.NewReader(strings.Trim(f[3], "{}"))).Read()
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("%v: %s", err, line)
			}
			got[f[0]] = possible{states, f[4] == "t", f[5]}
		}
		for agent, w := range want {
			g, ok := got[agent]
			compared++
			reasons[cmp.Or(g.Why, "certain")]++
			switch {
			case !ok:
				t.Errorf("%s: %s is not there, want %v", at, agent, w)
			case w.Certain && !(g.Certain && slices.Equal(w.States, g.States)),
				w.Why == "changing" && !slices.Equal(w.States, g.States),
				w.Why == "changing" && g.Certain != (len(w.States) == 1),
				!w.Certain && w.Why != "changing" && (g.Certain || g.Why != w.Why):
				t.Errorf("%s: %s is %+v, want %+v", at, agent, g, w)
			}
		}
		for agent := range got {
			if _, ok := want[agent]; !ok && got[agent].Why != "before_first_observation" { // of all, for the bridge
				t.Errorf("%s: %s is %+v, and not there for the bridge", at, agent, got[agent])
			}
		}
	}
	t.Logf("%d instants, %d states: %v", len(instants), compared, reasons)
	for _, reason := range []string{"certain", "changing", "bridge_away"} {
		if reasons[reason] == 0 {
			t.Errorf("no state is %s", reason)
		}
	}
}

// statesOfBridge returns the states of agents as `bridge state --at` says them.
func (s *sinks) statesOfBridge(t *testing.T, at string) map[string]possible {
	t.Helper()
	type entry struct {
		ID   string
		Data struct {
			After map[string]string
		}
		Absent  bool
		Unknown *struct{ Reason string }
	}
	var view struct {
		Tenants []struct {
			Agents []struct {
				entry
				Or []entry
			}
			Unknown []struct{ Reason, Key string }
		}
	}
	if err := json.Unmarshal([]byte(output(t, s.env, s.bridge, "state", "--at", at, "--tenant", "acme", "--json")), &view); err != nil {
		t.Fatal(err)
	}
	states := map[string]possible{}
	for _, u := range view.Tenants[0].Unknown {
		if agent, ok := strings.CutPrefix(u.Key, "agent."); ok {
			states[decodeToken(agent)] = possible{Why: u.Reason}
		}
	}
	for _, a := range view.Tenants[0].Agents {
		p := possible{Certain: a.Unknown == nil}
		if !p.Certain {
			p.Why = a.Unknown.Reason
		}
		for _, e := range append([]entry{a.entry}, a.Or...) {
			state := "absent"
			if image := e.Data.After; !e.Absent {
				state = cmp.Or(image["acd_state"], "logged_out")
				if image["acd_state"] == "0" {
					state = "logged_out"
				}
				if image["reason"] != "" {
					state += " (" + image["reason"] + ")"
				}
				if image["acd_next_state"] != "" {
					state += ", then " + image["acd_next_state"]
				}
			}
			p.States = append(p.States, state)
		}
		slices.Sort(p.States)
		p.States = slices.Compact(p.States)
		states[a.ID] = p
	}
	return states
}

// decodeToken decodes a token of a subject.
func decodeToken(token string) string {
	return regexp.MustCompile(`=[0-9A-F]{2}`).ReplaceAllStringFunc(token, func(code string) string {
		b, _ := strconv.ParseUint(code[1:], 16, 8)
		return string([]byte{byte(b)})
	})
}

// day is a day of a tenant, made by hand: an agent that is ready from 8:00 to 9:00, then not ready until a gap
// from 10:00 to 11:00, after which it is ready again; a queue with 3 and then 5 calls.
const day = `
	INSERT INTO bpcc_events (sequence, stored, subject, id, tenant, epoch, poll, kind, entity_id, revision, type, time, to_state, to_reason, observed_after, observed_by, observed_until, status, after_gap, data)
	SELECT row_number() OVER (), now(), '', 'day-' || row_number() OVER (), 'day', 1, row_number() OVER (), split_part(type, '.', 2), entity, row_number() OVER (),
		type, by, state, reason, after, by, until, CASE WHEN until IS NULL THEN NULL ELSE 'live' END, gap, data
	FROM (VALUES
		('bpcc.agent.observed.v1', 'ann', 'ready', NULL, NULL, '2026-11-24T08:00Z'::timestamptz, NULL::timestamptz, false, '{}'::jsonb),
		('bpcc.service.observed.v1', 'Billing', NULL, NULL, NULL, '2026-11-24T08:00Z', NULL, false, '{"after": {"in_calls_waiting": "3"}}'),
		('bpcc.feed.checkpoint.v1', NULL, NULL, NULL, NULL, '2026-11-24T08:00Z', '2026-11-24T08:00Z', NULL, '{"events": 2}'),
		('bpcc.agent.state_changed.v1', 'ann', 'not_ready', 'Lunch', '2026-11-24T09:00Z'::timestamptz, '2026-11-24T09:01Z', NULL, false, '{}'),
		('bpcc.service.stats_changed.v1', 'Billing', NULL, NULL, '2026-11-24T09:00Z', '2026-11-24T09:01Z', NULL, false, '{"after": {"in_calls_waiting": "5"}}'),
		('bpcc.feed.resumed.v1', NULL, NULL, NULL, '2026-11-24T10:00Z', '2026-11-24T11:00Z', NULL, NULL, '{}'),
		('bpcc.agent.state_changed.v1', 'ann', 'ready', NULL, '2026-11-24T10:00Z', '2026-11-24T11:00Z', NULL, true, '{}'),
		('bpcc.agent.observed.v1', 'ann', 'ready', NULL, NULL, '2026-11-24T11:30Z', NULL, false, '{}'),
		('bpcc.service.stats_changed.v1', 'Billing', NULL, NULL, '2026-11-24T11:30Z', '2026-11-24T11:31Z', NULL, false, '{"after": {"in_calls_waiting": ""}}'),
		('bpcc.feed.checkpoint.v1', NULL, NULL, NULL, NULL, '2026-11-24T12:00Z', '2026-11-24T12:00Z', NULL, '{"events": 6}')
	) AS events (type, entity, state, reason, after, by, until, gap, data)`

// checkTimes: the times of a day made by hand, and, of what the bridge published, times that add up.
func (s *sinks) checkTimes(t *testing.T) {
	text := s.postgres.run(t, "-c", "BEGIN", "-c", day, "-v", "tenant=day", "-v", "from=2026-11-24T08:30Z", "-v", "until=2026-11-24T13:00Z",
		"-f", "../deploy/sinks/time_in_state.sql", "-c", "ROLLBACK")
	want := "ann||ready||01:30:00|01:31:00\nann||not_ready|Lunch|00:59:00|01:00:00\n"
	if text != want {
		t.Errorf("the day:\n%swant\n%s", text, want)
	}
	text = s.postgres.run(t, "-v", "tenant=acme", "-v", "from=2000-01-01", "-v", "until=2100-01-01", "-f", "../deploy/sinks/time_in_state.sql")
	least, most := map[string]time.Duration{}, map[string]time.Duration{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), "|")
		least[f[0]] += interval(t, f[4])
		most[f[0]] += interval(t, f[5])
	}
	observed := interval(t, strings.TrimSpace(s.postgres.run(t, "-c", `
		SELECT sum(upper(r) - lower(r)) FROM unnest((SELECT '{(,)}'::tstzmultirange - range_agg(during) FROM bpcc_unobserved WHERE tenant = 'acme')) AS r`)))
	present := 0
	for agent := range most {
		if least[agent] > observed {
			t.Errorf("%s: at least %v of %v", agent, least[agent], observed)
		}
		if most[agent] >= observed {
			present++
		}
	}
	if present < 30 {
		t.Errorf("%d agents were there all the time, of %d; observed %v\n%s", present, len(most), observed, text)
	}
}

// interval parses an interval of PostgreSQL below a day.
func interval(t *testing.T, text string) time.Duration {
	t.Helper()
	var h, m int
	var seconds float64
	if _, err := fmt.Sscanf(text, "%d:%d:%f", &h, &m, &seconds); err != nil {
		t.Fatalf("interval %q: %v", text, err)
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(seconds*float64(time.Second))
}

// checkQueues: the history of a day made by hand.
func (s *sinks) checkQueues(t *testing.T) {
	text := s.postgres.run(t, "-c", "BEGIN", "-c", day, "-c", "SET timezone = UTC", "-v", "tenant=day", "-v", "stat=in_calls_waiting",
		"-v", "from=2026-11-24T08:30Z", "-v", "until=2026-11-24T13:00Z", "-f", "../deploy/sinks/queue_history.sql", "-c", "ROLLBACK")
	want := `Billing|3|2026-11-24 08:00:00+00|2026-11-24 09:01:00+00|f
Billing|5|2026-11-24 09:01:00+00|2026-11-24 11:31:00+00|f
Billing||2026-11-24 11:31:00+00||f
`
	if text != want {
		t.Errorf("the day:\n%swant\n%s", text, want)
	}
}
