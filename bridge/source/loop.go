package source

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
)

// Loop polls one tenant: snapshots, availability and directories, each at its own interval. Create it
// with [NewLoop].
type Loop struct {
	config       *config.Config
	options      Options
	log          *slog.Logger
	now          func() time.Time
	session      *Session
	directory    *directoryPoller    // nil = neither events nor service names are needed
	availability *availabilityPoller // nil = no checks

	lastProblems []string // of the last good snapshot
}

// Options are what a [Loop] needs beside the configuration.
type Options struct {
	// AppIDSuffix is the suffix of the app ids on the wire, by which an instance tells its subscription
	// from that of another program; see [NewSuffix].
	AppIDSuffix string
	// Spread makes the loop wait for a random part of the interval before the first poll, so that many
	// tenants are not polled at the same time.
	Spread bool
	// CountPoll is called with each poll, and each tick without a response, with its batch; CountCheck
	// with the outcome of each availability check: "ok", or why it failed. nil means no calls.
	CountPoll  func(engine.Observation, *engine.Batch)
	CountCheck func(outcome string)
}

// NewSuffix returns a random suffix for the app ids of an instance.
func NewSuffix() (string, error) {
	suffix := make([]byte, 4)
	if _, err := rand.Read(suffix); err != nil {
		return "", fmt.Errorf("create a suffix: %w", err)
	}
	return hex.EncodeToString(suffix), nil
}

// NewLoop returns a loop for a configuration that [config.Parse] has checked; nothing is sent before
// Run.
func NewLoop(c *config.Config, o Options, log *slog.Logger) (*Loop, error) {
	session, err := NewSession(c, o.AppIDSuffix, log)
	if err != nil {
		return nil, err
	}
	l := &Loop{config: c, options: o, log: log, now: time.Now, session: session}
	if c.BPCC.DirectoryInterval > 0 || !c.BPCC.AvailabilityDisabled() {
		l.directory = &directoryPoller{
			client: session.Client, interval: cmp.Or(c.BPCC.DirectoryInterval, 5*time.Minute), allDirectories: c.BPCC.DirectoryInterval > 0, omitAgents: c.Events.RedactsDirectory(),
			pseudonymizer: event.NewPseudonyms(string(c.Events.PseudonymKey)), log: log, now: time.Now,
			relistAfter: c.Times().RelistAfter, latest: map[string]engine.DirectorySnapshot{}, lastLogged: map[string]string{},
		}
	}
	if !c.BPCC.AvailabilityDisabled() {
		l.availability = &availabilityPoller{
			client: session.Client, config: c.BPCC, directory: l.directory, log: log, now: time.Now, countMetric: o.CountCheck,
			latest: map[string]checkResults{}, failing: map[string]string{},
		}
	}
	return l, nil
}

// EngineOptions returns the options of an engine for what the loop polls.
func (l *Loop) EngineOptions(instance string) engine.Options {
	o := EngineOptions(l.config, l.session.Plan, instance)
	o.Explain = l.session.ExplainAnswer
	return o
}

// SeedServices begins a term: the published availability of these services is known.
func (l *Loop) SeedServices(services []string) {
	if l.availability != nil {
		l.availability.seedServices(services)
	}
}

// Unsubscribe deletes the subscription and so releases it to the tenant's pool.
func (l *Loop) Unsubscribe(ctx context.Context) error { return l.session.Unsubscribe(ctx) }

// Abandon drops session and subscription without a request: another instance may use them now.
func (l *Loop) Abandon() { l.session.abandonSession() }

// Run polls, gives each observation to the engine, and calls handle with it and its batch, until ctx
// ends or handle fails.
func (l *Loop) Run(ctx context.Context, e *engine.Engine, handle func(engine.Observation, *engine.Batch) error) error {
	if !l.startJitter(ctx) {
		return nil
	}
	var pollers sync.WaitGroup
	pollCtx, stopPolling := context.WithCancel(ctx)
	if l.directory != nil {
		pollers.Go(func() { l.directory.runDirectories(pollCtx) })
	}
	if l.availability != nil {
		pollers.Go(func() { l.availability.runAvailability(pollCtx) })
	}
	err := l.pollSnapshots(ctx, e, handle)
	stopPolling()
	pollers.Wait()
	return err
}

