// Package deploy judges what is in deploy/ with the tools that will read it: the
// chart with Helm and Kubernetes' own types, the compose file with Compose's
// parser. Its environments are given to the bridge itself, whose program is named
// by CI_BRIDGE.
package deploy

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// program is one that the caller has built.
func program(t *testing.T, variable string) string {
	t.Helper()
	file := os.Getenv(variable)
	if file == "" {
		t.Skipf("%s names no program", variable)
	}
	return file
}

// judgeEnvironment lets the bridge read an environment: every variable must be
// one of its own, and readable. Files that are not given are made.
func judgeEnvironment(t *testing.T, env, files map[string]string) {
	t.Helper()
	bridge, dir := program(t, "CI_BRIDGE"), t.TempDir()
	list := []string{"BRIDGE_LOG_FORMAT=text", "BRIDGE_HTTP=off"}
	for name, value := range env {
		if name == "BRIDGE_LOG_FORMAT" || name == "BRIDGE_HTTP" {
			continue
		}
		if strings.HasPrefix(value, "/run/") || strings.HasPrefix(value, "/etc/") {
			content, ok := files[value]
			if !ok {
				content = "secret"
			}
			value = filepath.Join(dir, value)
			if err := os.MkdirAll(filepath.Dir(value), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(value, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// Certificates and credentials would have to be real ones.
		if !slices.Contains([]string{"NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_CREDS"}, name) {
			list = append(list, name+"="+value)
		}
	}
	// It reads the whole of it before it says that there is nobody to ask.
	cmd := exec.CommandContext(t.Context(), bridge, "health")
	cmd.Env = list
	out, _ := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(out)); text != "bridge health: wrong usage: BRIDGE_HTTP is off: the bridge serves no health" {
		t.Errorf("with %v the bridge says\n%s", slices.Sorted(slices.Values(list)), text)
	}
}

const composeDir = "../../deploy"

// loadCompose reads files of deploy/ as one project, with the variables of sim.env
// and those that are given.
func loadCompose(t *testing.T, more map[string]string, files ...string) *types.Project {
	t.Helper()
	text, err := os.ReadFile(composeDir + "/sim.env")
	if err != nil {
		t.Fatal(err)
	}
	env, err := dotenv.UnmarshalBytesWithLookup(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(env, more)
	details := types.ConfigDetails{WorkingDir: composeDir, Environment: env}
	for _, file := range files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: composeDir + "/" + file})
	}
	project, err := loader.LoadWithContext(t.Context(), details, func(o *loader.Options) { o.Profiles = []string{env["COMPOSE_PROFILES"]} })
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// judgeServices holds what Compose would start to what the bridge reads, to what
// Compose can do, and to what may be reached from other machines.
func judgeServices(t *testing.T, project *types.Project) {
	t.Helper()
	want := []string{"bridge-a", "bridge-b", "nats-1", "nats-2", "nats-3", "tenant"}
	if got := slices.Sorted(maps.Keys(project.Services)); !slices.Equal(got, want) {
		t.Fatalf("services %v, want %v", got, want)
	}
	for name, s := range project.Services {
		if strings.HasPrefix(name, "bridge-") {
			env := map[string]string{}
			for k, v := range s.Environment {
				env[k] = *v
			}
			judgeEnvironment(t, env, nil)
			if s.StopGracePeriod == nil || !s.ReadOnly || len(s.CapDrop) == 0 {
				t.Errorf("%s may be killed too early, or write, or has capabilities", name)
			}
		}
		// Compose mounts files, and copies all else into a container, which a
		// read-only one refuses.
		for _, secret := range s.Secrets {
			if s.ReadOnly && project.Secrets[secret.Source].File == "" {
				t.Errorf("%s is read-only, and its secret %s is no file", name, secret.Source)
			}
		}
		for _, config := range s.Configs {
			if s.ReadOnly && project.Configs[config.Source].File == "" {
				t.Errorf("%s is read-only, and its config %s is no file", name, config.Source)
			}
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s is open to other machines at port %s", name, p.Published)
			}
		}
	}
}

func TestCompose(t *testing.T) {
	project := loadCompose(t, nil, "compose.yaml")
	judgeServices(t, project)
	judgeServices(t, loadCompose(t, map[string]string{"BPCC_CLIENT_SECRET": "", "BPCC_CLIENT_SECRET_FILE": "/etc/bpcc/secret"}, "compose.yaml", "compose.secret.yaml"))

	server := program(t, "CI_NATS_SERVER")
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte(project.Configs["nats"].Content), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), server, "-t", "--config", config)
	cmd.Env = []string{"NATS_NAME=nats-1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the server refuses its configuration: %v\n%s", err, out)
	}
}

// TestComposeSecret: a secret in single quotes reaches the bridge as it is, whatever Compose
// would replace in it.
func TestComposeSecret(t *testing.T) {
	const secret = `a$b${c}$$ #d"e\f`
	env, err := dotenv.UnmarshalBytesWithLookup([]byte("BPCC_CLIENT_SECRET='"+secret+"'\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := loadCompose(t, env, "compose.yaml").Services["bridge-a"].Environment["BPCC_CLIENT_SECRET"]; got == nil || *got != secret {
		t.Errorf("the bridge gets %v, want %q", got, secret)
	}
}

// TestBillsOfMaterials reads those of the release in CI_DIST.
func TestBillsOfMaterials(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(program(t, "CI_DIST"), "*.cdx.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("bills %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var bill cdx.BOM
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&bill); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if bill.SpecVersion != cdx.SpecVersion1_6 || bill.Metadata.Component.Name != "bpcc-bridge" {
			t.Errorf("%s: version %v of %s", file, bill.SpecVersion, bill.Metadata.Component.Name)
		}
		refs := map[string]bool{bill.Metadata.Component.BOMRef: true}
		for _, c := range *bill.Components {
			refs[c.BOMRef] = true
			if c.Version == "" || !strings.HasPrefix(c.PackageURL, "pkg:golang/") {
				t.Errorf("%s: %s has version %q and address %q", file, c.Name, c.Version, c.PackageURL)
			}
			if c.Licenses == nil || len(*c.Licenses) == 0 || (*c.Licenses)[0].License.ID == "" {
				t.Errorf("%s: %s has no licence", file, c.Name)
			}
		}
		for _, d := range *bill.Dependencies {
			if !refs[d.Ref] {
				t.Errorf("%s: nothing is known of %s", file, d.Ref)
			}
			delete(refs, d.Ref)
		}
		if len(refs) > 0 || !strings.Contains(string(text), "pkg:golang/github.com/nats-io/nats.go@") || !strings.Contains(string(text), "pkg:golang/std@") {
			t.Errorf("%s: not in the graph %v, or nats.go or the standard library are missing", file, refs)
		}
	}
}
