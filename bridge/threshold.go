package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bpcc"
	"bpcc-nats/diff"
	"bpcc-nats/schemas"
)

// ErrRules is returned by [ParseRules] when the rules cannot be used.
var ErrRules = errors.New("threshold rules")

// Rule is a threshold: it raises when its condition has held for a while, and
// clears when its clear condition holds.
type Rule struct {
	// Name is the rule's name and a token of its events' subjects.
	Name string `json:"name"`
	// Kind is the kind of entity it watches: service, totals or agent.
	Kind diff.Kind `json:"kind"`
	// Match holds globs (* and ?) on entity ids; none matches all.
	Match []string `json:"match"`
	// Stat is the statistic it reads.
	Stat string `json:"stat"`
	// When narrows the rule to entities whose statistics have one of these
	// texts, such as acd_state "not_ready"; elsewhere it does not hold.
	When map[string][]string `json:"when"`
	// Raise must hold for For, at every poll, before the rule raises.
	Raise Condition `json:"raise"`
	// Clear ends it; nil means as soon as Raise no longer holds.
	Clear *Condition `json:"clear"`
	// For is how long Raise must hold; 0 raises at once.
	For Span `json:"for"`
	// Severity is info, warning or critical; empty means warning.
	Severity string `json:"severity"`
	// Missing says what a value that is "" or no number does: "hold" (the
	// default) keeps things as they are, "clear" counts as not holding.
	Missing string `json:"missing"`
}

// Condition compares a statistic with a number.
type Condition struct {
	Op    string  `json:"op"`
	Value float64 `json:"value"`
}

// Span is a duration written as text, such as "10s".
type Span time.Duration

// UnmarshalJSON reads what time.ParseDuration reads.
func (s *Span) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	*s = Span(d)
	return err
}

func (s Span) String() string { return time.Duration(s).String() }

// ParseRules reads and checks a JSON array of rules against their schema; the
// error is [ErrRules] and names every fault's place.
func ParseRules(body []byte) ([]Rule, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	if err := schemas.ValidateConfig("thresholds", body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	var rules []Rule
	if err := json.Unmarshal(body, &rules); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	names := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		if names[r.Name] {
			return nil, fmt.Errorf("%w: two rules have the name %q", ErrRules, r.Name)
		}
		names[r.Name] = true
		if r.Severity == "" {
			r.Severity = "warning"
		}
	}
	return rules, nil
}

// unsubscribed tells of rules that read statistics which nobody asks for: they
// could never raise.
func unsubscribed(rules []Rule, sub bpcc.Subscription, redacted func(string) bool) []error {
	asked := map[diff.Kind]map[string]bool{kindAgent: {}, kindService: {}, kindTotals: {}}
	for _, app := range sub {
		for _, stat := range app.StatsTotals {
			asked[kindTotals][stat] = true
		}
		for kind, grids := range map[diff.Kind][]bpcc.Grid{kindAgent: app.AgentGrids, kindService: app.ServiceGrids} {
			for _, g := range grids {
				for _, name := range columnNames(g.Columns) {
					asked[kind][name] = true
				}
			}
		}
	}
	var faults []error
	for _, r := range rules {
		for _, stat := range append(sortedKeys(r.When), r.Stat) {
			switch {
			case !asked[r.Kind][stat]:
				faults = append(faults, fmt.Errorf("rule %q reads %s, which the subscription does not ask for: add it to the %s columns of BPCC_SUBSCRIPTION_FILE, or choose one of %s",
					r.Name, stat, r.Kind, strings.Join(sortedKeys(asked[r.Kind]), ", ")))
			case redacted(stat):
				faults = append(faults, fmt.Errorf("rule %q reads %s, which BRIDGE_REDACT_STATS leaves out", r.Name, stat))
			}
		}
	}
	return faults
}

// applies tells whether the rule is about entities that look like this.
func (r *Rule) applies(latest diff.Sighting) bool {
	for stat, texts := range r.When {
		if !slices.Contains(texts, latest.Text(stat)) {
			return false
		}
	}
	return true
}

func (c Condition) holds(v float64) bool {
	switch c.Op {
	case ">":
		return v > c.Value
	case ">=":
		return v >= c.Value
	case "<":
		return v < c.Value
	case "<=":
		return v <= c.Value
	case "==":
		return v == c.Value
	default:
		return v != c.Value
	}
}

// clearing is the condition that clears the rule, for telling it.
func (r *Rule) clearing() Condition {
	if r.Clear != nil {
		return *r.Clear
	}
	return r.Raise
}

func (r *Rule) clears(v float64) bool {
	if r.Clear != nil {
		return r.Clear.holds(v)
	}
	return !r.Raise.holds(v)
}

// globs compiles patterns in which * stands for any text and ? for one character.
func globs(patterns []string) *regexp.Regexp {
	if len(patterns) == 0 {
		return regexp.MustCompile("")
	}
	var alternatives []string
	for _, p := range patterns {
		p = regexp.QuoteMeta(p)
		p = strings.ReplaceAll(p, `\*`, `.*`)
		alternatives = append(alternatives, strings.ReplaceAll(p, `\?`, `.`))
	}
	return regexp.MustCompile(`(?s)^(?:` + strings.Join(alternatives, "|") + `)$`)
}

// watch is a rule on one entity: what must outlive a poll, and what a restart
// takes back from the stream.
type watch struct {
	pending time.Time // since when Raise holds; zero = it does not
	raised  bool
	// told is the raised event's data, kept to clear a rule that is gone.
	told  thresholdData
	round uint64 // the evaluation that judged it last
}