// startJitter waits for a random time before the first poll of one of many tenants. It returns false
// if ctx ended meanwhile.
func (l *Loop) startJitter(ctx context.Context) bool {
	if !l.options.Spread {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(mrand.N(l.config.BPCC.PollInterval)):
		return true
	}
}

// pollSnapshots polls at every interval, one request at a time, and calls handle with each poll and its
// batch. While a request takes longer than an interval, the ticks publish what needs no response.
func (l *Loop) pollSnapshots(ctx context.Context, e *engine.Engine, handle func(engine.Observation, *engine.Batch) error) error {
	tick := time.NewTicker(l.config.BPCC.PollInterval)
	defer tick.Stop()
	between, stop := l.betweenPolls()
	defer stop()
	polled := l.startPoll(ctx)
	for {
		var o engine.Observation
		var result *engine.Batch
		select {
		case <-ctx.Done():
			if polled != nil {
				<-polled
			}
			return nil
		case o = <-polled:
			polled = nil
			o = l.withSidePolls(o)
			result = e.OnPoll(o)
			if o.Err == nil {
				l.session.reportResult(result.Err)
			}
			if l.directory != nil && result.SkippedRows != nil {
				result.SkippedRows["directory"] = l.directory.skippedEntries()
			}
			l.logProblems(result)
			for _, u := range result.Unreadable {
				l.log.Warn("rule cannot read its statistic", "rule", u.Rule, "stat", u.Stat, "entity", u.Entity, "text", u.Text, "hint", UnreadableHint)
			}
			l.countPoll(o, result)
		case <-tick.C:
			switch {
			case polled == nil:
				polled = l.startPoll(ctx)
				continue
			case len(polled) > 0: // it is no longer pending
				continue
			}
			o = l.withSidePolls(engine.Observation{Err: engine.ErrPending})
			result = e.OnTick(o)
			l.countPoll(o, result)
		case <-between:
			o = l.withSidePolls(engine.Observation{Err: engine.ErrPending})
			result = e.OnTick(o)
		}
		if err := handle(o, result); err != nil {
			if polled != nil {
				<-polled
			}
			return err
		}
		if spare := e.ReclaimBody(); spare != nil {
			l.session.Client.Recycle(spare)
		}
	}
}

// betweenPolls returns a channel for ticks between polls that are further apart than availability
// checks: these are published without waiting for the next poll.
func (l *Loop) betweenPolls() (tick <-chan time.Time, stop func()) {
	interval := max(l.config.BPCC.AvailabilityInterval, time.Second)
	if l.availability == nil || interval >= l.config.BPCC.PollInterval {
		return nil, func() {}
	}
	t := time.NewTicker(interval)
	return t.C, t.Stop
}

// countPoll counts a poll, or a tick without a response.
func (l *Loop) countPoll(o engine.Observation, result *engine.Batch) {
	if l.options.CountPoll != nil {
		l.options.CountPoll(o, result)
	}
}

// logProblems logs what is wrong with snapshots that are used nevertheless, when there is a new
// problem and when all have ended. A poll without a snapshot ends none.
func (l *Loop) logProblems(result *engine.Batch) {
	if result.Err != nil {
		return
	}
	problems := result.Problems
	known := func(p string) bool { return slices.Contains(l.lastProblems, p) }
	switch {
	case slices.ContainsFunc(problems, func(p string) bool { return !known(p) }):
		l.log.Warn("snapshot has problems", "problems", strings.Join(problems, "; "))
	case len(problems) == 0 && len(l.lastProblems) > 0:
		l.log.Info("snapshots are complete again")
	}
	l.lastProblems = problems
}

// startPoll polls the source once in the background; the channel receives the result.
func (l *Loop) startPoll(ctx context.Context) chan engine.Observation {
	polled := make(chan engine.Observation, 1)
	began := l.now()
	go func() {
		response, err := l.session.poll(ctx)
		o := observed(response, err)
		o.Began = began
		o.Refused = l.session.RefusedStats
		polled <- o
	}()
	return polled
}

// withSidePolls adds the results of the other pollers to an observation, and the present time. A response may
// have waited for the commit of an earlier observation, and must not appear to be older than that one.
func (l *Loop) withSidePolls(o engine.Observation) engine.Observation {
	o.At = l.now()
	if l.directory != nil {
		o.Directories = l.directory.drainSnapshots()
	}
	if l.availability != nil {
		o.Availability, o.AvailabilityUnknownAfter = l.availability.drainResults(), l.availability.stretchedUnknownAfter()
	}
	return o
}
