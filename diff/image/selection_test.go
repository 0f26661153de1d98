package image_test

import (
	"testing"

	"bpcc-nats/diff/image"
)

// TestSelection reads images of several kinds in turn: each time it is what Get
// finds.
func TestSelection(t *testing.T) {
	t.Parallel()
	wanted := []string{"reason", "acd_state", "team", "nowhere"}
	images := map[string]image.Image{
		"all of them":   imageOf("acd_state", "ready", "x", "1", "reason", "lunch", "team", "a"),
		"another order": imageOf("team", "b", "reason", "", "acd_state", "busy", "y", "2"),
		"some":          imageOf("acd_state", ""),
		"none":          imageOf("x", "1"),
		"nothing":       imageOf(),
		"zero":          {},
	}
	s := image.NewSelection(wanted...)
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
