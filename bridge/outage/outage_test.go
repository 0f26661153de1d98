package outage_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/outage"
)

// TestOutage: an outage of a day with an attempt each second is some lines of the log, of which each says how
// long it lasts, and a cause that is new is logged at once.
func TestOutage(t *testing.T) {
	t.Parallel()
	var o outage.Outage
	began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var got []string
	for s := range 5 * 3600 {
		cause := "refused"
		if s >= 90 && s%2 == 0 {
			cause = "timeout"
		}
		if lasts, due := o.Failed(began.Add(time.Duration(s)*time.Second), cause); due {
			got = append(got, lasts+" "+cause)
		}
	}
	lasted, was := o.End(began.Add(5 * time.Hour))
	got = append(got, fmt.Sprint(lasted, " ", was))
	want := []string{
		"0s refused", "1m0s refused", "1m30s timeout", "3m0s timeout", "7m0s timeout", "15m0s timeout", "31m0s timeout",
		"1h3m0s timeout", "2h3m0s timeout", "3h3m0s timeout", "4h3m0s timeout", "5h0m0s true",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("logged (-want +got)\n%s", d)
	}
	if lasted, was := o.End(began); was {
		t.Errorf("a second end of the same outage, after %s", lasted)
	}
	if lasts, due := o.Failed(began, "refused"); lasts != "0s" || !due {
		t.Errorf("the next outage: %q, %v", lasts, due)
	}
}

// TestManyCauses: errors with a number in each do not fill the log.
func TestManyCauses(t *testing.T) {
	t.Parallel()
	var o outage.Outage
	began := time.Now()
	logged := 0
	for n := range 1000 {
		if _, due := o.Failed(began.Add(time.Duration(n)*time.Millisecond), fmt.Sprint("attempt ", strings.Repeat("x", n))); due {
			logged++
		}
	}
	if logged != 20 {
		t.Errorf("logged %d of 1000 causes", logged)
	}
}
