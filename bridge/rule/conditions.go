package rule

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// String returns the condition as people write it, such as ">= 5".
func (c Condition) String() string {
	return c.Op + " " + strconv.FormatFloat(c.Value, 'g', -1, 64)
}

// conditionFault says how the two conditions contradict each other, "" if they do not. If both hold
// for some value, the alarm is raised and cleared again and again. If no value clears it, it stays
// raised for ever.
func (r *Rule) conditionFault() string {
	if r.Clear == nil {
		return ""
	}
	values := r.testValues()
	if i := slices.IndexFunc(values, func(v float64) bool { return r.Raise.Holds(v) && r.Clear.Holds(v) }); i >= 0 {
		return fmt.Sprintf("raise %v and clear %v both hold for %s, so the alarm would be raised and cleared again and again: let them exclude each other",
			r.Raise, *r.Clear, strconv.FormatFloat(values[i], 'g', -1, 64))
	}
	if !slices.ContainsFunc(values, r.Clear.Holds) {
		return fmt.Sprintf("clear %v never holds, so an alarm raised by %v would never end: statistics are not negative", *r.Clear, r.Raise)
	}
	return ""
}

// testValues returns values that stand for all: two conditions can only change where one of their
// numbers is passed. Statistics are counts, durations and shares. So only a rule that is raised by
// a negative number has values below zero.
func (r *Rule) testValues() []float64 {
	low, high := min(r.Raise.Value, r.Clear.Value), max(r.Raise.Value, r.Clear.Value)
	up, down := math.Inf(1), math.Inf(-1)
	all := []float64{ // those that read well come first, for the error
		high, low, high + 1, low - 1, low/2 + high/2, 0,
		math.Nextafter(low, down), math.Nextafter(low, up), math.Nextafter(high, down), math.Nextafter(high, up),
	}
	negative := r.Raise.Value < 0 || r.Raise == Condition{"<", 0}
	return slices.DeleteFunc(all, func(v float64) bool { return math.IsInf(v, 0) || v < 0 && !negative })
}
