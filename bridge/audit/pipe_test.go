package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/audit"
)

// TestPipe: several goroutines come to the same report as one, whatever is wrong.
func TestPipe(t *testing.T) {
	t.Parallel()
	day := goldenStream(t)
	var all []message
	for i := range 20 { // many days, each with a hole, and later ones out of order
		all = append(all, day[:i+20]...)
		all = append(all, day[i+21:]...)
	}
	for i := range all {
		all[i].seq = uint64(i + 1)
	}
	one, err := audit.New(audit.Options{Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	several, err := audit.New(audit.Options{Whole: true})
	if err != nil {
		t.Fatal(err)
	}
	pipe := audit.NewPipe(several, 4)
	for _, m := range all {
		if m.seq%100 == 0 {
			one.AddUnreadable([]uint64{m.seq})
			pipe.AddUnreadable([]uint64{m.seq})
			continue
		}
		one.Add(m.message())
		pipe.Add(m.message)
	}
	pipe.Close()
	want, got := one.Report(), several.Report()
	if d := cmp.Diff(want, got); d != "" || want.OK || want.ByCode["unreadable"] == 0 {
		t.Errorf("%v (-one +several)\n%s", want.ByCode, d)
	}
}

// BenchmarkPipe checks the golden day with a goroutine for each processor.
func BenchmarkPipe(b *testing.B) {
	all := goldenStream(b)
	a, err := audit.New(audit.Options{Whole: true})
	if err != nil {
		b.Fatal(err)
	}
	pipe, n := audit.NewPipe(a, 2), 0
	for b.Loop() {
		m := all[n%len(all)]
		pipe.Add(func() audit.Message { return audit.Message{Subject: m.subject, Header: m.header, Body: m.body} })
		n++
	}
	pipe.Close()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
