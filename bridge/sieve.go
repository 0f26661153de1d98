package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"bpcc-nats/bpcc"
)

// probeInterval is the pause before each try of a [sieve]: every one of them makes
// the tenant set up a subscription.
const probeInterval = 100 * time.Millisecond

// statisticHint says what to do about a statistic that a server does not know.
const statisticHint = "take it out of the file that BPCC_SUBSCRIPTION_FILE names, or correct its name, which is case-sensitive " +
	"(the built-in subscription is deploy/subscription.json, to be edited)"

// subscriptionError is a subscription that a server refuses and why, as far as that was
// found out.
type subscriptionError struct {
	reason, hint string
	err          error // the server's answer; nil if it took the rest
}

func (r *subscriptionError) Error() string {
	if r.err == nil {
		return r.reason
	}
	return fmt.Sprintf("%v; %s", r.err, r.reason)
}

func (r *subscriptionError) Unwrap() error { return r.err }

// bisector finds the statistics that a server refuses, by asking for halves. With k
// refused of n it takes at most about 2·k·log2(n) tries, and never more than 2·n.
type bisector struct {
	requirements
	wire         bpcc.Subscription
	subscribe    func(context.Context, bpcc.Subscription) error
	probeResults map[string]bool // to earlier tries; a sieve that was disturbed goes on from there
	accepted     []statRef       // known to be accepted, asked for with the rest of their grids
	refused      []statRef
}

// findRefused looks through everything. The error is the cause's own kind of [refusal]
// if the subscription cannot be mended by leaving statistics out.
func (v *bisector) findRefused(ctx context.Context, cause error) error {
	if err := v.bisect(ctx, v.required); err != nil {
		return err
	}
	if len(v.refused) > 0 {
		return v.requiredRefused(ctx, cause)
	}
	v.accepted = v.required
	if err := v.bisect(ctx, v.optional); err != nil {
		return err
	}
	remaining := slices.DeleteFunc(slices.Concat(v.required, v.optional), func(s statRef) bool {
		return slices.Contains(v.refused, s) || !v.published[s]
	})
	if len(remaining) == 0 {
		return notStatistics(cause, "it refuses every single statistic of the subscription, so the names are hardly the reason")
	}
	return nil
}

// bisect adds the statistics of a list that are refused one by one.
func (v *bisector) bisect(ctx context.Context, list []statRef) error {
	if len(list) == 0 {
		return nil
	}
	ok, err := v.probe(ctx, list)
	switch {
	case err != nil || ok:
		return err
	case len(list) == 1:
		v.refused = append(v.refused, list[0])
		return nil
	}
	half := len(list) / 2
	if err := v.bisect(ctx, list[:half]); err != nil {
		return err
	}
	return v.bisect(ctx, list[half:])
}

// probe reports whether the server takes a subscription to a list of statistics.
func (v *bisector) probe(ctx context.Context, list []statRef) (bool, error) {
	probeKey := fmt.Sprintf("%q with %q", list, v.accepted)
	if ok, known := v.probeResults[probeKey]; known {
		return ok, nil
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(probeInterval):
	}
	in := func(list []statRef) func(statRef) bool {
		return func(s statRef) bool { return slices.Contains(list, s) }
	}
	err := v.subscribe(ctx, subset(v.wire, in(list), in(v.accepted)))
	if err != nil && !errors.Is(err, bpcc.ErrRejected) {
		return false, err
	}
	v.probeResults[probeKey] = err == nil
	return err == nil, nil
}

// requiredRefused tells a server that does not know a vital statistic from one
// that refuses anything.
func (v *bisector) requiredRefused(ctx context.Context, cause error) error {
	if len(v.refused) == len(v.required) && len(v.optional) > 0 {
		ok, err := v.probe(ctx, v.optional)
		if err != nil {
			return err
		}
		if !ok {
			return notStatistics(cause, "it refuses even the columns by which rows are named")
		}
	}
	return &subscriptionError{
		reason: "it does not know " + v.describeUsages(v.refused) + ", without which the rows cannot be named, filtered or cut as asked for",
		hint: "name agents by the other key (BRIDGE_AGENT_KEY=login_id or user_id) if that is the column, " +
			"else take the filter, the limit or the grid out of the file that BPCC_SUBSCRIPTION_FILE names",
		err: cause,
	}
}

