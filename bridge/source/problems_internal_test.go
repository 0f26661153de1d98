package source

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/diff"
)

// TestProblemsAreLoggedOnce: a problem is logged when it begins, whatever else comes and goes, and
// the end of all is.
func TestProblemsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	b := &Loop{log: slog.New(slog.NewTextHandler(&text, nil))}
	var got []string
	for _, problems := range [][]string{nil, {"a"}, {"a"}, {"failed"}, {"a"}, {"a", "b"}, {"b"}, {"b"}, {"a", "b"}, {"a\nb"}, nil, nil, {"a"}} {
		text.Reset()
		result := &engine.Batch{Problems: problems}
		if slices.Contains(problems, "failed") {
			result = &engine.Batch{Err: diff.ErrEmpty}
		}
		b.logProblems(result)
		_, line, _ := strings.Cut(strings.TrimSpace(text.String()), " ")
		got = append(got, line)
	}
	warn := func(problems string) string { return `level=WARN msg="snapshot has problems" problems=` + problems }
	want := []string{"", warn("a"), "", "", "", warn(`"a; b"`), "", "", warn(`"a; b"`), warn(`"a\nb"`), `level=INFO msg="snapshots are complete again"`, "", warn("a")}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("log (-want +got)\n%s", d)
	}
}
