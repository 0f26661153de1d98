package reader

import (
	"slices"
	"testing"
)

// TestFilter: a consumer has a filter, which permissions are for, unless it reads a whole stream where
// there are none.
func TestFilter(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{true, false} {
		for _, unfiltered := range []bool{true, false} {
			r := Reader{Range: Range{Subjects: []string{"bpcc.v1.>"}}, Whole: whole, Unfiltered: unfiltered}
			var want []string
			if !whole || !unfiltered {
				want = r.Subjects
			}
			if got := r.config().FilterSubjects; !slices.Equal(got, want) {
				t.Errorf("whole %v, unfiltered %v: %v, want %v", whole, unfiltered, got, want)
			}
		}
	}
}
