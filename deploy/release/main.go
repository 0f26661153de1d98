// Command release builds a release of the bridge.
//
//	go run ./deploy/release v0.1.0
//
// For each system it creates an archive with the program, and a bill of materials in the CycloneDX
// format; SHA256SUMS contains the checksums of all files. It builds the commit that is checked out,
// from a separate clone, never the working tree. The same commit, version and Go give the same
// bytes everywhere and at any time; the only time in them is SOURCE_DATE_EPOCH, by default the
// commit's time.
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
	out := f.String("out", "dist", "directory for the files")
	targets := f.String("targets", "linux/amd64,linux/arm64,darwin/arm64", "systems, as GOOS/GOARCH; Windows lacks the lock of the embedded server's store")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "go run ./deploy/release [flags] VERSION, such as v0.1.0")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 || !semver.MatchString(f.Arg(0)) {
		return errors.New("missing version, such as v0.1.0")
	}
	r := &release{version: f.Arg(0), out: *out}
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
	for target := range strings.SplitSeq(*targets, ",") {
		goos, goarch, ok := strings.Cut(target, "/")
		if !ok {
			return fmt.Errorf("%q is not GOOS/GOARCH", target)
		}
		if err := r.build(ctx, goos, goarch); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	return r.writeChecksums()
}

// release is the state of one build.
type release struct {
	version string
	out     string    // directory of the files
	tempDir string    // removed at the end
	source  string    // a clone of the commit
	at      time.Time // the time in files and bills of materials
	files   []string  // names of the files in out
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
	bill, err := bom(program, r.version, r.at)
	if err != nil {
		return err
	}
	if err := r.addFile(name+".cdx.json", bill); err != nil {
		return err
	}
	packed, err := archive(name, r.at, program, filepath.Join(r.source, "LICENSE"), filepath.Join(r.source, "README.md"))
	if err != nil {
		return err
	}
	return r.addFile(name+".tar.gz", packed)
}

// addFile writes a file of the release.
func (r *release) addFile(name string, content []byte) error {
	r.files = append(r.files, name)
	return os.WriteFile(filepath.Join(r.out, name), content, 0o644)
}

// writeChecksums writes SHA256SUMS, and prints it.
func (r *release) writeChecksums() error {
	var text bytes.Buffer
	for _, name := range r.files {
		content, err := os.ReadFile(filepath.Join(r.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", sha256Hex(content), name)
	}
	if _, err := os.Stdout.Write(text.Bytes()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), text.Bytes(), 0o644)
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
