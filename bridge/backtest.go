package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrApart is returned by [Backtest.Run] for recordings that one bridge cannot
// have made: of several tenants, or of overlapping times.
var ErrApart = errors.New("the recordings do not go together")

// Backtest runs recordings through the engine of the bridge: what it would have
// published, and what its thresholds would have raised. The clock is that of the
// recordings, every batch counts as acknowledged at once, and nothing is sent.
type Backtest struct {
	// Recordings of one tenant run one after another in order of time, each as
	// one run of a bridge that takes up what the one before has published.
	Recordings []*Recording
	// Sets are the rule sets to try, each by itself; none means one without rules.
	Sets []RuleSet
	// Emit is handed each event, checkpoints included, with its subject and its
	// body as the stream would hold them. Of several rule sets it is the first
	// one's events. nil means that nobody wants them.
	Emit func(subject string, body []byte) error
}

// RuleSet is thresholds to try.
type RuleSet struct {
	// Name tells it from the others in the summary.
	Name  string
	Rules []Rule
}

// Run reads the recordings to their ends. Next to an error it returns what was
// found until then. Errors of the input are [ErrRecording], [ErrRules] and
// [ErrApart].
func (b *Backtest) Run(ctx context.Context) (*Summary, error) {
	sum := &Summary{Events: map[string]int{}}
	var trials []*trial
	sets := b.Sets
	if len(sets) == 0 {
		sets = []RuleSet{{}}
	}
	for i, set := range sets {
		t := &trial{set: set, memory: memory{keys: map[string]recalled{}}, tally: newTally(set.Rules)}
		if i == 0 {
			t.emit, t.events = b.Emit, sum.Events
		}
		trials = append(trials, t)
	}
	recordings := slices.SortedStableFunc(slices.Values(b.Recordings), func(a, b *Recording) int {
		return a.header.RecordedAt.Compare(b.header.RecordedAt)
	})
	for _, r := range recordings {
		if err := sum.joins(r); err != nil {
			return sum, err
		}
		if err := replayOne(ctx, r, trials, sum); err != nil {
			return sum, err
		}
	}
	sum.close(trials)
	return sum, nil
}

// joins checks that a recording goes on where the last one ended.
func (s *Summary) joins(r *Recording) error {
	switch {
	case s.Tenant == "":
		s.Tenant, s.From = r.header.Tenant, r.header.RecordedAt
	case s.Tenant != r.header.Tenant:
		return fmt.Errorf("%w: %s is of tenant %q, not %q", ErrApart, r.name, r.header.Tenant, s.Tenant)
	case r.header.RecordedAt.Before(s.To):
		return fmt.Errorf("%w: %s begins at %s, before the one before it has ended at %s",
			ErrApart, r.name, stampAfter(r.header.RecordedAt), stampAfter(s.To))
	}
	s.To = r.header.RecordedAt
	return nil
}

// replayOne runs one recording through all trials.
func replayOne(ctx context.Context, r *Recording, trials []*trial, sum *Summary) error {
	for _, t := range trials {
		if err := t.begin(r); err != nil {
			return err
		}
	}
	for {
		o, err := r.look()
		if errors.Is(err, io.EOF) {
			if !r.ended {
				sum.Warnings = append(sum.Warnings, fmt.Sprintf("%s breaks off after line %d: its recorder was killed or has not ended; all before is used", r.name, r.line))
				return nil
			}
			sum.To = o.at
			for _, t := range trials {
				if err := t.deliver(t.engine.stopped(o.at, "shutdown")); err != nil {
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
		gap := gapBefore(o, trials[0].engine)
		for i, t := range trials {
			done, err := t.look(o)
			if err != nil {
				return fmt.Errorf("%s: line %d: %w", r.name, r.line, err)
			}
			if i == 0 {
				sum.look(o, done.err, gap)
			}
		}
	}
}

// trial is one rule set's run over all recordings.
type trial struct {
	set    RuleSet
	config *Config
	engine *engine
	emit   func(subject string, body []byte) error // nil = nobody wants events

	// memory is what the stream would hold at a restart; sequence its last
	// message's.
	memory   memory
	sequence uint64

	committed time.Time // when the last batch was delivered
	events    map[string]int
	tally     tally
}

// begin starts a bridge that finds in the stream what the trial has delivered.
func (t *trial) begin(r *Recording) error {
	t.config = r.header.config()
	t.config.Rules = t.set.Rules
	if faults := unsubscribed(t.set.Rules, t.config.Subscription, matcher(t.config.RedactStats)); len(faults) > 0 {
		return fmt.Errorf("%w: %s: %s: %w", ErrRules, t.set.Name, r.name, errors.Join(faults...))
	}
	t.engine = newEngine(t.config, makePlan(t.config.Subscription, t.config, recordedSuffix), "backtest")
	if err := t.engine.restore(&t.memory); err != nil {
		return err
	}
	t.engine.epoch++
	return t.deliver(t.engine.started(r.header.RecordedAt))
}

// look gives the engine one observation, as the bridge's loop does.
func (t *trial) look(o observation) (batch, error) {
	var done batch
	if errors.Is(o.err, errSlow) {
		done = t.engine.meanwhile(o)
	} else {
		done = t.engine.observe(o)
	}
	if !t.engine.due(done) && o.at.Sub(t.committed) < t.config.CheckpointInterval {
		t.engine.pass(done)
		return done, nil
	}
	return done, t.deliver(done)
}

// deliver takes a batch as the stream would.
func (t *trial) deliver(b batch) error {
	prefix := t.config.subjectRoot()
	t.committed = b.at
	return t.engine.deliver(b, t.config.source(), func(p *part) error {
		return p.look(func(events []event, msgs []*nats.Msg) error {
			for i, ev := range events {
				t.remember(strings.TrimPrefix(msgs[i].Subject, prefix), msgs[i].Data)
				t.tally.add(ev)
				if t.events != nil {
					t.events[ev.name]++
				}
				if t.emit == nil {
					continue
				}
				if err := t.emit(msgs[i].Subject, msgs[i].Data); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// remember keeps what a recall would find.
func (t *trial) remember(subject string, body []byte) {
	t.sequence++
	t.memory.add(subject, recalled{seq: t.sequence, inStream: true, body: bytes.Clone(body)})
}
