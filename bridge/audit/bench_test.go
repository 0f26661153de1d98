package audit_test

import (
	"testing"

	"bpcc-nats/bridge/audit"
)

// BenchmarkAudit checks the golden day.
func BenchmarkAudit(b *testing.B) {
	all := goldenStream(b)
	a, err := audit.New(audit.Options{Whole: true})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		a.Add(0, all[n%len(all)].subject, all[n%len(all)].header, all[n%len(all)].body)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
