package reader

import (
	"testing"
	"time"
)

// TestServerClock: the age of a feed is by the server's clock, whatever that of this machine shows.
func TestServerClock(t *testing.T) {
	t.Parallel()
	server := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	now := time.Now()
	wall := func(d time.Duration) time.Time { return now.Round(0).Add(d) } // without a monotonic reading
	tests := map[string]struct {
		sent time.Time
		want time.Duration // since server
	}{
		"a minute later":                         {now.Add(-time.Minute), time.Minute},
		"the machine was suspended for a minute": {wall(-time.Minute), time.Minute},
	}
	for name, test := range tests {
		got := serverClock{server, test.sent}.now().Sub(server)
		if got < test.want || got > test.want+10*time.Second {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if got := (serverClock{}).now(); time.Since(got) > 10*time.Second {
		t.Errorf("without a response of the server: %v", got)
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	tests := map[string]struct{ observed, stored, want time.Duration }{
		"observed before it was stored":          {2 * time.Second, time.Second, 2 * time.Second},
		"a bridge whose clock is an hour ahead":  {-time.Hour, time.Second, time.Second},
		"a bridge whose clock is an hour behind": {time.Hour, time.Second, time.Hour},
	}
	for name, test := range tests {
		if got := age(now, now.Add(-test.observed), now.Add(-test.stored)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
