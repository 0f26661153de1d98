package diff_test

import (
	"testing"

	"bpcc-nats/diff"
)

// TestSelection reads images of several kinds in turn: each time it is what Get
// finds.
func TestSelection(t *testing.T) {
	t.Parallel()
	wanted := []string{"reason", "acd_state", "team", "nowhere"}
	images := map[string]diff.Image{
		"all of them":   image("acd_state", "ready", "x", "1", "reason", "lunch", "team", "a"),
		"another order": image("team", "b", "reason", "", "acd_state", "busy", "y", "2"),
		"some":          image("acd_state", ""),
		"none":          image("x", "1"),
		"nothing":       image(),
		"zero":          {},
	}
	s := diff.NewSelection(wanted...)
	texts := make([]string, len(wanted))
	for range 2 {
		for name, m := range images {
			known := s.Read(m, texts)
			for i, stat := range wanted {
				text, want := m.Get(stat)
				if got := known>>i&1 == 1; texts[i] != text || got != want {
					t.Errorf("%s: %s is %q, known %v; want %q, %v", name, stat, texts[i], got, text, want)
				}
			}
		}
	}
}
