// Package sequences holds sets and runs of a stream's sequences.
package sequences

import (
	"cmp"
	"fmt"
	"slices"

	"bpcc-nats/bridge/event"
)

// Set is a set of sequences: ranges in order, none next to another.
type Set []event.SequenceRange

// Union returns the set with more ranges.
func (s Set) Union(more []event.SequenceRange) Set {
	all := slices.Concat(s, more)
	slices.SortFunc(all, func(a, b event.SequenceRange) int { return cmp.Compare(a.First, b.First) })
	var out Set
	for _, r := range all {
		if r.First == 0 || r.Last < r.First {
			continue
		}
		if n := len(out); n > 0 && r.First-1 <= out[n-1].Last {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// from returns the index of the first range that does not end before a sequence.
func (s Set) from(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s, seq, func(r event.SequenceRange, seq uint64) int { return cmp.Compare(r.Last, seq) })
	return i
}

// Count counts the sequences from first to last.
func (s Set) Count(first, last uint64) (n uint64) {
	for i := s.from(first); i < len(s) && s[i].First <= last; i++ {
		n += min(last, s[i].Last) - max(first, s[i].First) + 1
	}
	return n
}

// Without returns the set without a sequence, and whether it was in it.
func (s Set) Without(seq uint64) (Set, bool) {
	i := s.from(seq)
	if i == len(s) || s[i].First > seq {
		return s, false
	}
	r := s[i]
	var rest []event.SequenceRange
	if r.First < seq {
		rest = append(rest, event.SequenceRange{First: r.First, Last: seq - 1})
	}
	if seq < r.Last {
		rest = append(rest, event.SequenceRange{First: seq + 1, Last: r.Last})
	}
	return slices.Replace(s, i, i+1, rest...), true
}

// Run is a number of sequences that follow each other.
type Run struct{ First, Last uint64 }

// String names the messages.
func (r Run) String() string {
	if r.First == r.Last {
		return fmt.Sprintf("message %d", r.First)
	}
	return fmt.Sprintf("messages %d to %d", r.First, r.Last)
}

// Runs groups sequences in order.
func Runs(sequences []uint64) []Run {
	var runs []Run
	for _, seq := range sequences {
		if n := len(runs); n > 0 && runs[n-1].Last+1 == seq {
			runs[n-1].Last = seq
		} else {
			runs = append(runs, Run{seq, seq})
		}
	}
	return runs
}
