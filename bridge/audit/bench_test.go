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
		m := all[n%len(all)]
		m.seq = 0
		a.Add(m.message())
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
