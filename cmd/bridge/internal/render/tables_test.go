package render

import (
	"io"
	"strings"
	"testing"
	"time"

	"bpcc-nats/bridge/state"
	"bpcc-nats/cmd/bridge/internal/console"
)

func TestFeedLine(t *testing.T) {
	t.Parallel()
	now := time.Now()
	tests := map[string]struct {
		feed state.Feed
		want string
	}{
		"fresh":       {state.Feed{Status: "live", Fresh: true, ObservedUntil: &now, AgeSeconds: 3}, "LIVE"},
		"old":         {state.Feed{Status: "live", ObservedUntil: &now, AgeSeconds: 300}, "OLD  status live, but as of"},
		"stale":       {state.Feed{Status: "stale", ObservedUntil: &now, AgeSeconds: 90}, "STALE"},
		"interrupted": {state.Feed{Status: "interrupted"}, "INTERRUPTED  nothing observed yet: do not trust"},
		"none":        {state.Feed{}, "NO FEED"},
	}
	for name, test := range tests {
		got := string(statusLine(&test.feed, console.New(io.Discard, nil)))
		if !strings.HasPrefix(got, test.want) || test.feed.Fresh == strings.Contains(got, "do not trust") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestHumanDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 3*time.Hour + 5*time.Minute: "3h05m", 72 * time.Hour: "3d",
	} {
		if got := humanDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
