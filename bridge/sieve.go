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

// sievePace is the pause before each try of a [sieve]: every one of them makes
// the tenant set up a subscription.
const sievePace = 100 * time.Millisecond

// mendStatistic says what to do about a statistic that a server does not know.
const mendStatistic = "take it out of the file that BPCC_SUBSCRIPTION_FILE names, or correct its name, which is case-sensitive " +
	"(the built-in subscription is deploy/subscription.json, to be edited)"

// refusal is a subscription that a server refuses and why, as far as that was
// found out.
type refusal struct {
	why, mend string
	err       error // the server's answer; nil if it took the rest
}

func (r *refusal) Error() string {
	if r.err == nil {
		return r.why
	}
	return fmt.Sprintf("%v; %s", r.err, r.why)
}

func (r *refusal) Unwrap() error { return r.err }

// sieve finds the statistics that a server refuses, by asking for halves. With k
// refused of n it takes at most about 2·k·log2(n) tries, and never more than 2·n.
type sieve struct {
	demands
	wire    bpcc.Subscription
	try     func(context.Context, bpcc.Subscription) error
	answers map[string]bool // to earlier tries; a sieve that was disturbed goes on from there
	base    []statistic     // known to be accepted, asked for with the rest of their grids
	refused []statistic
}

// run looks through everything. The error is the cause's own kind of [refusal]
// if the subscription cannot be mended by leaving statistics out.
func (v *sieve) run(ctx context.Context, cause error) error {
	if err := v.search(ctx, v.vital); err != nil {
		return err
	}
	if len(v.refused) > 0 {
		return v.vitalRefused(ctx, cause)
	}
	v.base = v.vital
	if err := v.search(ctx, v.others); err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Concat(v.vital, v.others), func(s statistic) bool {
		return slices.Contains(v.refused, s) || !v.published[s]
	})
	if len(left) == 0 {
		return otherReason(cause, "it refuses every single statistic of the subscription, so the names are hardly the reason")
	}
	return nil
}

// search adds the statistics of a list that are refused one by one.
func (v *sieve) search(ctx context.Context, list []statistic) error {
	if len(list) == 0 {
		return nil
	}
	ok, err := v.accepts(ctx, list)
	switch {
	case err != nil || ok:
		return err
	case len(list) == 1:
		v.refused = append(v.refused, list[0])
		return nil
	}
	half := len(list) / 2
	if err := v.search(ctx, list[:half]); err != nil {
		return err
	}
	return v.search(ctx, list[half:])
}

// accepts tells whether the server takes a subscription to a list of statistics.
func (v *sieve) accepts(ctx context.Context, list []statistic) (bool, error) {
	question := fmt.Sprintf("%q with %q", list, v.base)
	if ok, known := v.answers[question]; known {
		return ok, nil
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(sievePace):
	}
	in := func(list []statistic) func(statistic) bool {
		return func(s statistic) bool { return slices.Contains(list, s) }
	}
	err := v.try(ctx, only(v.wire, in(list), in(v.base)))
	if err != nil && !errors.Is(err, bpcc.ErrRejected) {
		return false, err
	}
	v.answers[question] = err == nil
	return err == nil, nil
}

// vitalRefused tells a server that does not know a vital statistic from one
// that refuses anything.
func (v *sieve) vitalRefused(ctx context.Context, cause error) error {
	if len(v.refused) == len(v.vital) && len(v.others) > 0 {
		ok, err := v.accepts(ctx, v.others)
		if err != nil {
			return err
		}
		if !ok {
			return otherReason(cause, "it refuses even the columns by which rows are named")
		}
	}
	return &refusal{
		why: "it does not know " + v.describe(v.refused) + ", without which the rows cannot be named, filtered or cut as asked for",
		mend: "name agents by the other key (BRIDGE_AGENT_KEY=login_id or user_id) if that is the column, " +
			"else take the filter, the limit or the grid out of the file that BPCC_SUBSCRIPTION_FILE names",
		err: cause,
	}
}

func otherReason(cause error, why string) error {
	return &refusal{
		why:  why,
		mend: "read the server's answer, and check team_ids, service_ids, filters and limits of the subscription",
		err:  cause,
	}
}

// create makes the subscription, without the statistics that the server is
// found not to know. What was found holds until the restart.
func (s *source) create(ctx context.Context) error {
	err := s.replace(ctx, s.plan.wire)
	switch {
	case !errors.Is(err, bpcc.ErrRejected):
	case s.verdict != nil:
		err = &refusal{s.verdict.why, s.verdict.mend, err}
	default:
		err = s.sift(ctx, err)
		// Looked for once, the reason is not looked for again.
		if errors.As(err, &s.verdict) {
			s.answers = nil
		}
	}
	if err == nil {
		s.subscribed, s.trying, s.answers, s.verdict = true, false, nil, nil
	}
	return err
}

// sift leaves out of the subscription what the server refuses, says so, and
// subscribes to the rest. Disturbed, it goes on at the next call.
func (s *source) sift(ctx context.Context, cause error) error {
	if s.answers == nil {
		s.answers = map[string]bool{}
		s.log.Info("subscription refused, searching for the statistic", "err", cause)
	}
	s.trying = true
	v := &sieve{demands: demandsOf(s.plan), wire: s.plan.wire, try: s.replace, answers: s.answers}
	if err := v.run(ctx, cause); err != nil {
		return err
	}
	s.answers = nil
	taken := func(st statistic) bool { return !slices.Contains(v.refused, st) }
	s.plan.wire = only(v.wire, taken, taken)
	for _, id := range slices.Sorted(maps.Keys(v.wire)) {
		if _, left := s.plan.wire[id]; !left {
			s.absent = append(s.absent, id)
		}
	}
	for _, st := range v.refused {
		s.refused = append(s.refused, v.describe([]statistic{st}))
	}
	if len(v.refused) > 0 {
		s.log.Warn("statistics refused by the server", "refused", v.describe(v.refused), "hint", mendStatistic+"; they are not subscribed to until the restart")
	}
	err := s.replace(ctx, s.plan.wire)
	if errors.Is(err, bpcc.ErrRejected) {
		return otherReason(err, "it takes each statistic, but not all of them at once")
	}
	return err
}

// replace subscribes in the place of what was there. Whether a second
// subscription replaces the first is not documented, so the old one goes first;
// servers fail that call for no reason.
func (s *source) replace(ctx context.Context, wire bpcc.Subscription) error {
	if err := s.client.Unsubscribe(ctx); errors.Is(err, bpcc.ErrAuth) || errors.Is(err, bpcc.ErrTransport) {
		return err
	}
	return s.client.Subscribe(ctx, wire)
}

// data takes a snapshot. For app ids of which nothing was left to ask for, it
// holds the answer to nothing.
func (s *source) data(ctx context.Context) (bpcc.Answer, error) {
	a, err := s.client.Data(ctx)
	if err != nil || len(s.absent) == 0 {
		return a, err
	}
	// The client has seen that the body is an object.
	_, rest, _ := bytes.Cut(a.Body, []byte("{"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	body := []byte{'{'}
	for i, id := range s.absent {
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
