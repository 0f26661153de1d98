package audit

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bpcc-nats/bridge/audit/times"
	"bpcc-nats/bridge/event"
	"bpcc-nats/diff/image"
)

// statKey identifies a statistic of a kind of entities.
type statKey struct{ kind, stat string }

// sight is an event that a rule's condition gave, until a later event shows whether its entity was
// seen then.
type sight struct {
	event  audited
	after  event.Time // of its window
	by     event.Time
	clocks int // of the tenant
}

// seenSince is a time from which on an entity, or the source, was seen without interruption.
type seenSince struct {
	at     time.Time
	clocks int // of the tenant: times of two clocks cannot be compared
	why    string
}

// volatileByDefault reports whether BRIDGE_VOLATILE_STATS contains a statistic by default.
func volatileByDefault(stat string) bool {
	switch stat {
	case event.StateDuration, "login_time", "active_item_talk_duration", "active_item_hold_duration", "in_max_wait_time":
		return true
	}
	return strings.HasPrefix(stat, "agent_total_") && strings.HasSuffix(stat, "_time")
}

// learnVolatile learns from a change which statistics are volatile: they differ and are not in
// `changed`.
func (t *tenantAudit) learnVolatile(e *audited, row *event.RowData, differ []string) {
	for _, name := range differ {
		if _, known := row.Before.Get(name); known && !event.IsStateStat(name) {
			t.steady[statKey{e.kind, name}] = slices.Contains(row.Changed, name)
		}
	}
}

// isVolatile reports whether changes of a statistic alone may be missing from the stream.
func (a *Auditor) isVolatile(t *tenantAudit, k statKey) bool {
	if steady, known := t.steady[k]; known {
		return !steady
	}
	return a.options.Volatile(k.stat)
}

// checkThreshold compares an event of a rule with what the stream shows of its entity.
func (a *Auditor) checkThreshold(t *tenantAudit, e *audited, d *event.ThresholdData) {
	raised := e.verb == "raised"
	if !raised && d.ClearedBy != event.ClearedByCondition {
		return // the entity or the rule is gone
	}
	if raised {
		a.checkCondition(t, e, d)
	}
	key := event.RowKey(image.Kind(d.Entity.Kind), d.Entity.ID)
	c := t.entities[key]
	t.rules++
	known := a.hasAll(t, c, d.Entity.Kind, key)
	if known {
		t.rulesJudged++
	}
	switch {
	case !known:
	case c == nil && t.fromStart && a.unreadable == 0 && t.erasedIn(0, e.seq) == 0:
		a.fault(t, e, "unseen", "%s on %s %s, which was never observed", e.verb, d.Entity.Kind, d.Entity.ID)
	case c == nil: // its last event may be before the range
	case c.lost != a.unreadable, t.erasedIn(c.lastSeq, e.seq) > 0: // its last event may be one that cannot be loaded, or is erased
	case c.absent:
		a.fault(t, e, "unseen", "%s on %s %s, which disappeared by %s", e.verb, d.Entity.Kind, d.Entity.ID, event.Floor(c.lastTime))
	default:
		a.checkValue(t, e, c, d)
		if c.sights == nil {
			c.sights = map[string]sight{}
		}
		summary := audited{Event: event.Event{ID: e.ID}, n: e.n, seq: e.seq, id: e.id, typ: e.typ, verb: e.verb, entity: e.entity}
		c.sights[e.entity] = sight{event: summary, after: d.Observed.After, by: d.Observed.By, clocks: t.times.Clocks()}
	}
	if !raised {
		return
	}
	from := []seenSince{t.seen}
	if c != nil && !c.absent {
		from = append(from, c.seen)
	}
	for _, s := range from {
		// An event that ends before that time shows that a clock was set.
		if s.clocks == t.times.Clocks() && !d.PendingSince.IsZero() && d.PendingSince.Before(s.at) && !d.Observed.By.Before(s.at) {
			a.fault(t, e, "unseen", "pending since %s, but %s at %s: what is not seen does not count", d.PendingSince, s.why, event.Floor(s.at))
			return
		}
	}
}

