package check

import (
	"fmt"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/rule"
	"bpcc-nats/bridge/source"
	"bpcc-nats/diff"
	"bpcc-nats/diff/image"
)

// checkRules checks that each rule can read what a snapshot shows of its entities.
func checkRules(rules []rule.Rule, s *diff.State, refused map[image.Kind][]string, x *checkRun) {
	for i := range rules {
		r := &rules[i]
		if r.ReadsAny(refused) {
			x.fail("rule", fmt.Sprintf("%q reads a statistic that the server rejects: it raises nothing", r.Name), source.StatisticHint)
			continue
		}
		read := readRule(r, s)
		switch {
		case read.unreadable != nil:
			x.reportWarning("rule", source.UnreadableHint, "%s", source.DescribeUnreadable(*read.unreadable))
		case read.entities > 0 && read.shown == 0:
			x.reportWarning("rule", "raises nothing while this lasts; choose another statistic, or ask the vendor why it is left out",
				"%q reads %s, which none of its %d row(s) has", r.Name, r.Stat, read.entities)
		default:
			x.reportOK("rule", "%q applies to %d row(s), %d of them with a value", r.Name, read.entities, read.values)
		}
	}
}

// ruleReading is what a rule reads in a snapshot.
type ruleReading struct {
	entities, shown, values int // that it matches, that have its column, whose text is a number
	unreadable              *engine.UnreadableText
}

// readRule reads a rule's statistic of all entities that it matches.
func readRule(r *rule.Rule, s *diff.State) (read ruleReading) {
	matches := rule.Globs(r.Match)
	for e := range s.Touched(r.Kind) { // after the first Compare these are all
		if !matches.MatchString(e.ID()) {
			continue
		}
		read.entities++
		text, shown := e.Seen(r.Stat)
		if !shown {
			continue
		}
		read.shown++
		_, number := r.Number(text)
		applies, _ := r.AppliesTo(e.Seen)
		switch {
		case number:
			read.values++
		case applies && !rule.Empty(text) && (read.unreadable == nil || e.ID() < read.unreadable.Entity):
			read.unreadable = &engine.UnreadableText{Rule: r.Name, Stat: r.Stat, Entity: e.ID(), Text: engine.Shorten(text)}
		}
	}
	return read
}
