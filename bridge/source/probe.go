package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bpcc-nats/bpcc"
)

// probeInterval is the pause before each probe of a [bisector]: every probe makes the tenant create
// a subscription.
const probeInterval = 100 * time.Millisecond

// StatisticHint is the hint for a statistic that a server does not know.
const StatisticHint = "remove it from the file that BPCC_SUBSCRIPTION_FILE names, or correct its name, which is case-sensitive " +
	"(the built-in subscription is deploy/subscription.json, to be edited)"

// subscriptionError is a subscription that a server refuses, with the reason as far as it was
// found.
type subscriptionError struct {
	reason, hint string
	err          error // the server's response; nil if it accepted the rest
}

func (r *subscriptionError) Error() string {
	if r.err == nil {
		return r.reason
	}
	return fmt.Sprintf("%v; %s", r.err, r.reason)
}

func (r *subscriptionError) Unwrap() error { return r.err }

// bisector finds the statistics that a server refuses, by bisection. With k refused of n it needs
// at most about 2·k·log2(n) probes, and never more than 2·n.
type bisector struct {
	requirements
	wire         bpcc.Subscription
	subscribe    func(context.Context, bpcc.Subscription) error
	probeResults map[string]bool // of earlier probes; an interrupted search continues from them
	accepted     []statRef       // known to be accepted, subscribed with the rest of their grids
	refused      []statRef
}

// findRefused searches all statistics. The error is a [subscriptionError] if removing statistics
// does not help.
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
		return notStatistics(cause, "server rejects every statistic, so statistic names are not the cause")
	}
	return nil
}

// bisect adds the refused statistics of a list.
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

// probe reports whether the server accepts a subscription to a list of statistics.
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

// requiredRefused distinguishes a server that does not know a required statistic from one that
// refuses everything.
func (v *bisector) requiredRefused(ctx context.Context, cause error) error {
	if len(v.refused) == len(v.required) && len(v.optional) > 0 {
		ok, err := v.probe(ctx, v.optional)
		if err != nil {
			return err
		}
		if !ok {
			return notStatistics(cause, "server rejects even the columns that identify rows")
		}
	}
	return &subscriptionError{
		reason: "unknown to the server: " + v.describeUsages(v.refused) + ", which the grid needs to identify, filter or limit its rows",
		hint: "if the column identifies agents, use the other key (BRIDGE_AGENT_KEY=login_id or user_id), " +
			"else remove the filter, the limit or the grid from the file that BPCC_SUBSCRIPTION_FILE names",
		err: cause,
	}
}

func notStatistics(cause error, reason string) error {
	return &subscriptionError{
		reason: reason,
		hint:   "read the server's response, and check team_ids, service_ids, filters and limits of the subscription",
		err:    cause,
	}
}

// Subscribe creates the subscription, without the statistics that the server refuses. The refused
// ones are kept until the restart.
func (s *Session) Subscribe(ctx context.Context) error {
	err := s.resubscribe(ctx, s.Plan.Wire)
	switch {
	case !errors.Is(err, bpcc.ErrRejected):
	case s.cachedRefusal != nil:
		err = &subscriptionError{s.cachedRefusal.reason, s.cachedRefusal.hint, err}
	default:
		err = s.probeAndSubscribe(ctx, err)
		// The search is made once; its result is cached.
		if errors.As(err, &s.cachedRefusal) {
			s.probeResults = nil
		}
	}
	if err == nil {
		s.subscribed, s.probing, s.probeResults, s.cachedRefusal = true, false, nil, nil
	}
	return err
}

// probeAndSubscribe removes from the subscription what the server refuses, logs it, and subscribes
// to the rest. After an interruption it continues at the next call.
func (s *Session) probeAndSubscribe(ctx context.Context, cause error) error {
	if s.probeResults == nil {
		s.probeResults = map[string]bool{}
		s.log.Info("subscription refused, searching for the statistic", "err", cause)
	}
	s.probing = true
	v := &bisector{requirements: requirementsOf(s.Plan), wire: s.Plan.Wire, subscribe: s.resubscribe, probeResults: s.probeResults}
	if err := v.findRefused(ctx, cause); err != nil {
		return err
	}
	s.probeResults = nil
	accepted := func(st statRef) bool { return !slices.Contains(v.refused, st) }
	s.Plan.Wire = subset(v.wire, accepted, accepted)
	for _, id := range slices.Sorted(maps.Keys(v.wire)) {
		if _, kept := s.Plan.Wire[id]; !kept {
			s.droppedApps = append(s.droppedApps, id)
		}
	}
	for _, st := range v.refused {
		s.Refused = append(s.Refused, v.describeUsages([]statRef{st}))
	}
	if len(v.refused) > 0 {
		s.RefusedStats = s.RefusedStats.with(v.refused)
		attrs := []any{"refused", v.describeUsages(v.refused), "hint", StatisticHint + "; they are not subscribed to until the restart"}
		if rules := s.RefusedStats.rules(s.rules); len(rules) > 0 {
			attrs = append(attrs, "rules", strings.Join(rules, ", ")) // without the statistic these raise nothing
		}
		s.log.Warn("statistics refused by the server", attrs...)
	}
	err := s.resubscribe(ctx, s.Plan.Wire)
	if errors.Is(err, bpcc.ErrRejected) {
		return notStatistics(err, "server accepts each statistic, but not all of them at once")
	}
	return err
}

// resubscribe replaces the subscription. It is not documented whether a second subscription
// replaces the first, so the old one is deleted before; that call may fail without consequences.
func (s *Session) resubscribe(ctx context.Context, wire bpcc.Subscription) error {
	if err := s.Client.Unsubscribe(ctx); errors.Is(err, bpcc.ErrAuth) || errors.Is(err, bpcc.ErrTransport) {
		return err
	}
	return s.Client.Subscribe(ctx, wire)
}

// FetchData requests a snapshot. For app ids without remaining statistics it adds an empty part.
func (s *Session) FetchData(ctx context.Context) (bpcc.Response, error) {
	a, err := s.Client.Data(ctx)
	if err != nil || len(s.droppedApps) == 0 {
		return a, err
	}
	// The client has checked that the body is an object.
	_, rest, _ := bytes.Cut(a.Body, []byte("{"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	body := []byte{'{'}
	for i, id := range s.droppedApps {
		name, err := json.Marshal(id)
		if err != nil {
			return a, fmt.Errorf("complete the response: %w", err)
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
