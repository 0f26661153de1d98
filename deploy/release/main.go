// Command release builds a release of the bridge.
//
//	go run -C deploy/release . v0.1.0
//
// For each system it creates an archive with the program, the documents and what runs the bridge, and a
// bill of materials in the CycloneDX format; for Linux also packages for Debian and RPM; for all of them
// the chart. SHA256SUMS contains the checksums of all files. With a key in RELEASE_SIGNING_KEY or
// RELEASE_SIGNING_KEY_FILE (PEM, Ed25519) SHA256SUMS is signed, and so is the provenance of all files, a
// statement of in-toto and SLSA. It builds the commit that is checked out, from a separate clone, never
// the working tree. The same commit, version, Go and key give the same bytes everywhere and at any time;
// the only time in them is SOURCE_DATE_EPOCH, by default the commit's time.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
)

// product begins the names of files.
const product = "bpcc-bridge"

var semver = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("release", flag.ExitOnError)
	out := f.String("out", "dist", "directory for the files, relative to the repository")
	targets := f.String("targets", "linux/amd64,linux/arm64,darwin/arm64", "systems, as GOOS/GOARCH; Windows lacks the lock of the embedded server's store")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "go run -C deploy/release . [flags] VERSION, such as v0.1.0")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 || !semver.MatchString(f.Arg(0)) {
		return errors.New("missing version, such as v0.1.0")
	}
	r := &release{version: f.Arg(0), out: *out}
	key, err := readSigningKey()
	if err != nil {
		return err
	}
	if r.licences, err = newLicenceReader(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	r.source, r.tempDir = filepath.Join(scratch, "source"), scratch
	if err := r.checkout(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	systems := strings.Split(*targets, ",")
	for _, target := range systems {
		goos, goarch, ok := strings.Cut(target, "/")
		if !ok {
			return fmt.Errorf("%q is not GOOS/GOARCH", target)
		}
		if err := r.build(ctx, goos, goarch); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	if err := r.writeChart(ctx); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	return r.finish(ctx, key, systems)
}

// release is the state of one build.
type release struct {
	version string
	out     string    // directory of the files
	tempDir string    // removed at the end
	source  string    // a clone of the commit
	at      time.Time // the time in files and bills of materials
	files   []string  // names of the files in out
	commit  string
	// goVersion is the Go release that builds the programs.
	goVersion string
	licences  *licenceReader
}

// checkout clones the commit and tags it with the version, from which the Go toolchain takes the
// program's version.
func (r *release) checkout(ctx context.Context) error {
	top, err := runCommand(ctx, "", nil, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	head, err := runCommand(ctx, "", nil, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if tagged, err := runCommand(ctx, "", nil, "git", "rev-parse", "--verify", "--quiet", "refs/tags/"+r.version+"^{commit}"); err == nil && tagged != head {
		return fmt.Errorf("%s is another commit, %s; check that out, or choose another version", r.version, tagged)
	}
	r.commit = head
	if !filepath.IsAbs(r.out) {
		r.out = filepath.Join(top, r.out)
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = runCommand(ctx, "", nil, "git", "log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %q is not a number of seconds", epoch)
	}
	r.at = time.Unix(seconds, 0).UTC()
	for _, args := range [][]string{
		{"clone", "--quiet", "--no-checkout", "--no-tags", top, r.source},
		{"-C", r.source, "checkout", "--quiet", "--detach", head},
		{"-C", r.source, "tag", r.version},
	} {
		if _, err := runCommand(ctx, "", nil, "git", args...); err != nil {
			return err
		}
	}
	return nil
}

// build creates the files of one system.
func (r *release) build(ctx context.Context, goos, goarch string) error {
	program := filepath.Join(r.tempDir, goos+"-"+goarch, "bridge")
	// The program must not depend on the settings of this machine. An older Go uses the toolchain
	// that go.mod names.
	env := append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "GOAMD64=v1", "GOARM64=v8.0",
		"CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "GOTOOLCHAIN=auto")
	if _, err := runCommand(ctx, r.source, env, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", program, "./cmd/bridge"); err != nil {
		return err
	}
	name := fmt.Sprintf("%s_%s_%s_%s", product, r.version, goos, goarch)
	info, modules, err := readBuild(program, r.version)
	if err != nil {
		return err
	}
	r.goVersion = strings.TrimPrefix(info.GoVersion, "go")
	licences, err := r.licences.read(ctx, r.source, env, modules)
	if err != nil {
		return err
	}
	bill, err := bom(program, info, modules, licences, r.at)
	if err != nil {
		return err
	}
	if err := r.addFile(name+".cdx.json", bill); err != nil {
		return err
	}
	texts := licenceTexts(modules, licences)
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	documents, err := r.documents(ctx)
	if err != nil {
		return err
	}
	packed, err := archive(name, r.at, append([]file{{"bridge", content, true}, {"THIRD-PARTY-LICENSES.txt", texts, false}}, documents...))
	if err != nil {
		return err
	}
	if err := r.addFile(name+".tar.gz", packed); err != nil {
		return err
	}
	if goos != "linux" {
		return nil
	}
	return r.writePackages(ctx, name, goarch, program, texts)
}

// addFile writes a file of the release, which SHA256SUMS lists.
func (r *release) addFile(name string, content []byte) error {
	r.files = append(r.files, name)
	return r.write(name, content)
}

func (r *release) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), content, 0o644)
}

// finish writes SHA256SUMS, prints it, and signs the release if there is a key.
func (r *release) finish(ctx context.Context, key *signerverifier.ED25519SignerVerifier, targets []string) error {
	var text bytes.Buffer
	var subjects []resource
	for _, name := range r.files {
		content, err := os.ReadFile(filepath.Join(r.out, name))
		if err != nil {
			return err
		}
		sum := sha256Hex(content)
		fmt.Fprintf(&text, "%s  %s\n", sum, name)
		subjects = append(subjects, resource{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	if _, err := os.Stdout.Write(text.Bytes()); err != nil {
		return err
	}
	if err := r.write("SHA256SUMS", text.Bytes()); err != nil {
		return err
	}
	if key == nil {
		fmt.Fprintln(os.Stderr, "release: not signed: "+keyVariable+"_FILE names no key")
		return nil
	}
	return r.sign(ctx, key, targets, text.Bytes(), subjects)
}

// runCommand runs a program and returns what it prints, trimmed.
func runCommand(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
