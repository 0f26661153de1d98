package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/sassoftware/go-rpmutils"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
	"google.golang.org/protobuf/encoding/protojson"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// releaseFile returns the only file of the release in CI_DIST that matches a pattern.
func releaseFile(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(program(t, "CI_DIST"), pattern))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v for %s, %v", files, pattern, err)
	}
	return files[0]
}

// TestProvenance verifies the provenance of the release as in-toto does, with the key in CI_RELEASE_KEY: it
// states all files that SHA256SUMS lists.
func TestProvenance(t *testing.T) {
	text, err := os.ReadFile(releaseFile(t, "*.intoto.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(program(t, "CI_RELEASE_KEY"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := signerverifier.LoadKey(public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signerverifier.NewED25519SignerVerifierFromSSLibKey(key)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := dsse.NewEnvelopeVerifier(signer)
	if err != nil {
		t.Fatal(err)
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(text, &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.PayloadType != "application/vnd.in-toto+json" {
		t.Errorf("the payload is %s", envelope.PayloadType)
	}
	_, payload, err := verifier.VerifyAndDecode(t.Context(), &envelope)
	if err != nil {
		t.Fatal(err)
	}
	var statement intoto.Statement
	if err := protojson.Unmarshal(payload, &statement); err != nil {
		t.Fatal(err)
	}
	if err := statement.Validate(); err != nil {
		t.Error(err)
	}
	predicate, err := protojson.Marshal(statement.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	var build provenance.Provenance
	if err := protojson.Unmarshal(predicate, &build); err != nil {
		t.Fatal(err)
	}
	if err := build.Validate(); err != nil {
		t.Error(err)
	}
	if commit := build.GetBuildDefinition().GetResolvedDependencies()[0].GetDigest()["gitCommit"]; len(commit) != 40 {
		t.Errorf("the provenance names the commit %q", commit)
	}
	var sums strings.Builder
	for _, s := range statement.GetSubject() {
		fmt.Fprintf(&sums, "%s  %s\n", s.GetDigest()["sha256"], s.GetName())
	}
	want, err := os.ReadFile(releaseFile(t, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if sums.String() != string(want) {
		t.Errorf("the provenance states\n%swant\n%s", sums.String(), want)
	}
	envelope.Payload = "e30="
	if _, err := verifier.Verify(t.Context(), &envelope); err == nil {
		t.Error("another statement passes with the signature")
	}
}

// TestPackagedChart loads the chart of the release as Helm does: it has the version of the release, the alerts
// and the dashboard, and not the values for tests.
func TestPackagedChart(t *testing.T) {
	chart, err := loader.Load(releaseFile(t, "bpcc-bridge-*.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	if err := chart.Validate(); err != nil {
		t.Error(err)
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(releaseFile(t, "bpcc-bridge-*.tgz")), "bpcc-bridge-"), ".tgz")
	if chart.Metadata.Version != version || chart.Metadata.AppVersion != version {
		t.Errorf("the chart has version %s for %s, want %s", chart.Metadata.Version, chart.Metadata.AppVersion, version)
	}
	source, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{}
	for _, f := range chart.Raw {
		content[f.Name] = f.Data
	}
	for _, f := range source.Raw {
		if f.Name != "Chart.yaml" && !bytes.Equal(content[f.Name], f.Data) {
			t.Errorf("%s differs from the repository's", f.Name)
		}
		delete(content, f.Name)
	}
	if len(content) > 0 {
		t.Errorf("the package has more files: %d", len(content))
	}
}

// TestRPM reads the package for RPM: the program, its unit and its configuration are where those for Debian are.
func TestRPM(t *testing.T) {
	file, err := os.Open(releaseFile(t, "*_linux_amd64.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rpm, err := rpmutils.ReadRpm(file)
	if err != nil {
		t.Fatal(err)
	}
	name, err := rpm.Header.GetNEVRA()
	if err != nil {
		t.Fatal(err)
	}
	if name.Name != "bpcc-bridge" || name.Arch != "x86_64" {
		t.Errorf("the package is %v", name)
	}
	files, err := rpm.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	const configNoReplace = 1 | 1<<4
	for path, want := range map[string]struct{ mode, flags int }{
		"/usr/bin/bpcc-bridge":                        {0o100755, 0},
		"/usr/lib/systemd/system/bpcc-bridge.service": {0o100644, 0},
		"/etc/bpcc-bridge/bridge.env":                 {0o100640, configNoReplace},
		"/etc/bpcc-bridge":                            {0o040750, 0},
		"/usr/share/doc/bpcc-bridge/docs/deploy.md":   {0o100644, 0},
		"/usr/share/doc/bpcc-bridge/copyright":        {0o100644, 0},
	} {
		i := slices.IndexFunc(files, func(f rpmutils.FileInfo) bool { return f.Name() == path })
		if i < 0 {
			t.Errorf("there is no %s", path)
			continue
		}
		if f := files[i]; f.Mode() != want.mode || f.Flags() != want.flags || f.UserName() != "root" {
			t.Errorf("%s has mode %o, flags %d and user %s, want %o and %d", path, f.Mode(), f.Flags(), f.UserName(), want.mode, want.flags)
		}
	}
}
