package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/record"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/export"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
	"bpcc-nats/schemas"
)

// backtestFlags are the flags of bridge backtest.
type backtestFlags struct {
	rules  []string // files
	events string
	human  bool
}

func (p *program) backtestCommand() *cobra.Command {
	var o backtestFlags
	c := &cobra.Command{
		Use: "backtest RECORDING...", Short: "run recordings through the bridge's engine, offline",
		Example: `
bridge backtest --human monday.ndjson.gz
bridge backtest --rules now.json --rules stricter.json monday.ndjson.gz > /dev/null`,
		Args: cobra.ArbitraryArgs, ValidArgsFunction: files,
		RunE: func(c *cobra.Command, args []string) error { return p.backtest(c.Context(), o, args) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.rules, "rules", nil, "`file` with threshold rules; repeat it to compare rule sets: the events of the first are printed")
	f.StringVar(&o.events, "events", "", "`all` prints checkpoints too, thresholds only threshold events (default: all but checkpoints)")
	f.BoolVar(&o.human, "human", false, "print lines for people instead of NDJSON")
	completeFlag(c, "rules", files)
	completeFlag(c, "events", words("all", "thresholds"))
	return c
}

func (p *program) backtest(ctx context.Context, o backtestFlags, recordings []string) error {
	if !slices.Contains([]string{"", "all", "thresholds"}, o.events) {
		return fmt.Errorf("%w: --events must be all or thresholds, not %q", reader.ErrUsage, o.events)
	}
	if len(recordings) == 0 {
		return fmt.Errorf("%w: name the recordings to run", reader.ErrUsage)
	}
	out := bufio.NewWriter(p.data)
	emit := newPrinter(out, o.events)
	if o.human {
		emit = humanPrinter(p.out.Over(out), o.events)
	}
	b := record.Backtest{Emit: emit}
	for _, name := range o.rules {
		set, err := readRules(name)
		if err != nil {
			return err
		}
		b.Sets = append(b.Sets, set)
	}
	for _, name := range recordings {
		file, err := export.Open(ctx, name)
		if err != nil {
			return reader.Unfinished(ctx, err)
		}
		defer file.Close()
		r, err := record.Open(name, file)
		if err != nil {
			return reader.Unfinished(ctx, err)
		}
		b.Recordings = append(b.Recordings, r)
	}
	sum, err := b.Run(ctx)
	err = errors.Join(err, out.Flush())
	switch {
	case errors.Is(err, rule.ErrInvalid), errors.Is(err, record.ErrNotContiguous):
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	case err != nil:
		return reader.Unfinished(ctx, err)
	}
	return writeSummary(p.err, sum)
}

func readRules(name string) (record.RuleSet, error) {
	body, err := config.ReadFile(name)
	if err != nil {
		return record.RuleSet{}, fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	rules, err := rule.Parse(body)
	if err != nil {
		return record.RuleSet{}, fmt.Errorf("%w: %s: %w", reader.ErrUsage, name, err)
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

// humanPrinter prints them for people. It needs all checkpoints: there it
// prints its counts.
func humanPrinter(c *console.Console, events string) func(subject string, body []byte) error {
	lines := render.NewLines(c)
	return func(subject string, body []byte) error {
		if events == "thresholds" && !isThreshold(subject) {
			return nil
		}
		return lines.Event(body)
	}
}

// isThreshold reports whether a subject is bpcc.v1.<tenant>.threshold.…
func isThreshold(subject string) bool { return strings.Split(subject, ".")[3] == "threshold" }

// writeSummary writes the summary of a backtest.
func writeSummary(c *console.Console, s *record.Summary) error {
	t, flush := c.Aligned()
	for _, text := range s.Warnings {
		t.Printf("warning: %s\n", text)
	}
	t.Printf("%s, %s to %s (%v)\n", s.Tenant, console.FormatTime(s.From), console.FormatTime(s.To), console.RoundDuration(s.To.Sub(s.From)))
	t.Printf("polls %d, good %d, gaps %d\n", s.Polls, s.GoodPolls, len(s.Gaps))
	for _, g := range s.Gaps {
		switch {
		case g.To.IsZero() && g.From.IsZero():
			t.Printf("  no good poll\n")
		case g.To.IsZero():
			t.Printf("  %s to the end\n", console.FormatTime(g.From))
		default:
			t.Printf("  %s to %s (%v)\n", console.FormatTime(g.From), console.FormatTime(g.To), console.RoundDuration(g.To.Sub(g.From)))
		}
	}
	t.Printf("\nEVENTS\n")
	for _, name := range slices.Sorted(maps.Keys(s.Events)) {
		t.Printf("  %s\t%d\n", schemas.Type(name), s.Events[name])
	}
	for _, set := range s.Sets {
		if set.Name != "" {
			t.Printf("\nRULES of %s\traised\tcleared\topen\tentities\ttotal\tlongest\n", set.Name)
		}
		for _, r := range set.Rules {
			t.Printf("  %s\t%d\t%d\t%d\t%d\t%v\t%v\n", r.Name, r.Raised, r.Cleared, r.StillRaised, r.Entities, console.RoundDuration(r.Total), console.RoundDuration(r.Longest))
		}
	}
	if len(s.Sets) > 1 {
		writeComparison(t, s.Sets)
	}
	return flush()
}

// writeComparison writes the rule sets side by side, rule by rule.
func writeComparison(t *console.Console, sets []record.SetSummary) {
	t.Printf("\nCOMPARED")
	rules := map[string]bool{}
	for _, set := range sets {
		t.Printf("\t%s\t", set.Name)
		for _, r := range set.Rules {
			rules[r.Name] = true
		}
	}
	t.Printf("\n  rule")
	for range sets {
		t.Printf("\traised\ttotal")
	}
	t.Printf("\n")
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Printf("  %s", name)
		for _, set := range sets {
			i := slices.IndexFunc(set.Rules, func(r record.RuleSummary) bool { return r.Name == name })
			if i < 0 {
				t.Printf("\t–\t–")
				continue
			}
			t.Printf("\t%d\t%v", set.Rules[i].Raised, console.RoundDuration(set.Rules[i].Total))
		}
		t.Printf("\n")
	}
}