func notStatistics(cause error, reason string) error {
	return &subscriptionError{
		reason: reason,
		hint:   "read the server's answer, and check team_ids, service_ids, filters and limits of the subscription",
		err:    cause,
	}
}

// subscribe makes the subscription, without the statistics that the server is
// found not to know. What was found holds until the restart.
func (s *source) subscribe(ctx context.Context) error {
	err := s.resubscribe(ctx, s.plan.wire)
	switch {
	case !errors.Is(err, bpcc.ErrRejected):
	case s.cachedRefusal != nil:
		err = &subscriptionError{s.cachedRefusal.reason, s.cachedRefusal.hint, err}
	default:
		err = s.probeAndSubscribe(ctx, err)
		// Looked for once, the reason is not looked for again.
		if errors.As(err, &s.cachedRefusal) {
			s.probeResults = nil
		}
	}
	if err == nil {
		s.subscribed, s.probing, s.probeResults, s.cachedRefusal = true, false, nil, nil
	}
	return err
}

// probeAndSubscribe leaves out of the subscription what the server refuses, says so, and
// subscribes to the rest. Disturbed, it goes on at the next call.
func (s *source) probeAndSubscribe(ctx context.Context, cause error) error {
	if s.probeResults == nil {
		s.probeResults = map[string]bool{}
		s.log.Info("subscription refused, searching for the statistic", "err", cause)
	}
	s.probing = true
	v := &bisector{requirements: requirementsOf(s.plan), wire: s.plan.wire, subscribe: s.resubscribe, probeResults: s.probeResults}
	if err := v.findRefused(ctx, cause); err != nil {
		return err
	}
	s.probeResults = nil
	accepted := func(st statRef) bool { return !slices.Contains(v.refused, st) }
	s.plan.wire = subset(v.wire, accepted, accepted)
	for _, id := range slices.Sorted(maps.Keys(v.wire)) {
		if _, kept := s.plan.wire[id]; !kept {
			s.droppedApps = append(s.droppedApps, id)
		}
	}
	for _, st := range v.refused {
		s.refused = append(s.refused, v.describeUsages([]statRef{st}))
	}
	if len(v.refused) > 0 {
		s.log.Warn("statistics refused by the server", "refused", v.describeUsages(v.refused), "hint", statisticHint+"; they are not subscribed to until the restart")
	}
	err := s.resubscribe(ctx, s.plan.wire)
	if errors.Is(err, bpcc.ErrRejected) {
		return notStatistics(err, "it takes each statistic, but not all of them at once")
	}
	return err
}

// resubscribe subscribes in the place of what was there. Whether a second
// subscription replaces the first is not documented, so the old one goes first;
// servers fail that call for no reason.
func (s *source) resubscribe(ctx context.Context, wire bpcc.Subscription) error {
	if err := s.client.Unsubscribe(ctx); errors.Is(err, bpcc.ErrAuth) || errors.Is(err, bpcc.ErrTransport) {
		return err
	}
	return s.client.Subscribe(ctx, wire)
}

// fetchData takes a snapshot. For app ids of which nothing was left to ask for, it
// holds the answer to nothing.
func (s *source) fetchData(ctx context.Context) (bpcc.Response, error) {
	a, err := s.client.Data(ctx)
	if err != nil || len(s.droppedApps) == 0 {
		return a, err
	}
	// The client has seen that the body is an object.
	_, rest, _ := bytes.Cut(a.Body, []byte("{"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	body := []byte{'{'}
	for i, id := range s.droppedApps {
		name, err := json.Marshal(id)
		if err != nil {
			return a, fmt.Errorf("complete the answer: %w", err)
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(body, name...), ":{}"...)
	}
	if len(rest) > 0 && rest[0] != '}' {
		body = append(body, ',')
	}
	a.Body = append(body, rest...)
	return a, nil
}
