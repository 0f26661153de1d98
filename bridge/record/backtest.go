package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/bridge/source"
)

// ErrNotContiguous is returned by [Backtest.Run] for recordings that one bridge cannot have made:
// of several tenants, or of overlapping times.
var ErrNotContiguous = errors.New("recordings are not contiguous")

// Backtest runs recordings through the engine of the bridge. It finds what the bridge would have
// published, and what its thresholds would have raised. The clock is that of the recordings, every
// batch counts as acknowledged at once, and nothing is published.
type Backtest struct {
	// Recordings of one tenant run one after another in order of time, each as one run of a bridge
	// that recovers what the previous one published.
	Recordings []*Recording
	// Sets are the rule sets to evaluate, each separately; none means one without rules.
	Sets []RuleSet
	// Emit is called with each event, checkpoints included, with its subject and its body as in the
	// stream. With several rule sets it gets the events of the first one. nil means no calls.
	Emit func(subject string, body []byte) error
	// Timing holds the waits of the bridge that are not configured; nil means those of
	// [config.DefaultTiming].
	Timing *config.Timing
}

// RuleSet is a set of threshold rules to evaluate.
type RuleSet struct {
	// Name identifies it in the summary.
	Name  string
	Rules []rule.Rule
}

// Run reads the recordings to their ends. With an error it returns the summary up to the error.
// Errors of the input are [ErrInvalid], [rule.ErrInvalid] and [ErrNotContiguous].
func (b *Backtest) Run(ctx context.Context) (*Summary, error) {
	sum := &Summary{Events: map[string]int{}}
	var runs []*ruleSetRun
	sets := b.Sets
	if len(sets) == 0 {
		sets = []RuleSet{{}}
	}
	for i, set := range sets {
		t := &ruleSetRun{set: set, timing: b.Timing, stats: newRuleStats(set.Rules)}
		if i == 0 {
			t.emit, t.events = b.Emit, sum.Events
		}
		runs = append(runs, t)
	}
	recordings := slices.SortedStableFunc(slices.Values(b.Recordings), func(a, b *Recording) int {
		return a.header.RecordedAt.Compare(b.header.RecordedAt)
	})
	for _, r := range recordings {
		if err := sum.checkContiguous(r); err != nil {
			return sum, err
		}
		if err := replayRecording(ctx, r, runs, sum); err != nil {
			return sum, err
		}
	}
	sum.finish(runs)
	return sum, nil
}

// checkContiguous checks that a recording starts after the end of the last one.
func (s *Summary) checkContiguous(r *Recording) error {
	switch {
	case s.Tenant == "":
		s.Tenant, s.From = r.header.Tenant, r.header.RecordedAt
	case s.Tenant != r.header.Tenant:
		return fmt.Errorf("%w: %s is of tenant %q, not %q", ErrNotContiguous, r.name, r.header.Tenant, s.Tenant)
	case r.header.RecordedAt.Before(s.To):
		return fmt.Errorf("%w: %s begins at %s, before the previous one ended at %s",
			ErrNotContiguous, r.name, event.Floor(r.header.RecordedAt), event.Floor(s.To))
	}
	s.To = r.header.RecordedAt
	return nil
}

// replayRecording runs one recording through all runs.
func replayRecording(ctx context.Context, r *Recording, runs []*ruleSetRun, sum *Summary) error {
	for _, t := range runs {
		if err := t.startBridge(r); err != nil {
			return err
		}
	}
	for {
		o, err := r.nextPoll()
		if errors.Is(err, io.EOF) {
			if !r.ended {
				sum.Warnings = append(sum.Warnings, fmt.Sprintf("%s is incomplete after line %d: its recorder was killed or is still running; the lines before are used", r.name, r.line))
				return nil
			}
			sum.To = o.At
			for _, t := range runs {
				if err := t.commitBatch(t.engine.Stop(o.At, "shutdown")); err != nil {
					return err
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		gap := gapEndedBy(o, runs[0].engine)
		for i, t := range runs {
			result, err := t.step(o)
			if err != nil {
				return fmt.Errorf("%s: line %d: %w", r.name, r.line, err)
			}
			if i == 0 {
				sum.addPoll(o, result.Err, gap)
			}
		}
	}
}

// ruleSetRun is one rule set's run over all recordings.
type ruleSetRun struct {
	set     RuleSet
	timing  *config.Timing
	config  *config.Config
	engine  *engine.Engine
	encoder *event.Encoder
	emit    func(subject string, body []byte) error // nil = events are not needed

	lastCommit time.Time // when the last batch was committed
	events     map[string]int
	stats      ruleStats
	unreadable []engine.UnreadableText // the first text of each rule
}

// startBridge starts a bridge that recovers what this run has committed.
func (t *ruleSetRun) startBridge(r *Recording) error {
	t.config = r.header.config()
	t.config.Timing = t.timing
	t.config.Events.Rules = t.set.Rules
	if faults := rule.Unsubscribed(t.set.Rules, config.SubscribedStats(t.config.BPCC.Subscription), config.GlobMatcher(t.config.Events.RedactStats)); len(faults) > 0 {
		return fmt.Errorf("%w: %s: %s: %w", rule.ErrInvalid, t.set.Name, r.name, errors.Join(faults...))
	}
	options := source.EngineOptions(t.config, source.NewPlan(t.config.BPCC.Subscription, t.config.Events, recordedSuffix), "backtest")
	if t.engine == nil {
		t.engine = engine.New(options)
	} else {
		t.engine = t.engine.Resume(options)
	}
	t.encoder = event.NewEncoder(t.config.BPCC.CloudEventSource())
	return t.commitBatch(t.engine.Start(r.header.RecordedAt))
}

// step gives the engine one observation, as the bridge's poll loop does.
func (t *ruleSetRun) step(o engine.Observation) (*engine.Batch, error) {
	var result *engine.Batch
	if errors.Is(o.Err, engine.ErrPending) {
		result = t.engine.OnTick(o)
	} else {
		result = t.engine.OnPoll(o)
	}
	for _, u := range result.Unreadable {
		if !slices.ContainsFunc(t.unreadable, func(known engine.UnreadableText) bool { return known.Rule == u.Rule }) {
			t.unreadable = append(t.unreadable, u)
		}
	}
	if !t.engine.NeedsCommit(result) && o.At.Sub(t.lastCommit) < t.config.Stream.CheckpointInterval {
		t.engine.Skip(result)
		return result, nil
	}
	return result, t.commitBatch(result)
}

// commitBatch acknowledges a batch as the stream would.
func (t *ruleSetRun) commitBatch(b *engine.Batch) error {
	t.lastCommit = b.At()
	for chunk := range t.engine.Chunks(b, event.BatchLimit) {
		for i := range chunk.Events {
			ev := &chunk.Events[i]
			t.stats.countEvent(ev)
			if t.events != nil {
				t.events[ev.Name]++
			}
			if t.emit == nil {
				continue
			}
			body, err := t.encoder.Append(nil, ev)
			if err != nil {
				return err
			}
			if err := t.emit(ev.Subject(), body); err != nil {
				return err
			}
		}
		t.engine.Ack(chunk)
	}
	return nil
}
