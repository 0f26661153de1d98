package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/record"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/schemas"
)

func (p *program) backtest(ctx context.Context, args []string) error {
	f := p.flags("backtest")
	var files []string
	f.Func("rules", "file with threshold rules; repeat it to compare rule sets: the events of the first are printed", func(name string) error {
		files = append(files, name)
		return nil
	})
	events := f.String("events", "", "all prints checkpoints too, thresholds only threshold events (default: all but checkpoints)")
	human := f.Bool("human", false, "print lines for people instead of NDJSON")
	if err := parseFlags(f, args, math.MaxInt); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "all", "thresholds"}, *events) {
		return fmt.Errorf("%w: --events must be all or thresholds, not %q", errUsage, *events)
	}
	if f.NArg() == 0 {
		return fmt.Errorf("%w: name the recordings to run", errUsage)
	}
	out := bufio.NewWriter(p.data)
	emit := newPrinter(out, *events)
	if *human {
		emit = humanPrinter(p.out.over(out), *events)
	}
	b := record.Backtest{Emit: emit}
	for _, name := range files {
		set, err := readRules(name)
		if err != nil {
			return err
		}
		b.Sets = append(b.Sets, set)
	}
	for _, name := range f.Args() {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		defer file.Close()
		r, err := record.Open(name, file)
		if err != nil {
			return err
		}
		b.Recordings = append(b.Recordings, r)
	}
	sum, err := b.Run(ctx)
	err = errors.Join(err, out.Flush())
	switch {
	case errors.Is(err, rule.ErrInvalid), errors.Is(err, record.ErrNotContiguous):
		return fmt.Errorf("%w: %w", errUsage, err)
	case err != nil:
		return unfinished(ctx, err)
	}
	return writeSummary(p.err, sum)
}

func readRules(name string) (record.RuleSet, error) {
	body, err := config.ReadFile(name)
	if err != nil {
		return record.RuleSet{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	rules, err := rule.Parse(body)
	if err != nil {
		return record.RuleSet{}, fmt.Errorf("%w: %s: %w", errUsage, name, err)
	}
	return record.RuleSet{Name: name, Rules: rules}, nil
}

// newPrinter prints the events that the flag --events selects.
func newPrinter(w io.Writer, events string) func(subject string, body []byte) error {
	return func(subject string, body []byte) error {
		if events == "thresholds" && !isThreshold(subject) || events != "all" && strings.HasSuffix(subject, ".feed.checkpoint") {
			return nil
		}
		_, err := fmt.Fprintf(w, "%s\n", body)
		return err
	}
}

// humanPrinter prints them for people. The renderer needs all checkpoints: there it
// prints its counts.
func humanPrinter(c *console, events string) func(subject string, body []byte) error {
	lines := &renderer{c: c}
	return func(subject string, body []byte) error {
		if events == "thresholds" && !isThreshold(subject) {
			return nil
		}
		return lines.event(body)
	}
}

// isThreshold reports whether a subject is bpcc.v1.<tenant>.threshold.…
func isThreshold(subject string) bool { return strings.Split(subject, ".")[3] == "threshold" }

// writeSummary writes the summary of a backtest.
func writeSummary(c *console, s *record.Summary) error {
	t, flush := c.aligned()
	for _, text := range s.Warnings {
		t.printf("warning: %s\n", text)
	}
	t.printf("%s, %s to %s (%v)\n", s.Tenant, formatTime(s.From), formatTime(s.To), roundDuration(s.To.Sub(s.From)))
	t.printf("polls %d, good %d, gaps %d\n", s.Polls, s.GoodPolls, len(s.Gaps))
	for _, g := range s.Gaps {
		switch {
		case g.To.IsZero() && g.From.IsZero():
			t.printf("  no good poll\n")
		case g.To.IsZero():
			t.printf("  %s to the end\n", formatTime(g.From))
		default:
			t.printf("  %s to %s (%v)\n", formatTime(g.From), formatTime(g.To), roundDuration(g.To.Sub(g.From)))
		}
	}
	t.printf("\nEVENTS\n")
	for _, name := range sortedKeys(s.Events) {
		t.printf("  %s\t%d\n", schemas.Type(name), s.Events[name])
	}
	for _, set := range s.Sets {
		if set.Name != "" {
			t.printf("\nRULES of %s\traised\tcleared\topen\tentities\ttotal\tlongest\n", set.Name)
		}
		for _, r := range set.Rules {
			t.printf("  %s\t%d\t%d\t%d\t%d\t%v\t%v\n", r.Name, r.Raised, r.Cleared, r.StillRaised, r.Entities, roundDuration(r.Total), roundDuration(r.Longest))
		}
	}
	if len(s.Sets) > 1 {
		writeComparison(t, s.Sets)
	}
	return flush()
}

// writeComparison writes the rule sets side by side, rule by rule.
func writeComparison(t *console, sets []record.SetSummary) {
	t.printf("\nCOMPARED")
	rules := map[string]bool{}
	for _, set := range sets {
		t.printf("\t%s\t", set.Name)
		for _, r := range set.Rules {
			rules[r.Name] = true
		}
	}
	t.printf("\n  rule")
	for range sets {
		t.printf("\traised\ttotal")
	}
	t.printf("\n")
	for _, name := range sortedKeys(rules) {
		t.printf("  %s", name)
		for _, set := range sets {
			i := slices.IndexFunc(set.Rules, func(r record.RuleSummary) bool { return r.Name == name })
			if i < 0 {
				t.printf("\t–\t–")
				continue
			}
			t.printf("\t%d\t%v", set.Rules[i].Raised, roundDuration(set.Rules[i].Total))
		}
		t.printf("\n")
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// roundDuration rounds a duration for people.
func roundDuration(d time.Duration) time.Duration {
	if d.Abs() < time.Minute {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}
