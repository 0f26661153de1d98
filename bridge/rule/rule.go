// Package rule holds threshold rules as people write them.
package rule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"bpcc-nats/diff/image"
	"bpcc-nats/schemas"
)

// ErrInvalid is returned by [Parse] when the rules cannot be used.
var ErrInvalid = errors.New("threshold rules")

// Rule is a threshold rule: it raises when its condition has held for a while, and clears when its
// clear condition holds.
type Rule struct {
	// Name is the rule's name and a token of its events' subjects.
	Name string `json:"name"`
	// Kind is the kind of entity that it applies to: service, totals or agent.
	Kind image.Kind `json:"kind"`
	// Match holds globs on entity ids, see [Globs]; none matches all.
	Match []string `json:"match"`
	// Stat is the statistic it reads.
	Stat string `json:"stat"`
	// When limits the rule to entities whose statistics have one of these texts, such as acd_state
	// "not_ready".
	When map[string][]string `json:"when"`
	// Raise must hold for For, at every poll, before the rule raises.
	Raise Condition `json:"raise"`
	// Clear ends it; nil means as soon as Raise no longer holds.
	Clear *Condition `json:"clear"`
	// For is how long Raise must hold; 0 raises at once.
	For Duration `json:"for"`
	// Severity is info, warning or critical; empty means warning.
	Severity string `json:"severity"`
	// Missing is the effect of a value that is "" or not a number: "hold" (the default) changes
	// nothing, "clear" counts as not holding.
	Missing string `json:"missing"`
	// Parse is how the statistic's text is read: number (the default), percent ("87%" is 87) or
	// duration ("5:12" is 312 seconds).
	Parse string `json:"parse"`
	// Decimal is the decimal separator of numbers and percents, "." or ","; the other one may then
	// separate groups of three digits. Empty means "." without groups.
	Decimal string `json:"decimal"`
}

// Condition compares a statistic with a number.
type Condition struct {
	Op    string  `json:"op"`
	Value float64 `json:"value"`
}

// Duration is a time.Duration that JSON writes as text, such as "10s".
type Duration time.Duration

// UnmarshalJSON parses the text with time.ParseDuration.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = Duration(parsed)
	return err
}

// String returns the duration as time.Duration writes it.
func (d Duration) String() string { return time.Duration(d).String() }

// Parse reads a JSON array of rules and checks it against the schema, and whether the rules make
// sense. The error is [ErrInvalid] and lists every fault, those of the schema with their places; the rules without
// a fault are returned even then, so that a caller can check more of them.
func Parse(body []byte) ([]Rule, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var faults []string
	if err := schemas.ValidateConfig("thresholds", body); err != nil {
		faults = append(faults, err.Error())
	}
	var items []json.RawMessage
	if err := json.Unmarshal(body, &items); err != nil && len(faults) == 0 {
		faults = append(faults, err.Error())
	}
	var rules []Rule
	names := map[string]bool{}
	for _, item := range items {
		one := slices.Concat([]byte("["), item, []byte("]"))
		var decoded []Rule
		if schemas.ValidateConfig("thresholds", one) != nil {
			continue // among the faults of all
		}
		if err := json.Unmarshal(one, &decoded); err != nil {
			faults = append(faults, err.Error())
			continue
		}
		r := &decoded[0]
		if names[r.Name] {
			faults = append(faults, fmt.Sprintf("duplicate rule name %q", r.Name))
		}
		names[r.Name] = true
		if r.Severity == "" {
			r.Severity = "warning"
		}
		contradiction := r.conditionFault()
		switch {
		case contradiction != "":
			faults = append(faults, fmt.Sprintf("rule %q: %s", r.Name, contradiction))
		case r.Decimal != "" && r.Parse == ParseDuration:
			faults = append(faults, fmt.Sprintf("rule %q: decimal applies to numbers and percents, not to durations", r.Name))
		default:
			rules = append(rules, *r)
		}
	}
	if len(faults) > 0 {
		return rules, fmt.Errorf("%w: %s", ErrInvalid, strings.Join(faults, "; "))
	}
	return rules, nil
}

// Unsubscribed returns an error for each statistic that a rule reads and that can never raise it:
// the subscription does not contain it for the kind, or it is redacted.
func Unsubscribed(rules []Rule, subscribed map[image.Kind][]string, redacted func(stat string) bool) []error {
	var faults []error
	for _, r := range rules {
		for _, stat := range r.reads() {
			switch {
			case !slices.Contains(subscribed[r.Kind], stat):
				faults = append(faults, fmt.Errorf("rule %q reads %s, which is not subscribed: add it to the %s columns of BPCC_SUBSCRIPTION_FILE, or choose one of %s",
					r.Name, stat, r.Kind, strings.Join(slices.Compact(slices.Sorted(slices.Values(subscribed[r.Kind]))), ", ")))
			case redacted(stat):
				faults = append(faults, fmt.Errorf("rule %q reads %s, which BRIDGE_REDACT_STATS removes", r.Name, stat))
			}
		}
	}
	return faults
}

// Holds reports whether the condition holds for a number.
func (c Condition) Holds(v float64) bool {
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

// reads lists the statistics that the rule reads.
func (r *Rule) reads() []string { return append(slices.Sorted(maps.Keys(r.When)), r.Stat) }

// ReadsAny reports whether the rule reads one of these statistics, which are given by kind.
func (r *Rule) ReadsAny(stats map[image.Kind][]string) bool {
	list := stats[r.Kind]
	return len(list) > 0 && slices.ContainsFunc(r.reads(), func(stat string) bool { return slices.Contains(list, stat) })
}

// ClearCondition is the condition that threshold.cleared contains.
func (r *Rule) ClearCondition() Condition {
	if r.Clear != nil {
		return *r.Clear
	}
	return r.Raise
}

// Clears reports whether a number clears the rule.
func (r *Rule) Clears(v float64) bool {
	if r.Clear != nil {
		return r.Clear.Holds(v)
	}
	return !r.Raise.Holds(v)
}

// Globs compiles patterns in which * matches any text and ? one character. A backslash takes one of
// * ? [ ] \ literally; before another character it stands for itself. No pattern at all matches
// everything.
func Globs(patterns []string) *regexp.Regexp {
	if len(patterns) == 0 {
		return regexp.MustCompile("")
	}
	var alternatives []string
	for _, p := range patterns {
		alternatives = append(alternatives, globExpression(p))
	}
	return regexp.MustCompile(`(?s)^(?:` + strings.Join(alternatives, "|") + `)$`)
}

// globExpression returns the regular expression of a glob.
func globExpression(glob string) string {
	var b strings.Builder
	escaped := false
	for i, c := range glob {
		switch {
		case escaped:
			escaped = false
			b.WriteString(regexp.QuoteMeta(string(c)))
		case c == '\\' && i+1 < len(glob) && strings.IndexByte(`*?[]\`, glob[i+1]) >= 0:
			escaped = true
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return b.String()
}

// AppliesTo reports whether the rule applies to an entity, and whether that is known: the snapshot shows
// all columns that decide it. shown returns the text of a statistic, and whether the snapshot shows it.
func (r *Rule) AppliesTo(shown func(stat string) (text string, ok bool)) (applies, known bool) {
	applies = true
	for stat, texts := range r.When {
		text, ok := shown(stat)
		if !ok {
			return false, false
		}
		applies = applies && slices.Contains(texts, text)
	}
	return applies, true
}
