package bridge_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImports: the packages that must share nothing with others reach only what
// this table allows, through however many steps; the pure ones know no network.
func TestImports(t *testing.T) {
	t.Parallel()
	const module = "bpcc-nats/"
	for pkg, want := range map[string]string{
		"bridge/event":  "diff schemas",
		"bridge/config": "bpcc bridge/event bridge/rule diff schemas",
		"bridge/source": "bpcc bridge/config bridge/engine bridge/event bridge/rule diff schemas",
		"bridge/record": "bpcc bridge/config bridge/engine bridge/event bridge/rule bridge/source diff schemas",
		"bridge/stream": "bpcc bridge/config bridge/event bridge/rule diff schemas",
		"bridge/page":   "bpcc bridge/config bridge/event bridge/rule bridge/stream diff schemas",
		"bridge/check":  "bpcc bridge/config bridge/engine bridge/event bridge/rule bridge/source bridge/stream diff schemas",
		"bridge/lease":  "bpcc bridge/config bridge/event bridge/rule bridge/stream diff schemas",
		"bridge":        "bpcc bridge/config bridge/engine bridge/event bridge/lease bridge/page bridge/rule bridge/source bridge/stream diff schemas",
		"bridge/rule":   "bridge/event diff schemas",
		"bridge/engine": "bridge/event bridge/rule diff schemas",
		"bridge/audit":  "bridge/event diff schemas",
		"diff":          "",
		"bpcc":          "",
		"schemas":       "",

		"examples/router":  "bridge/event diff schemas",
		"examples/service": "bridge/event diff schemas",
		"examples/auditor": "bridge/event diff schemas",
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+pkg).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pkg, err)
		}
		var got []string
		for path := range strings.Lines(string(out)) {
			if path, ours := strings.CutPrefix(strings.TrimSpace(path), module); ours && path != pkg {
				got = append(got, path)
			}
		}
		slices.Sort(got)
		if d := cmp.Diff(strings.Fields(want), got, cmp.Transformer("", func(s []string) string { return strings.Join(s, " ") })); d != "" {
			t.Errorf("%s reaches (-allowed +found)\n%s", pkg, d)
		}
	}
	for _, pkg := range []string{"bridge/engine", "diff"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+pkg).Output()
		if err != nil {
			t.Fatalf("go list %s: %v", pkg, err)
		}
		for _, impure := range []string{"net", "net/http", "os/exec", "github.com/nats-io/nats.go"} {
			if slices.Contains(strings.Fields(string(out)), impure) {
				t.Errorf("%s reaches %s", pkg, impure)
			}
		}
	}
}
