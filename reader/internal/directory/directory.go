// Package directory folds the events about a directory into its entries.
package directory

import (
	"maps"
	"slices"

	"bpcc-nats/bridge/event"
)

// List is a directory: ids and names. It does not change.
type List struct {
	names map[string]string
	parts int // of its baseline, so far
	whole bool
}

// With returns the directory after an event; nil if it is not known then. The first part of a baseline
// begins it anew. What changes a directory whose baseline was not read says nothing.
func (d *List) With(e *event.DirectoryData) *List {
	switch {
	case e.Baseline && e.Part == 1:
		d = &List{}
	case d == nil, e.Baseline && (d.whole || e.Part != d.parts+1), !e.Baseline && !d.whole:
		return nil
	}
	next := &List{names: maps.Clone(d.names), parts: d.parts, whole: d.whole}
	if next.names == nil {
		next.names = map[string]string{}
	}
	if e.Baseline {
		next.parts, next.whole = e.Part, e.Part == e.Parts
	}
	for _, entry := range e.Removed {
		delete(next.names, entry.ID)
	}
	for _, entry := range e.Added {
		next.names[entry.ID] = entry.Name
	}
	for _, entry := range e.Renamed {
		next.names[entry.ID] = entry.To
	}
	return next
}

// Entries returns the entries, ordered by their ids, and whether they are known.
func (d *List) Entries() ([]event.DirectoryEntry, bool) {
	if d == nil || !d.whole {
		return nil, false
	}
	all := make([]event.DirectoryEntry, 0, len(d.names))
	for _, id := range slices.Sorted(maps.Keys(d.names)) {
		all = append(all, event.DirectoryEntry{ID: id, Name: d.names[id]})
	}
	return all, true
}