// grouped matches numbers that are others where a point separates groups of digits.
var grouped = regexp.MustCompile(`^\s*[+-]?\d{1,3}(\.\d{3})+\s*$`)

// checkCondition checks that the value of a rule that raises is a number for which its condition
// holds. A text that a rule may read as another number is not judged.
func (a *Auditor) checkCondition(t *tenantAudit, e *audited, d *event.ThresholdData) {
	if d.Value == nil {
		return
	}
	n, isNumber := event.Decimal(*d.Value)
	if !isNumber {
		if _, err := strconv.ParseFloat(strings.TrimSpace(*d.Value), 64); err == nil {
			a.fault(t, e, "value", "raised by %q, which is no finite decimal number", *d.Value)
		}
		return
	}
	if grouped.MatchString(*d.Value) {
		return
	}
	holds := map[string]bool{
		">": n > d.Limit, ">=": n >= d.Limit, "<": n < d.Limit, "<=": n <= d.Limit, "==": n == d.Limit, "!=": n != d.Limit,
	}
	if hold, known := holds[d.Op]; known && !hold {
		a.fault(t, e, "value", "raised by %q, which is not %s %v", *d.Value, d.Op, d.Limit)
	}
}

// checkValue compares the value of a rule's event with the last image of its entity: a change of
// the statistic would have been published before.
func (a *Auditor) checkValue(t *tenantAudit, e *audited, c *entityAudit, d *event.ThresholdData) {
	if d.Value == nil || c.image.IsZero() || a.isVolatile(t, statKey{d.Entity.Kind, d.Stat}) {
		return
	}
	if last := c.image.Text(d.Stat); last != *d.Value {
		a.fault(t, e, "value", "%s by %s %q, but the last image of %s %s has %q", e.verb, d.Stat, *d.Value, d.Entity.Kind, d.Entity.ID, last)
	}
}

// checkSights judges the rules' events about an entity by the next event about its row: that one's
// window begins at the last earlier poll that showed the row, so no window of a rule in an earlier
// poll begins there or later.
func (a *Auditor) checkSights(t *tenantAudit, e *audited, c *entityAudit) {
	w := *e.observed
	for key, s := range c.sights {
		// A state of the source that lasted over a gap may turn out to be old afterwards. Where a row
		// was last seen in an earlier term, the window is wider than necessary.
		judged := !e.Arrives() && !e.afterGap && !w.After.IsZero() && s.event.ID.Epoch == e.ID.Epoch && s.event.ID.Poll < e.ID.Poll
		if judged && s.clocks == t.times.Clocks() && !s.by.After(w.By.Time) && !s.after.Before(w.After.Time) {
			a.fault(t, &s.event, "unseen", "%s in a window from %s, but its %s was last seen at %s: %s shows that", s.event.verb, s.after, e.kind, w.After, e.id)
		}
		if s.event.ID.Poll < e.ID.Poll || s.event.ID.Epoch < e.ID.Epoch {
			delete(c.sights, key)
		}
	}
}

// sawRow records since when an entity has been seen. A change whose window begins before the
// watermark shows that the row was missing meanwhile.
func (t *tenantAudit) sawRow(e *audited, c *entityAudit) {
	w := *e.observed
	switch {
	case e.Arrives() && !e.Restates():
		c.seen = seenSince{w.By.Time, t.times.Clocks(), "its entity was first seen"}
	case !e.Removes() && !e.afterGap && !w.After.IsZero() && !t.missing.IsZero() && !w.After.Before(t.missing) &&
		t.until.Sub(w.After.Time) > times.Tolerance:
		c.seen = seenSince{w.By.Time, t.times.Clocks(), "its entity was missing and was seen again"}
	}
}
