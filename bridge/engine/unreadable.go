package engine

import (
	"maps"
	"time"

	"bpcc-nats/diff/image"
)

// UnreadableText is a text that a rule takes for no value although it is not empty: it is not a
// number in the notation that the rule reads.
type UnreadableText struct {
	// Rule reads Stat. Entity is the first one that showed such a text.
	Rule, Stat, Entity string
	// Text is what the source sent, cut after 64 bytes.
	Text string
}

// unreadable are the entities on which a rule applies to a text that it cannot read.
type unreadable struct {
	ids      map[string]bool
	reported bool // in this term
}

// checkText records whether a rule can read the text of an entity, and reports the first text that
// it cannot.
func (t *evaluation) checkText(i int, id, text string, readable bool) {
	u := &t.observed.unreadable[i]
	if readable {
		delete(u.ids, id)
		return
	}
	if u.ids == nil {
		u.ids = map[string]bool{}
	}
	u.ids[id] = true
	if !u.reported {
		u.reported = true
		r := &t.rules.all[i]
		t.batch.Unreadable = append(t.batch.Unreadable, UnreadableText{r.Name, r.Stat, id, Shorten(text)})
	}
}

// Shorten cuts a text of the source for messages.
func Shorten(text string) string {
	const limit = 64
	for i := range text {
		if i > limit-len("…") && len(text) > limit {
			return text[:i] + "…"
		}
	}
	return text
}

// forgetDeparted removes what is kept of entities that are gone and of rules that are not evaluated.
func (t *evaluation) forgetDeparted() {
	state := &t.published.state
	maps.DeleteFunc(t.observed.unseen, func(key alertKey, _ time.Time) bool {
		_, present := state.Latest(image.Kind(key.entity.Kind), key.entity.ID)
		return !present
	})
	for i := range t.observed.unreadable {
		r := &t.rules.all[i]
		maps.DeleteFunc(t.observed.unreadable[i].ids, func(id string, _ bool) bool {
			_, present := state.Latest(r.Kind, id)
			return !present || t.refused[i]
		})
	}
}
