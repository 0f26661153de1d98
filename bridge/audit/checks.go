package audit

import (
	"fmt"
	"slices"

	"bpcc-nats/bridge/audit/verbs"
)

// Check is a kind of checks, and what of it was made.
type Check struct {
	// Check is one word for programs: event, order, time, stored, header, sequence, revision, state_revision,
	// batch, checkpoint, chain, signature, term, gap, rule. More may follow. What does not occur is left out.
	Check string `json:"check"`
	// Made is "all", "some" or "none".
	Made string `json:"made"`
	// Proves is what the check proves of the events for which it was made.
	Proves string `json:"proves"`
	// Why is why it was not made for all; "" if it was.
	Why string `json:"why,omitempty"`
}

// Complete reports whether the check was made for all events.
func (c *Check) Complete() bool { return c.Why == "" }

// coverage counts for how many of something a check was made.
type coverage struct{ n, of int }

// add counts one more.
func (c *coverage) add(made bool) {
	if c.of++; made {
		c.n++
	}
}

// check returns the check with this coverage; why is used unless it was made for all.
func (c coverage) check(name, proves, why string) Check {
	switch {
	case c.n == c.of:
		return Check{name, "all", proves, ""}
	case c.n > 0:
		return Check{name, "some", proves, why}
	}
	return Check{name, "none", proves, why}
}

// checks lists the kinds of checks.
func (a *Auditor) checks() []Check {
	var whole, checkpoints, chains, signatures, starts, status, entities, agents, rules coverage
	for _, t := range a.tenants {
		if !t.added {
			continue
		}
		whole.add(t.extent.whole)
		checkpoints.add(t.extent.checkpoints())
		starts.add(t.extent.starts())
		status.add(t.extent.status())
		chains.n, chains.of = chains.n+t.chain.compared.n, chains.of+t.chain.compared.of
		signatures.n, signatures.of = signatures.n+t.signatures.n, signatures.of+t.signatures.of
		rules.n, rules.of = rules.n+t.rulesJudged, rules.of+t.rules
		for _, c := range t.entities {
			entities.add(c.complete())
			if c.kind == "agent" {
				agents.add(c.shown&verbs.StateChanged != 0 && !c.unproved)
			}
		}
	}
	inOrder := coverage{of: 1}
	if a.options.Whole {
		inOrder.n = 1
	}
	headers := coverage{a.withHeader, a.report.Events}
	list := []Check{
		coverage{}.check("event", "each event is valid against its schema and does not contradict itself", ""),
		coverage{}.check("order", "ids are in order, and no event is there twice", ""),
		checkpoints.check("time", "times and windows agree with each other, and go back only where a term begins or the clock is stated as set",
			"the part does not have the checkpoints"),
		coverage{a.withStored, a.report.Events}.check("stored", "no event was stored before its time, nor before the one before it, by more than the clocks may differ",
			"it is not known when the events were stored"),
		headers.check("header", "each event is on its subject and has its headers", "subjects or headers are not known"),
		inOrder.check("sequence", "no message of the stream is missing", "not all messages of a stream were read, or their sequences are not known"),
		entities.check("revision", "between the first and the last event about an entity none is missing, and images follow on each other",
			fmt.Sprintf("of %d of %d entities the part does not have all events", entities.of-entities.n, entities.of)),
		agents.check("state_revision", "between the first and the last event about an agent no change of state is missing",
			fmt.Sprintf("of %d of %d agents the part does not have the changes of state, or some events have no state_revision", agents.of-agents.n, agents.of)),
		whole.check("batch", "no event of a poll is missing: each checkpoint counts what its batch holds", "the part does not have all events"),
		checkpoints.check("checkpoint", "no checkpoint is missing, and the last one states until when the events are complete", "the part does not have the checkpoints"),
		chains.check("chain", "no message of a batch was changed, and each batch follows the one before, unless somebody has recomputed every later `chain`",
			fmt.Sprintf("for %d of %d checkpoints not all messages are known: they are not in the part, erased, or unreadable", chains.of-chains.n, chains.of)),
		signatures.check("signature", "each checkpoint is signed by the key that it names, and by one of the given keys if there are any",
			fmt.Sprintf("%d of %d checkpoints are not signed", signatures.of-signatures.n, signatures.of)),
		starts.check("term", "each term begins with feed.started", "the part does not have feed.started"),
		status.check("gap", "each gap is stated, and changes over it have after_gap", "the part does not have all events about the feed"),
		rules.check("rule", "events of rules agree with the statistics of their entities",
			fmt.Sprintf("for %d of %d events the part does not have all events about the entity", rules.of-rules.n, rules.of)),
	}
	if signatures.n == 0 && len(a.options.SignedBy) == 0 {
		signatures.of = 0
	}
	occurs := map[string]int{"revision": entities.of, "state_revision": agents.of, "rule": rules.of, "chain": chains.of, "signature": signatures.of}
	return slices.DeleteFunc(list, func(c Check) bool { n, counted := occurs[c.Check]; return counted && n == 0 })
}
