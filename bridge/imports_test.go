package bridge_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImports: the packages that must share nothing with others reach only what
// this table allows, through however many steps; the pure ones know no network.
func TestImports(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for pkg, want := range map[string]string{
		"bridge/event":     "diff/image internal/jsonscan schemas",
		"bridge/config":    "bpcc bridge/event bridge/rule diff/image internal/jsonscan schemas",
		"bridge/source":    "bpcc bridge/config bridge/engine bridge/event bridge/outage bridge/rule diff diff/image diff/layout internal/jsonscan schemas",
		"bridge/record":    "bpcc bridge/config bridge/engine bridge/event bridge/outage bridge/rule bridge/source diff diff/image diff/layout internal/jsonscan schemas",
		"bridge/stream":    "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan diff/image internal/jsonscan schemas",
		"bridge/answer":    "bridge/event bridge/svc diff/image internal/jsonscan schemas",
		"bridge/svc":       "bridge/event diff/image internal/jsonscan schemas",
		"bridge/recovery":  "bpcc bridge/answer bridge/config bridge/engine bridge/event bridge/outage bridge/rule bridge/scan bridge/stream bridge/svc bridge/watchdog diff diff/image diff/layout internal/jsonscan schemas",
		"bridge/scan":      "bridge/event diff/image internal/jsonscan schemas",
		"reader":           "bridge/event bridge/scan bridge/svc diff/image internal/jsonscan reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
		"bridge/view":      "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"bridge/publish":   "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"reader/report":    "bridge/event bridge/scan bridge/svc diff/image internal/jsonscan reader reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
		"reader/past":      "bridge/event diff/image internal/jsonscan schemas",
		"bridge/watchdog":  "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"bridge/clock":     "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"bridge/page":      "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/state bridge/stream bridge/svc bridge/view diff/image internal/jsonscan reader reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
		"bridge/state":     "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream bridge/view diff/image internal/jsonscan reader/past schemas",
		"bridge/check":     "bpcc bridge/capacity bridge/config bridge/engine bridge/event bridge/outage bridge/rule bridge/scan bridge/source bridge/stream diff diff/image diff/layout internal/jsonscan schemas",
		"bridge/trace":     "",
		"bridge/web":       "bpcc bridge/config bridge/event bridge/rule diff/image internal/jsonscan schemas",
		"bridge/lease":     "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"bridge/rebalance": "bpcc bridge/config bridge/event bridge/lease bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"bridge/erase":     "bpcc bridge/config bridge/engine bridge/event bridge/lease bridge/outage bridge/publish bridge/rule bridge/scan bridge/stream bridge/view diff diff/image diff/layout internal/jsonscan schemas",
		"bridge":           "bpcc bridge/answer bridge/capacity bridge/clock bridge/config bridge/engine bridge/event bridge/figures bridge/lease bridge/outage bridge/page bridge/publish bridge/rebalance bridge/recovery bridge/rule bridge/scan bridge/source bridge/state bridge/stream bridge/svc bridge/trace bridge/view bridge/watchdog diff diff/image diff/layout internal/jsonscan reader reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
		"bridge/outage":    "",
		"bridge/figures":   "bridge/answer bridge/event bridge/rule bridge/svc diff/image internal/jsonscan schemas",
		"bridge/rule":      "bridge/event diff/image internal/jsonscan schemas",
		"bridge/engine":    "bridge/event bridge/rule diff diff/image diff/layout internal/jsonscan schemas",
		"bridge/audit":     "bridge/audit/bounds bridge/audit/sequences bridge/audit/times bridge/audit/verbs bridge/event diff/image internal/jsonscan schemas",
		"diff":             "diff/image diff/layout internal/jsonscan",
		"diff/layout":      "diff/image internal/jsonscan",
		"diff/image":       "internal/jsonscan",
		"bpcc":             "",
		"schemas":          "internal/jsonscan",

		"bridge/audit/times":        "bridge/event diff/image internal/jsonscan schemas",
		"cmd/bridge/internal/table": "bridge/event diff/image internal/jsonscan schemas",

		"bridge/capacity":  "bpcc bridge/config bridge/event bridge/outage bridge/rule bridge/scan bridge/stream diff/image internal/jsonscan schemas",
		"examples/router":  "bridge/event bridge/scan bridge/svc diff/image internal/jsonscan reader reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
		"examples/service": "bridge/event bridge/scan bridge/svc diff/image internal/jsonscan reader reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
		"examples/auditor": "bridge/event bridge/scan bridge/svc diff/image internal/jsonscan reader reader/internal/directory reader/internal/lookup reader/internal/track reader/past schemas",
	} {
		got := slices.DeleteFunc(slices.Clone(packages[module+pkg].Deps), func(path string) bool { return !strings.HasPrefix(path, module) })
		if d := cmp.Diff(want, strings.ReplaceAll(strings.Join(got, " "), module, "")); d != "" {
			t.Errorf("%s reaches (-allowed +found)\n%s", pkg, d)
		}
	}
	for _, pkg := range []string{"bridge/engine", "diff"} {
		for _, impure := range []string{"net", "net/http", "os/exec", "github.com/nats-io/nats.go"} {
			if slices.Contains(packages[module+pkg].Deps, impure) {
				t.Errorf("%s reaches %s", pkg, impure)
			}
		}
	}
}

// TestSizes: a package and a file stay so small that one can read them at once. Tests do not count.
func TestSizes(t *testing.T) {
	t.Parallel()
	const maxFile, maxPackage = 400, 2500
	larger := map[string]int{module + "bpcc/bpcctest": 3500}
	for path, p := range listPackages(t) {
		sum := 0
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			body, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				continue // of another system
			}
			lines := bytes.Count(body, []byte("\n"))
			if sum += lines; lines > maxFile {
				t.Errorf("%s of %s has %d lines; at most %d", name, path, lines, maxFile)
			}
		}
		if most := max(larger[path], maxPackage); sum > most {
			t.Errorf("%s has %d lines without its tests; at most %d", path, sum, most)
		}
	}
}

// module begins the paths of all packages of ours.
const module = "bpcc-nats/"

// goPackage is what `go list` tells of a package.
type goPackage struct {
	ImportPath, Dir         string
	GoFiles, IgnoredGoFiles []string
	Deps                    []string // all that it reaches, in order
}

// listPackages lists the packages of ours, by their paths.
func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,IgnoredGoFiles,Deps", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := map[string]goPackage{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
	return packages
}
