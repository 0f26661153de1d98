package source

import (
	"fmt"

	"bpcc-nats/bridge/engine"
)

// UnreadableHint is the hint for a rule on a statistic whose text is not a number.
const UnreadableHint = `say in the rule how the statistic is written ("parse": "percent" or "duration", "decimal": ","), or choose another statistic`

// DescribeUnreadable describes a text that a rule cannot read.
func DescribeUnreadable(u engine.UnreadableText) string {
	return fmt.Sprintf("%q cannot read %s of %q: the text %q is not a number that it reads", u.Rule, u.Stat, u.Entity, u.Text)
}
