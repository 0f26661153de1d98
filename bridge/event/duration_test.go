package event

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestDuration: durations are seconds with as many decimals as they need, and are read from any number.
func TestDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0": 0, "2": 2 * time.Second, "1.992": 1992 * time.Millisecond, "0.5": 500 * time.Millisecond, "0.05": 50 * time.Millisecond,
		"0.001": time.Millisecond, "100": 100 * time.Second, "-1.5": -1500 * time.Millisecond, "31536000": 365 * 24 * time.Hour,
	} {
		got, err := json.Marshal(Duration(d))
		if err != nil || string(got) != want {
			t.Errorf("%v is written as %s, %v, want %s", d, got, err, want)
		}
		var back Duration
		if err := json.Unmarshal(got, &back); err != nil || time.Duration(back) != d {
			t.Errorf("%s is read as %v, %v", got, time.Duration(back), err)
		}
	}
	for text, want := range map[string]time.Duration{
		"1e1": 10 * time.Second, "0.0004": 0, "0.0006": time.Millisecond, "null": 0, "3162240000": 36600 * 24 * time.Hour,
	} {
		var got Duration
		if err := json.Unmarshal([]byte(text), &got); err != nil || time.Duration(got) != want {
			t.Errorf("%s is read as %v, %v, want %v", text, time.Duration(got), err, want)
		}
	}
	for _, text := range []string{"3162240001", "-1e300", "1e999", `"1"`, "{}", "true"} {
		var got Duration
		if err := json.Unmarshal([]byte(text), &got); err == nil || !strings.Contains(err.Error(), "not a duration in seconds") {
			t.Errorf("%s is read as %v, %v", text, time.Duration(got), err)
		}
	}
}
