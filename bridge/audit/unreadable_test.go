package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
)

// TestAuditOfUnreadableMessages takes every message of a valid day in turn, and runs of them, for one
// that the server cannot load: that is the only fault, and it names the sequences. The same day with
// messages that are missing has others.
func TestAuditOfUnreadableMessages(t *testing.T) {
	t.Parallel()
	day := goldenStream(t)
	for _, n := range []int{1, 3} {
		for from := 0; from+n <= len(day); from += n * n { // to make an auditor takes long
			a, err := audit.New(audit.Options{Whole: true})
			if err != nil {
				t.Fatal(err)
			}
			var lost []uint64
			for i, m := range day {
				if i >= from && i < from+n {
					lost = append(lost, m.seq)
					continue
				}
				if len(lost) == n {
					a.AddUnreadable(lost)
					lost = nil
				}
				a.Add(m.message())
			}
			if len(lost) > 0 {
				a.AddUnreadable(lost)
			}
			r := a.Report()
			if d := cmp.Diff(map[string]int{"unreadable": 1}, r.ByCode); d != "" || r.OK {
				t.Errorf("without messages %d to %d (-want +got)\n%s%+v", day[from].seq, day[from+n-1].seq, d, r.Faults)
			}
			if r.Faults[0].Seq != day[from].seq {
				t.Errorf("the fault names sequence %d, want %d", r.Faults[0].Seq, day[from].seq)
			}
		}
	}
	// A loss explains no more than it can.
	a, err := audit.New(audit.Options{Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range day {
		switch i {
		case 20:
			a.AddUnreadable([]uint64{m.seq})
		case 40, 41, 42, 43: // missing
		default:
			a.Add(m.message())
		}
	}
	if r := a.Report(); r.ByCode["unreadable"] != 1 || r.ByCode["sequence"] != 1 || r.ByCode["missing"] == 0 {
		t.Errorf("faults %v", r.ByCode)
	}
}
