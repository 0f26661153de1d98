package engine

import (
	"fmt"
	"strings"

	"bpcc-nats/diff"
)

// skippedRows counts the rows that a snapshot does not give, by reason.
func (e *Engine) skippedRows(snap *diff.Snapshot) map[string]int {
	skipped := map[string]int{
		"unnamed": snap.Unnamed, "duplicate": snap.Duplicates, "oversized": snap.Oversized, "unreadable": snap.Unreadable.Count, "limit": 0,
	}
	if len(e.limitedGrids(snap)) > 0 {
		// The bridge cannot know how many rows it has never seen, but that there may be some.
		skipped["limit"] = max(1, e.published.state.Hidden())
	}
	return skipped
}

// limitedGrids names the grids that are as long as their limit, so that rows may be behind it.
func (e *Engine) limitedGrids(snap *diff.Snapshot) []string {
	var names []string
	for i, g := range e.options.Layout.Grids {
		if g.Cut(snap.BodyRows(i)) {
			names = append(names, fmt.Sprintf("%s (%d)", g.Name(), g.Limit))
		}
	}
	return names
}

// problems lists what is wrong with a snapshot that is used nevertheless. A text stays the same as
// long as the problem does, so that it is logged once.
func (e *Engine) problems(snap *diff.Snapshot) []string {
	var out []string
	if snap.Unnamed > 0 {
		out = append(out, fmt.Sprintf("%d row(s) without a key skipped; check BRIDGE_AGENT_KEY", snap.Unnamed))
	}
	for i, ids := range snap.DuplicateKeys {
		if len(ids) > 0 {
			out = append(out, fmt.Sprintf("rows with a duplicate key skipped in %s: %s", e.options.Layout.Grids[i].Name(), quotedList(ids)))
		}
	}
	if snap.Oversized > 0 {
		out = append(out, fmt.Sprintf("%d row(s) with a key of more than 512 bytes skipped", snap.Oversized))
	}
	if snap.Unreadable.Count > 0 {
		out = append(out, DescribeUnreadable(snap))
	}
	if snap.Cut > 0 {
		out = append(out, fmt.Sprintf("%d text(s) of more than 4096 bytes truncated", snap.Cut))
	}
	if grids := e.limitedGrids(snap); len(grids) > 0 {
		out = append(out, fmt.Sprintf("rows may be hidden, as many as the limit in %s; raise the limit or remove it", strings.Join(grids, ", ")))
	}
	state := &e.published.state
	for _, i := range state.Emptied() {
		out = append(out, fmt.Sprintf("%s is suddenly empty; its rows are treated as departures after %v", e.options.Layout.Grids[i].Name(), e.options.EmptyHold))
	}
	for _, kind := range e.options.Layout.Kinds() {
		if n := state.HeldBack(kind); n > 0 {
			out = append(out, fmt.Sprintf("%d %s rows missing at once; treated as departures after %v", n, kind, e.options.MassHold))
		}
	}
	return out
}

// DescribeUnreadable describes the rows of a snapshot that cannot be read, and names the first of them.
func DescribeUnreadable(snap *diff.Snapshot) string {
	var named []string
	for _, r := range snap.Unreadable.Named {
		text := r.Grid
		if r.ID != "" {
			text += fmt.Sprintf(" %.64q", r.ID)
		}
		if r.Column != "" {
			text += fmt.Sprintf(" column %.64q", r.Column)
		}
		named = append(named, text)
	}
	return fmt.Sprintf("%d row(s) skipped that are no object or have an array or an object as a value: %s", snap.Unreadable.Count, strings.Join(named, ", "))
}

// quotedList writes ids for a log: escaped, and the first characters of a long one.
func quotedList(ids []string) string {
	var quoted []string
	for _, id := range ids {
		quoted = append(quoted, fmt.Sprintf("%.64q", id))
	}
	return strings.Join(quoted, ", ")
}