type watchKey struct {
	rule   string
	entity entityRef
}

// thresholds evaluates the rules. An entity that a rule neither waits for nor has
// raised on is not watched: it is looked at when its picture changes.
type thresholds struct {
	rules   []Rule
	matches []*regexp.Regexp
	watches map[watchKey]*watch
	round   uint64 // counts evaluations
}

func newThresholds(rules []Rule) *thresholds {
	t := &thresholds{rules: rules, watches: map[watchKey]*watch{}}
	for _, r := range rules {
		t.matches = append(t.matches, globs(r.Match))
	}
	return t
}

// verdict is a rule that raises or clears on an entity.
type verdict struct {
	key       watchKey
	raised    bool
	data      thresholdData
	clearedBy string
}

// restart forgets how long conditions have held: what was not seen did not count.
func (t *thresholds) restart() {
	for _, w := range t.watches {
		w.pending = time.Time{}
	}
}

// evaluate runs the rules at the instant now over what has changed and what is
// watched. For the rest it would find what it found before.
func (t *thresholds) evaluate(s *diff.State, now time.Time) []verdict {
	if len(t.rules) == 0 && len(t.watches) == 0 {
		return nil
	}
	t.round++
	var out []verdict
	for i := range t.rules {
		r := &t.rules[i]
		from := len(out)
		for latest := range s.Stirred(r.Kind) {
			if v, flips := t.judge(i, latest, now); flips {
				out = append(out, v)
			}
		}
		for key, w := range t.watches {
			if key.rule != r.Name || key.entity.Kind != string(r.Kind) || w.round == t.round {
				continue
			}
			latest, present := s.Latest(r.Kind, key.entity.ID)
			if !present {
				continue
			}
			if v, flips := t.judge(i, latest, now); flips {
				out = append(out, v)
			}
		}
		slices.SortFunc(out[from:], func(a, b verdict) int { return strings.Compare(a.key.entity.ID, b.key.entity.ID) })
	}
	return append(out, t.orphans(s)...)
}

// judge tells whether a rule raises or clears now. Only the pending clock
// moves; raised follows the acknowledgement.
func (t *thresholds) judge(rule int, latest diff.Sighting, now time.Time) (verdict, bool) {
	r := &t.rules[rule]
	key := watchKey{r.Name, entityRef{string(r.Kind), latest.ID()}}
	w := t.watches[key]
	if w != nil {
		w.round = t.round
	}
	text := latest.Text(r.Stat)
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	missing := err != nil
	holds := !missing && r.Raise.holds(value)
	if w == nil && !holds || !t.matches[rule].MatchString(latest.ID()) {
		return verdict{}, false
	}
	applies := r.applies(latest)
	if missing && applies && r.Missing != "clear" {
		return verdict{}, false
	}
	if w != nil && w.raised {
		if missing || !applies || r.clears(value) {
			return verdict{key: key, data: r.tell(key, text, r.clearing(), w.told.PendingSince), clearedBy: "condition"}, true
		}
		return verdict{}, false
	}
	if !holds || !applies {
		delete(t.watches, key)
		return verdict{}, false
	}
	if w == nil {
		w = &watch{round: t.round}
		t.watches[key] = w
	}
	if w.pending.IsZero() {
		w.pending = now
	}
	if now.Sub(w.pending) < time.Duration(r.For) {
		return verdict{}, false
	}
	return verdict{key: key, raised: true, data: r.tell(key, text, r.Raise, stampBy(w.pending))}, true
}

func (r *Rule) tell(key watchKey, value string, c Condition, pendingSince string) thresholdData {
	return thresholdData{
		Rule: r.Name, Severity: r.Severity, Entity: key.entity, Stat: r.Stat, Value: &value,
		Limit: c.Value, Op: c.Op, For: r.For.String(), PendingSince: pendingSince,
	}
}

// orphans clears what is raised on entities or by rules that are no more.
func (t *thresholds) orphans(s *diff.State) []verdict {
	var out []verdict
	for key, w := range t.watches {
		if t.alive(s, key) {
			continue
		}
		if !w.raised {
			delete(t.watches, key)
			continue
		}
		v := verdict{key: key, data: w.told, clearedBy: "entity_gone"}
		v.data.Value = nil
		if !slices.ContainsFunc(t.rules, func(r Rule) bool { return r.Name == key.rule && string(r.Kind) == key.entity.Kind }) {
			v.clearedBy = "rule_removed"
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b verdict) int {
		return strings.Compare(a.key.rule+"/"+a.key.entity.ID, b.key.rule+"/"+b.key.entity.ID)
	})
	return out
}

// alive tells whether there is still a rule to watch an entity that is still there.
func (t *thresholds) alive(s *diff.State, key watchKey) bool {
	if _, present := s.Latest(diff.Kind(key.entity.Kind), key.entity.ID); !present {
		return false
	}
	for i, r := range t.rules {
		if r.Name == key.rule && string(r.Kind) == key.entity.Kind && t.matches[i].MatchString(key.entity.ID) {
			return true
		}
	}
	return false
}

// apply makes an acknowledged verdict true.
func (t *thresholds) apply(v verdict) {
	if !v.raised {
		delete(t.watches, v.key)
		return
	}
	t.watches[v.key] = &watch{raised: true, told: v.data}
}
