package sequences_test

import (
	"fmt"
	"testing"

	"bpcc-nats/bridge/audit/sequences"
)

func TestRuns(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(sequences.Runs([]uint64{3, 5, 6, 7, 9}))
	if want := "[message 3 messages 5 to 7 message 9]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
